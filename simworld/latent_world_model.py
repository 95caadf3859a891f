"""The world model that ships: dynamics on a codec's latents, denoised in few passes, as a WorldModel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from simworld.believing import BelievingWorldModel, Watched
from simworld.episode import EpisodeSpec
from simworld.model.actions import encode_actions, encoded_size
from simworld.model.belief import Belief, BeliefConfig
from simworld.model.codec import CodecConfig, build_codec
from simworld.model.dynamics import (
    Denoised,
    Dynamics,
    DynamicsConfig,
    Latents,
    Levels,
    corrupt,
    draw_levels,
    draw_noise,
    noised,
    past_frames,
)
from simworld.model.noise import NoiseStream
from simworld.model.outcomes import HeadsConfig, OutcomeHeads
from simworld.model.pixels import to_model, to_uint8
from simworld.model.reader import Reader
from simworld.nets.transformer import KeysValues
from simworld.world_model import lay_out_channels_last, put_streams


@dataclass(frozen=True)
class LatentConfig:
    """`sample_steps`: network passes per frame; `shown_weight`: of what frames show of the state beside their error."""

    codec: CodecConfig = field(default_factory=CodecConfig)
    belief: BeliefConfig = field(default_factory=BeliefConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    sample_steps: int = 1
    shown_weight: float = 0.1

    def __post_init__(self) -> None:
        if self.sample_steps < 1:
            raise ValueError(f"sample_steps must be at least 1, got {self.sample_steps}")


@dataclass(frozen=True)
class LatentState:
    """past {camera: (b, n, c, h, w)} newest first; cache of the transformer; belief (b, s) of the newest frame; seed
    and step int64 (b,).

    age int64 (b,): cached frames that are the stream's own, None while that is all of them in every stream.
    """

    past: Latents
    cache: tuple[KeysValues, ...]
    belief: Tensor
    seed: Tensor
    step: Tensor
    age: Tensor | None = None

    def reseed(self, seed: Tensor) -> LatentState:
        """The same state with other noise from here on."""
        return replace(self, seed=seed)


class LatentWorldModel(BelievingWorldModel[LatentState]):
    """A codec, a belief and its outcome heads, and dynamics that draw the codec's latents by the belief."""

    def __init__(self, config: LatentConfig, spec: EpisodeSpec) -> None:
        super().__init__()
        self.config, self.spec, self.actor_drop = config, spec, config.dynamics.actor_drop
        self.codec = build_codec(config.codec)
        scale = self.codec.scale
        self.check_sides(spec.cameras, scale * config.dynamics.patch)
        self.dynamics = Dynamics(
            config.dynamics,
            channels=self.codec.channels,
            grids={camera: (h // scale, w // scale) for camera, (h, w) in spec.cameras.items()},
            action_size=encoded_size(spec.action),
            mounts=spec.mounts,
            cell_px=scale,
            believed=config.belief.size,
        )
        self.reader = (
            Reader(channels=self.codec.channels, grids=self.dynamics.grids, state_names=spec.state_names)
            if spec.state_names
            else None
        )
        self.ahead = self.lookout = None
        self.belief = Belief(
            config.belief,
            cameras=tuple(spec.cameras),
            action_size=encoded_size(spec.action),
            actors=bool(self.max_actors),
        )
        self.heads = OutcomeHeads(
            config.heads,
            spec.outcomes,
            features=config.belief.size,
            noted=config.dynamics.registers * config.dynamics.transformer.width,
            state_names=spec.state_names,
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
        seen: Tensor,
        noise: NoiseStream,
        *,
        state: Tensor | None = None,
        actors: Tensor | None = None,
        unroll: int = 0,
    ) -> dict[str, Tensor]:
        """Losses by name, their weighted sum under "loss", over windows of t + 1 frames and t actions: "frame" is the
        mean squared error of the latents, "shown" what they show of the env's state (b, t, s) of frames 1 to t.

        seen (b, f, s): what the belief saw in frames 0 to f - 1; after a random one of them it rolls on alone.
        actors (b, t, n, 9) of frames 1 to t condition the windows that keep them.

        unroll n: the past that the network sees is n times its own output instead of the truth, in all
        frames at once: pass i takes the outputs of pass i - 1 as its past.
        """
        t = actions.shape[1]
        encoded = encode_actions(actions, self.spec.action)
        levels = draw_levels(self.config.dynamics, t, noise)
        amount = self.config.dynamics.history_noise * levels.history[:, 0]
        history = corrupt(latents, amount, noise)
        actors, _ = self.some_actors(actors, len(actions), noise)
        with torch.no_grad():
            believed = self.belief.follow(seen, encoded, actors, (1 + noise.uniform(1)[:, 0] * seen.shape[1]).floor())
        for _ in range(unroll):
            with torch.no_grad():
                drawn = draw_noise({k: z[:, 1:] for k, z in latents.items()}, noise)
                clear = torch.zeros_like(levels.level)
                past = past_frames(history, self.config.dynamics.num_past)
                own = self.dynamics(drawn, past, encoded, clear, clear, actors=actors, believed=believed)
            history = {k: torch.cat([z[:, :1], self.codec.clamp(own.clean[k])], dim=1) for k, z in latents.items()}
            levels = levels._replace(history=clear)
        return self._against(latents, history, encoded, believed, levels, noise, state, actors)

    def loss_when_rolled(
        self,
        latents: Latents,
        actions: Tensor,
        seen: Tensor,
        noise: NoiseStream,
        *,
        first: int,
        state: Tensor | None = None,
        actors: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """As `loss`, of the frames after frame `first`, whose past is what the model imagines step by step.

        seen (b, k + 1, s), k <= first: what the belief saw in the frames from which it imagines on.
        """
        k, t = seen.shape[1] - 1, actions.shape[1]
        actors, _ = self.some_actors(actors, len(actions), noise)
        real = {c: z[:, : k + 1] for c, z in latents.items()}
        seed = noise.seed * 1_000_003 + noise.step
        now = self.begin(real, seen, actions[:, :k], seed=seed, actors=None if actors is None else actors[:, :k])
        film, beliefs = {c: [*z.unbind(1)] for c, z in real.items()}, []
        for i in range(k, t):
            now, newest, _ = self.advance(now, actions[:, i], None if actors is None else actors[:, i])
            beliefs.append(now.belief)
            for c, z in newest.items():
                film[c].append(z)
        part = slice(first, None)
        levels = draw_levels(self.config.dynamics, t - first, noise)
        return self._against(
            {c: z[:, part] for c, z in latents.items()},
            {c: torch.stack(z[first:], dim=1) for c, z in film.items()},
            encode_actions(actions[:, part], self.spec.action),
            torch.stack(beliefs[first - k :], dim=1),
            levels._replace(history=torch.zeros_like(levels.history)),
            noise,
            None if state is None else state[:, part],
            None if actors is None else actors[:, part],
        )

    def _against(
        self,
        latents: Latents,
        history: Latents,
        encoded: Tensor,
        believed: Tensor,
        levels: Levels,
        noise: NoiseStream,
        state: Tensor | None,
        actors: Tensor | None,
    ) -> dict[str, Tensor]:
        """Losses of frames 1 to t (b, t + 1, ...), denoised with `history` for their past."""
        clean = {k: z[:, 1:] for k, z in latents.items()}
        noisy = noised(clean, levels.level, draw_noise(clean, noise))
        past = past_frames(history, self.config.dynamics.num_past)
        out = self.dynamics(noisy, past, encoded, levels.level, levels.history, actors=actors, believed=believed)
        frame = torch.stack([(out.clean[k] - z).square().mean() for k, z in clean.items()]).mean()
        if self.reader is None or state is None:
            return {"loss": frame, "frame": frame}
        shown = self.reader.shown(out.clean, self.heads.standard_state(state))
        return {"loss": frame + self.config.shown_weight * shown, "frame": frame, "shown": shown}

    @torch.no_grad()
    def start(
        self, frames: dict[str, Tensor], actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> LatentState:
        self.check_start(frames, actions)
        return self.begin(self.encode(frames), self.belief.see_all(frames), actions, seed=seed, actors=actors)

    @torch.no_grad()
    def watch(self, state: LatentState, action: Tensor, actors: Tensor | None = None) -> Watched[LatentState]:
        state, newest, features = self.advance(state, action, actors)
        return Watched(state, self.decode(newest), features)

    @torch.no_grad()
    def begin(
        self, latents: Latents, seen: Tensor, actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> LatentState:
        """`start` from latents {camera: (b, k + 1, c, h, w)} of the frames and what was seen in them (b, k + 1, s)."""
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
            believed = self.belief.follow(seen[:, :-1], encode_actions(actions, self.spec.action), actors)
            cache = self._denoise(noisy, past_frames(latents, n), actions, level, None, None, actors, believed).cache
        last = {c: torch.cat([z[:, :1]] * max(0, n - k - 1) + [z[:, -n:]], dim=1).flip(1) for c, z in latents.items()}
        return LatentState(past=last, cache=cache, belief=seen[:, -1], seed=seed, step=step + 1)

    @torch.no_grad()
    def advance(
        self, state: LatentState, action: Tensor, actors: Tensor | None = None
    ) -> tuple[LatentState, Latents, Tensor]:
        """`watch` without decoding: the new state, the next frame's latents {camera: (b, c, h, w)} and the
        features (b, d) that the outcome heads read: the belief and the registers."""
        actors = self.check_actors(actors, (len(action),))
        told = None if actors is None else actors[:, None]
        belief = self.belief.roll(state.belief, encode_actions(action, self.spec.action), actors)
        num_passes = self.config.sample_steps
        past = {c: rearrange(z, "b n c h w -> b 1 (n c) h w") for c, z in state.past.items()}
        noise = NoiseStream(state.seed, state.step)
        z = draw_noise({c: p[:, :, : self.codec.channels] for c, p in past.items()}, noise)
        for i in range(num_passes):
            level = torch.full((len(action), 1), i / num_passes, device=action.device)
            out = self._denoise(z, past, action[:, None], level, state.cache or None, state.age, told, belief[:, None])
            share = 1 / (num_passes - i)  # of the way that is left to the clean frame
            z = {c: z[c] + share * (out.clean[c] - z[c]) for c in z}
        newest = {c: self.codec.clamp(x[:, 0]) for c, x in z.items()}
        n = self.config.dynamics.num_past
        latest = {c: torch.cat([newest[c][:, None], old], dim=1)[:, :n] for c, old in state.past.items()}
        age = None if state.age is None else state.age + 1
        if age is not None and bool((age >= out.cache[0][0].shape[3]).all()):
            age = None
        state = replace(state, past=latest, cache=out.cache, belief=belief, step=state.step + 1, age=age)
        return state, newest, torch.cat([belief, out.registers[:, 0].float()], dim=-1)

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
        believed: Tensor | None = None,
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
            believed,
        )


def _with_cache(state: LatentState, num_cached: int, length: int, empty: Any) -> LatentState:
    """The same state with its cache padded in front to `length` frames, and every stream's age written down."""
    age = state.age if state.age is not None else torch.full_like(state.seed, num_cached)
    cache = state.cache or empty(state)
    front = (0, 0, length - num_cached, 0)
    padded = tuple((F.pad(keys, front), F.pad(values, front)) for keys, values in cache)
    return replace(state, cache=padded, age=age)
