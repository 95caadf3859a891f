"""What an imagined frame and a step of training cost: operations and memory, by a closed formula and counted.

Nothing is computed for it: models and tensors live on the meta device, so any size is counted in seconds.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from simworld.canvas_world_model import CanvasWorldModel
from simworld.episode import EpisodeSpec
from simworld.latent_world_model import LatentConfig, LatentWorldModel
from simworld.model.actions import encoded_size
from simworld.model.codec import CodecConfig
from simworld.world_model import WorldModel, map_streams

BF16_BYTES = 2


@dataclass(frozen=True)
class Cost:
    """Of one size for its cameras. Memory in bytes: weights and cache in bfloat16, a training window's activations
    with and without recomputing each block in the backward pass."""

    parameters: int
    tokens: int
    flop_per_frame: int
    kernels_per_frame: int
    weight_bytes: int
    cache_bytes: int
    activation_bytes: int
    recomputed_activation_bytes: int


def cost_of(config: LatentConfig, spec: EpisodeSpec, window: int) -> Cost:
    """Counted on the meta device; `window` frames are trained on at once."""
    model = meta_model(config, spec)
    parameters = sum(p.numel() for p in model.parameters())
    t = config.dynamics.transformer
    tokens = num_tokens(model)
    cache = 2 * tokens * (t.window - 1) * t.width * num_temporal(config)
    saved = _saved_numbers(model, window)
    recomputed = window * tokens * t.width * (t.layers + 1) + saved // t.layers  # every block's input, and one block
    return Cost(
        parameters=parameters,
        tokens=tokens,
        flop_per_frame=counted_flop(model),
        kernels_per_frame=counted_kernels(model),
        weight_bytes=BF16_BYTES * parameters,
        cache_bytes=BF16_BYTES * cache,
        activation_bytes=BF16_BYTES * saved,
        recomputed_activation_bytes=BF16_BYTES * recomputed,
    )


def meta_model(config: LatentConfig, spec: EpisodeSpec) -> LatentWorldModel:
    with torch.device("meta"):
        return LatentWorldModel(config, spec).requires_grad_(False)


def num_tokens(model: LatentWorldModel) -> int:
    return model.dynamics.num_cells + model.config.dynamics.registers


def num_temporal(config: LatentConfig) -> int:
    """Layers that look back."""
    t = config.dynamics.transformer
    return 1 if t.layers == 1 else t.layers // t.temporal_every


def counted_flop(model: WorldModel[Any], context: int | None = None) -> int:
    """Multiplications and additions of one step of one stream whose cache is full, or holds `context` frames.

    Counted on a copy without data: on a CPU the counter does not know the kernel of fused attention.
    """
    counter = FlopCounterMode(display=False)
    _step_without_data(model, context, counter)
    return int(counter.get_total_flops())


def counted_kernels(model: WorldModel[Any]) -> int:
    """Operations that an eager step starts one after the other, views not counted."""
    counter = _Kernels()
    _step_without_data(model, None, counter)
    return counter.num


class _Kernels(TorchDispatchMode):
    num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = [r.alias_info for r in func._schema.returns]
        self.num += not any(alias is not None and not alias.is_write for alias in returned)
        return func(*args, **(kwargs or {}))


def _step_without_data(model: WorldModel[Any], context: int | None, counter: Any) -> None:
    """One step on the meta device, and nothing else, under `counter`."""
    model = copy.deepcopy(model).to("meta").to_dtype(torch.float32)  # autocast does not know this device
    if isinstance(model, CanvasWorldModel) and model.lookout is not None:  # which can not spot anybody without data
        model.lookout.spot = lambda frames, ego: model.nobody(len(ego), ego.device)  # type: ignore[method-assign]
    if context is None:
        context = model.config.dynamics.transformer.window - 1
    spec = model.spec
    frames = {
        c: torch.empty(1, context + 1, h, w, 3, dtype=torch.uint8, device="meta") for c, (h, w) in spec.cameras.items()
    }
    actions = torch.empty(1, context, spec.action.size, device="meta")
    state = model.start(frames, actions, seed=torch.empty(1, dtype=torch.int64, device="meta"))
    with counter:
        model.step(state, torch.empty(1, spec.action.size, device="meta"))


def flop_of_frame(model: LatentWorldModel) -> int:
    """The same by formula, for continuous actions and without actors: two per weight and token, and attention."""
    config, t = model.config, model.config.dynamics.transformer
    d, tokens, cells = t.width, num_tokens(model), num_tokens(model) - config.dynamics.registers
    per_cell = config.dynamics.patch**2
    channels, action = model.codec.channels * per_cell, encoded_size(model.spec.action)
    attention = 2 * tokens * 4 * d**2  # queries, keys, values and the way out
    mlp = 2 * tokens * 2 * t.mlp_ratio * d**2
    space = attention + 2 * 2 * tokens * tokens * d
    time = attention + 2 * 2 * tokens * t.window * d
    blocks = t.layers * (2 * d**2 + space + mlp) + num_temporal(config) * time
    ends = 2 * cells * d * ((1 + config.dynamics.num_past) * channels + 2 * channels)
    condition = 2 * (action * d + d**2) + 2 * (2 * 64 * d + d**2) + 2 * (config.belief.size * d + d**2)
    b = config.belief
    told = (3 if model.max_actors else 1) * b.told_width
    belief = 2 * (action * b.told_width + 3 * b.size * (told + b.size))
    heads = 2 * config.heads.width * (b.size + sum(model.heads.sizes.values()))
    heads += 2 * config.heads.doubt_width * (model.heads.num_features + 1)
    decoder = 0 if config.codec.kind == "pixels" else cells * per_cell * _decoder_flop_per_cell(config.codec)
    return config.sample_steps * (blocks + ends + condition) + belief + heads + decoder


def _decoder_flop_per_cell(config: CodecConfig) -> int:
    """Every finer level has four times the pixels."""

    def conv(side: int, channels_in: int, channels_out: int) -> int:
        return 2 * side**2 * channels_in * channels_out

    coarsest, finest = config.widths[-1], config.widths[0]
    total, pixels = conv(3, config.channels, coarsest) + 4 * conv(3, coarsest, coarsest), 1
    for coarse, fine in pairwise(reversed(config.widths)):
        total += pixels * conv(1, coarse, 4 * fine) + 4 * pixels * 2 * conv(3, fine, fine)
        pixels *= 4
    return total + pixels * conv(3, finest, 12)


def _saved_numbers(model: LatentWorldModel, window: int) -> int:
    """Numbers that a forward pass of the dynamics over `window` frames keeps for its backward pass.

    Attention weights are left out: the fused kernels of a GPU compute them again.
    """
    dynamics = model.dynamics.requires_grad_(True)
    weights = {_storage(p) for p in dynamics.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    def latents(n: int) -> dict[str, Tensor]:
        channels = n * dynamics.channels
        return {c: torch.empty(1, window, channels, h, w, device="meta") for c, (h, w) in dynamics.grids.items()}

    level = torch.empty(1, window, device="meta")
    actions = torch.empty(1, window, encoded_size(model.spec.action), device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = dynamics(latents(1), latents(model.config.dynamics.num_past), actions, level, level)
    del out  # the graph goes, what it kept has been counted
    t, tokens = model.config.dynamics.transformer, num_tokens(model)
    in_space = t.layers * window * t.heads * tokens**2
    in_time = num_temporal(model.config) * tokens * t.heads * window**2
    dynamics.requires_grad_(False)
    return sum(kept.values()) - in_space - in_time


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def state_bytes(state: Any) -> int:
    """Memory that the tensors of a stream's state take."""
    sizes: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    map_streams(state, count)
    return sum(sizes)
