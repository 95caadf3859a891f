"""The world model that ships: dynamics on a codec's latents, denoised in few passes, as a WorldModel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from simworld.episode import EpisodeSpec
from simworld.model.actions import encode_actions, encoded_size
from simworld.model.codec import CodecConfig, build_codec
from simworld.model.dynamics import (
    Denoised,
    Dynamics,
    DynamicsConfig,
    Latents,
    corrupt,
    draw_levels,
    draw_noise,
    drop_actors,
    noised,
    past_frames,
)
from simworld.model.noise import NoiseStream
from simworld.model.outcomes import HeadsConfig, OutcomeHeads, OutcomeTargets
from simworld.model.pixels import to_model, to_uint8
from simworld.nets.transformer import KeysValues
from simworld.world_model import Prediction, WorldModel, lay_out_channels_last, put_streams


@dataclass(frozen=True)
class LatentConfig:
    """`sample_steps`: network passes per frame; `outcome_weight`: of the heads' losses beside the frame's.

    At 0.1 the heads' gradient on the network is several times the frame's, and it stops learning motion.
    """

    codec: CodecConfig = field(default_factory=CodecConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    sample_steps: int = 1
    outcome_weight: float = 0.015

    def __post_init__(self) -> None:
        if self.sample_steps < 1:
            raise ValueError(f"sample_steps must be at least 1, got {self.sample_steps}")


@dataclass(frozen=True)
class LatentState:
    """past {camera: (b, n, c, h, w)} newest first; cache of the transformer; seed and step int64 (b,).

    age int64 (b,): cached frames that are the stream's own, None while that is all of them in every stream.
    """

    past: Latents
    cache: tuple[KeysValues, ...]
    seed: Tensor
    step: Tensor
    age: Tensor | None = None

    def reseed(self, seed: Tensor) -> LatentState:
        """The same state with other noise from here on."""
        return replace(self, seed=seed)


class LatentWorldModel(WorldModel[LatentState]):
    """A codec, the dynamics on its latents, and outcome heads on what the dynamics saw."""

    def __init__(self, config: LatentConfig, spec: EpisodeSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.codec = build_codec(config.codec)
        scale = self.codec.scale
        for camera, (h, w) in spec.cameras.items():
            side = scale * config.dynamics.patch
            if h % side or w % side:
                raise ValueError(f"camera {camera!r} is {h} x {w}; both sides must be multiples of {side} pixels")
        self.dynamics = Dynamics(
            config.dynamics,
            channels=self.codec.channels,
            grids={camera: (h // scale, w // scale) for camera, (h, w) in spec.cameras.items()},
            action_size=encoded_size(spec.action),
            mounts=spec.mounts,
            cell_px=scale,
        )
        width = config.dynamics.transformer.width
        self.heads = OutcomeHeads(
            config.heads,
            spec.outcomes,
            features=config.dynamics.registers * width,
            cells=(self.dynamics.num_cells, width),
            num_state=len(spec.state_names),
        )

    @property
    def max_actors(self) -> int:
        return self.config.dynamics.max_actors

    def to_dtype(self, dtype: torch.dtype) -> LatentWorldModel:
        lay_out_channels_last(self.codec.to(dtype))
        self.dynamics.to(dtype)
        return self

    @property
    def dtype(self) -> torch.dtype:
        return self.dynamics.embed.weight.dtype

    def encode(self, frames: dict[str, Tensor]) -> Latents:
        """{camera: uint8 (b, t, h, w, 3)} to latents float32 {camera: (b, t, c, h, w)}."""
        out = {}
        for camera in self.spec.cameras:
            flat = rearrange(to_model(frames[camera]), "b t c h w -> (b t) c h w").to(self.dtype)
            out[camera] = rearrange(self.codec.encode(flat), "(b t) c h w -> b t c h w", b=len(frames[camera])).float()
        return out

    def decode(self, latents: Latents) -> dict[str, Tensor]:
        """Latents of one frame {camera: (b, c, h, w)} to {camera: uint8 (b, h, w, 3)}."""
        return {k: to_uint8(self.codec.decode(z.to(self.dtype))) for k, z in latents.items()}

    def loss(
        self,
        latents: Latents,
        actions: Tensor,
        targets: OutcomeTargets,
        noise: NoiseStream,
        *,
        actors: Tensor | None = None,
        unroll: int = 0,
    ) -> dict[str, Tensor]:
        """Losses by name, their weighted sum under "loss", over windows of t + 1 frames and t actions.

        actors (b, t, n, 9) of frames 1 to t condition the windows that keep them.

        unroll n: the past that the network sees is n times its own output instead of the truth, in all
        frames at once: pass i takes the outputs of pass i - 1 as its past.
        """
        t = actions.shape[1]
        encoded = encode_actions(actions, self.spec.action)
        levels = draw_levels(self.config.dynamics, t, noise)
        amount = self.config.dynamics.history_noise * levels.history[:, 0]
        seen = corrupt(latents, amount, noise)
        if actors is not None and actors.shape[2] and self.max_actors:
            actors = drop_actors(actors[:, :, : self.max_actors], self.config.dynamics.actor_drop, noise)
        else:
            actors = None
        for _ in range(unroll):
            with torch.no_grad():
                drawn = draw_noise({k: z[:, 1:] for k, z in latents.items()}, noise)
                clear = torch.zeros_like(levels.level)
                own = self.dynamics(
                    drawn, past_frames(seen, self.config.dynamics.num_past), encoded, clear, clear, actors=actors
                )
            seen = {k: torch.cat([z[:, :1], self.codec.clamp(own.clean[k])], dim=1) for k, z in latents.items()}
            levels = levels._replace(history=clear)
        clean = {k: z[:, 1:] for k, z in latents.items()}
        noisy = noised(clean, levels.level, draw_noise(clean, noise))
        past = past_frames(seen, self.config.dynamics.num_past)
        out = self.dynamics(noisy, past, encoded, levels.level, levels.history, actors=actors)
        errors = torch.stack([(out.clean[k] - z).square().mean(dim=(2, 3, 4)) for k, z in clean.items()]).mean(0)
        losses = self.heads.loss(out.features, targets, errors.detach().clamp(min=1e-6).log())
        total = errors.mean() + self.config.outcome_weight * torch.stack(list(losses.values())).sum()
        return {"loss": total, "frame": errors.mean()} | losses

    @torch.no_grad()
    def start(
        self, frames: dict[str, Tensor], actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> LatentState:
        self.check_start(frames, actions)
        return self.begin(self.encode(frames), actions, seed=seed, actors=actors)

    @torch.no_grad()
    def step(self, state: LatentState, action: Tensor, actors: Tensor | None = None) -> tuple[LatentState, Prediction]:
        state, newest, features = self.advance(state, action, actors)
        return state, Prediction(self.decode(newest), self.heads(features))

    @torch.no_grad()
    def begin(self, latents: Latents, actions: Tensor, *, seed: Tensor, actors: Tensor | None = None) -> LatentState:
        """`start` from latents {camera: (b, k + 1, c, h, w)} of the frames."""
        b, k = actions.shape[:2]
        actors = self.check_actors(actors, (b, k))
        n = self.config.dynamics.num_past
        step = torch.zeros(b, dtype=torch.int64, device=seed.device)
        cache: tuple[KeysValues, ...] = ()
        if k:
            # the keys and values of the given frames are those that their own last pass would have left
            level = torch.full((b, k), 1 - 1 / self.config.sample_steps, device=seed.device)
            clean = {c: z[:, 1:] for c, z in latents.items()}
            noisy = noised(clean, level, draw_noise(clean, NoiseStream(seed, step)))
            cache = self._denoise(noisy, past_frames(latents, n), actions, level, None, actors=actors).cache
        last = {c: torch.cat([z[:, :1]] * max(0, n - k - 1) + [z[:, -n:]], dim=1).flip(1) for c, z in latents.items()}
        return LatentState(past=last, cache=cache, seed=seed, step=step + 1)

    @torch.no_grad()
    def advance(
        self, state: LatentState, action: Tensor, actors: Tensor | None = None
    ) -> tuple[LatentState, Latents, Tensor]:
        """`step` without its readings: the new state, the next frame's latents {camera: (b, c, h, w)} and the
        features (b, d) that the outcome heads read."""
        actors = self.check_actors(actors, (len(action),))
        told = None if actors is None else actors[:, None]
        num_passes = self.config.sample_steps
        past = {c: rearrange(z, "b n c h w -> b 1 (n c) h w") for c, z in state.past.items()}
        noise = NoiseStream(state.seed, state.step)
        z = draw_noise({c: p[:, :, : self.codec.channels] for c, p in past.items()}, noise)
        for i in range(num_passes):
            level = torch.full((len(action), 1), i / num_passes, device=action.device)
            out = self._denoise(z, past, action[:, None], level, state.cache or None, state.age, told)
            share = 1 / (num_passes - i)  # of the way that is left to the clean frame
            z = {c: z[c] + share * (out.clean[c] - z[c]) for c in z}
        newest = {c: self.codec.clamp(x[:, 0]) for c, x in z.items()}
        n = self.config.dynamics.num_past
        latest = {c: torch.cat([newest[c][:, None], old], dim=1)[:, :n] for c, old in state.past.items()}
        age = None if state.age is None else state.age + 1
        if age is not None and bool((age >= out.cache[0][0].shape[3]).all()):
            age = None
        state = replace(state, past=latest, cache=out.cache, step=state.step + 1, age=age)
        return state, newest, out.features[:, 0]

    def put(self, state: LatentState, lanes: Tensor, fresh: LatentState) -> LatentState:
        num_cached = [s.cache[0][0].shape[3] if s.cache else 0 for s in (state, fresh)]
        length = max(num_cached)
        state, fresh = (
            _with_cache(s, n, length, self._empty_cache) for s, n in zip((state, fresh), num_cached, strict=True)
        )
        return put_streams(state, lanes, fresh)

    def _empty_cache(self, state: LatentState) -> tuple[KeysValues, ...]:
        """A cache of no frames for the streams of `state`."""
        config = self.config.dynamics.transformer
        tokens = self.dynamics.num_cells + self.config.dynamics.registers
        empty = torch.zeros(
            len(state.seed),
            tokens,
            config.heads,
            0,
            config.width // config.heads,
            dtype=self.dtype,
            device=state.seed.device,
        )
        return ((empty, empty),) * sum(block.time is not None for block in self.dynamics.transformer.blocks)

    def _denoise(
        self,
        noisy: Latents,
        past: Latents,
        actions: Tensor,
        level: Tensor,
        cache: tuple[KeysValues, ...] | None,
        age: Tensor | None = None,
        actors: Tensor | None = None,
    ) -> Denoised:
        """One pass at inference: everything in the network's own precision, no noise on the past."""
        dtype = self.dtype
        return self.dynamics(
            {c: z.to(dtype) for c, z in noisy.items()},
            {c: z.to(dtype) for c, z in past.items()},
            encode_actions(actions, self.spec.action).to(dtype),
            level,
            torch.zeros_like(level),
            cache,
            age,
            actors,
        )


def _with_cache(state: LatentState, num_cached: int, length: int, empty: Any) -> LatentState:
    """The same state with its cache padded in front to `length` frames, and every stream's age written down."""
    age = state.age if state.age is not None else torch.full_like(state.seed, num_cached)
    cache = state.cache or empty(state)
    front = (0, 0, length - num_cached, 0)
    padded = tuple((F.pad(keys, front), F.pad(values, front)) for keys, values in cache)
    return replace(state, cache=padded, age=age)
