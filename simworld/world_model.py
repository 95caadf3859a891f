"""WorldModel: from a few frames and an action to the next frames and what the action causes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import EpisodeSpec
from simworld.model.actions import encode_actions, encoded_size
from simworld.model.actors import NUM_FIELDS
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
from simworld.model.outcomes import HeadsConfig, OutcomeHeads, OutcomePrediction, OutcomeTargets
from simworld.model.pixels import to_model, to_uint8
from simworld.nets.transformer import KeysValues
from simworld.shapes import expect

StateT = TypeVar("StateT")


class Prediction(NamedTuple):
    """One imagined step for b streams: frames {camera: uint8 (b, h, w, 3)} and what the action caused.

    `outcomes` holds reward, p_terminated, hazards, scalars, categories and trust, each (b, ...).
    """

    frames: dict[str, Tensor]
    outcomes: OutcomePrediction

    @property
    def reward(self) -> Tensor:
        return self.outcomes.reward

    @property
    def p_terminated(self) -> Tensor:
        return self.outcomes.p_terminated

    @property
    def trust(self) -> Tensor:
        return self.outcomes.trust


class WorldModel(nn.Module, ABC, Generic[StateT]):
    """A stream of imagination. `start` and `step` are pure: a state is never edited, so keep it to branch."""

    spec: EpisodeSpec
    config: Any
    heads: OutcomeHeads

    @abstractmethod
    def to_dtype(self, dtype: torch.dtype) -> WorldModel[StateT]:
        """Set the precision of inference; what must stay exact stays float32. Returns itself."""

    @abstractmethod
    def start(
        self, frames: dict[str, Tensor], actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> StateT:
        """State after k + 1 frames {camera: uint8 (b, k+1, h, w, 3)} and the k actions (b, k, a) between them.

        seed int64 (b,): all noise of stream i is a function of seed[i] and the step.
        actors float32 (b, k, n, 9): who was there (ACTOR_FIELDS, in the ego frame) in frames 1 to k, if known.
        """

    @abstractmethod
    def step(self, state: StateT, action: Tensor, actors: Tensor | None = None) -> tuple[StateT, Prediction]:
        """The next frames and outcomes for action (b, a) in the env's own units.

        actors float32 (b, n, 9): who shall be where in the coming frame, in its ego frame, the nearest first and NaN
        where absent; streams without any are free. At most `max_actors` count. Raises ValueError where that is 0.
        """

    @property
    def max_actors(self) -> int:
        """How many actors the next frame can be conditioned on."""
        return 0

    def check_actors(self, actors: Tensor | None, lead: tuple[int, ...]) -> Tensor | None:
        """The actors (*lead, n, 9) cut to `max_actors`; None where nobody is there. ValueError if they do not fit."""
        if actors is None or not bool(torch.isfinite(actors).any()):
            return None
        if not self.max_actors:
            raise ValueError("this model was trained without actors and can not be conditioned on them")
        if actors.shape[:-2] != lead or actors.shape[-1] != NUM_FIELDS:
            raise ValueError(f"actors must be {(*lead, 'n', NUM_FIELDS)}, got {tuple(actors.shape)}")
        return actors[..., : self.max_actors, :]

    def put(self, state: StateT, lanes: Tensor, fresh: StateT) -> StateT:
        """The state with its streams `lanes` (n,) replaced by the n streams of `fresh`."""
        return put_streams(state, lanes, fresh)

    def check_start(self, frames: dict[str, Tensor], actions: Tensor) -> None:
        """Raise ValueError where frames or actions do not fit the spec."""
        if set(frames) != set(self.spec.cameras):
            raise ValueError(f"cameras {sorted(frames)} do not match the model's {sorted(self.spec.cameras)}")
        k = expect(actions, "b k a", name="actions", a=self.spec.action.size)
        for camera, (h, w) in self.spec.cameras.items():
            expect(frames[camera], "b t h w 3", name=f"frames[{camera!r}]", b=k["b"], t=k["k"] + 1, h=h, w=w)


@dataclass(frozen=True)
class LatentConfig:
    """`sample_steps`: network passes per frame; `outcome_weight`: of the heads' losses beside the frame's."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    sample_steps: int = 1
    outcome_weight: float = 0.1

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
    """A codec, the dynamics on its latents, and outcome heads on the dynamics' registers."""

    def __init__(self, config: LatentConfig, spec: EpisodeSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.codec = build_codec(config.codec)
        scale = self.codec.scale
        for camera, (h, w) in spec.cameras.items():
            if h % scale or w % scale:
                raise ValueError(f"camera {camera!r} is {h} x {w}; both sides must be multiples of {scale} pixels")
        self.dynamics = Dynamics(
            config.dynamics,
            channels=self.codec.channels,
            grids={camera: (h // scale, w // scale) for camera, (h, w) in spec.cameras.items()},
            action_size=encoded_size(spec.action),
        )
        width = config.dynamics.registers * config.dynamics.transformer.width
        self.heads = OutcomeHeads(config.heads, spec.outcomes, features=width, num_state=len(spec.state_names))

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
        losses = self.heads.loss(out.registers, targets, errors.detach().clamp(min=1e-6).log())
        total = errors.mean() + self.config.outcome_weight * torch.stack(list(losses.values())).sum()
        return {"loss": total, "frame": errors.mean()} | losses

    @torch.no_grad()
    def registers(self, latents: Latents, actions: Tensor, noise: NoiseStream) -> Tensor:
        """Features (b, t, d) that the heads read when frames 1 to t are predicted from noise alone."""
        drawn = draw_noise({k: z[:, 1:] for k, z in latents.items()}, noise)
        past = past_frames(latents, self.config.dynamics.num_past)
        return self._denoise(
            drawn, past, actions, torch.zeros(actions.shape[:2], device=actions.device), None
        ).registers

    @torch.no_grad()
    def start(
        self, frames: dict[str, Tensor], actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> LatentState:
        self.check_start(frames, actions)
        b, k = actions.shape[:2]
        actors = self.check_actors(actors, (b, k))
        n = self.config.dynamics.num_past
        latents = self.encode(frames)
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
    def step(self, state: LatentState, action: Tensor, actors: Tensor | None = None) -> tuple[LatentState, Prediction]:
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
        prediction = Prediction(self.decode(newest), self.heads(out.registers[:, 0]))
        age = None if state.age is None else state.age + 1
        if age is not None and bool((age >= out.cache[0][0].shape[3]).all()):
            age = None
        return replace(state, past=latest, cache=out.cache, step=state.step + 1, age=age), prediction

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
        tokens = sum(h * w for h, w in self.dynamics.grids.values()) + self.config.dynamics.registers
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


def lay_out_channels_last(module: nn.Module) -> None:
    """Store the weights of convolutions channels last, the layout in which a CPU is fastest."""
    for p in module.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


def _with_cache(state: LatentState, num_cached: int, length: int, empty: Any) -> LatentState:
    """The same state with its cache padded in front to `length` frames, and every stream's age written down."""
    age = state.age if state.age is not None else torch.full_like(state.seed, num_cached)
    cache = state.cache or empty(state)
    front = (0, 0, length - num_cached, 0)
    padded = tuple((F.pad(keys, front), F.pad(values, front)) for keys, values in cache)
    return replace(state, cache=padded, age=age)


def map_streams(state: Any, fn: Any, *others: Any) -> Any:
    """Apply `fn` to every tensor of a state (and to its twins in `others`); the state's type is kept.

    All tensors of a state have the stream as their first axis.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return fn(state, *others)
    if isinstance(state, dict):
        return {k: map_streams(v, fn, *(o[k] for o in others)) for k, v in state.items()}
    if isinstance(state, tuple):
        return tuple(map_streams(v, fn, *parts) for v, *parts in zip(state, *others, strict=True))
    return type(state)(**{k: map_streams(v, fn, *(getattr(o, k) for o in others)) for k, v in vars(state).items()})


def put_streams(state: StateT, lanes: Tensor, fresh: StateT) -> StateT:
    """Streams `lanes` (n,) of a state replaced by the n streams of `fresh`; neither is edited."""
    return map_streams(state, lambda old, new: old.index_copy(0, lanes, new.to(old.dtype)), fresh)


def take_streams(state: StateT, lanes: Tensor) -> StateT:
    """The streams `lanes` (n,) of a state; a stream may be taken more than once."""
    return map_streams(state, lambda x: x.index_select(0, lanes))
