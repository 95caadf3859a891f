"""Imagined environments: a world model behind gymnasium's Env and VectorEnv."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from simworld.beginnings import Beginnings, given, lanes_of
from simworld.chance import happens
from simworld.checkpoint import find_checkpoint, load_world_model
from simworld.episode import NOT_APPLICABLE, ActionSpec, EpisodeSpec
from simworld.fused import fuse
from simworld.shapes import expect
from simworld.start_films import StartFilms
from simworld.world_model import Prediction, WorldModel, take_streams

Frames = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Snapshot:
    """A moment of a vector env: everything that its future depends on. States are never edited, so it is cheap."""

    state: Any
    frames: Frames
    elapsed: NDArray[np.int64]
    done: NDArray[np.bool_]
    rngs: list[Mapping[str, Any]]


class WorldModelVectorEnv(VectorEnv):
    """`num_envs` imagined episodes in one batch.

    checkpoint    folder or shipped name
    starts        folder of a store to start from, which may have more cameras; by default the starts that lie beside
                  the checkpoint
    context       actions of the start that the model sees before the first step
    horizon       steps until an episode is truncated
    min_trust     truncate an episode whose trust falls below this (0: never)
    compiled      compile the model's step, at the price of about a minute at the first one (see simworld.fused)
    overrides     fields of the checkpoint's config to replace, e.g. {"sample_steps": 2}

    `reset(options={"frames": {camera: uint8 (b, k+1, h, w, 3)}, "actions": (b, k, a)})` starts from given films.
    `info` holds "outcomes" {name: (b,)}, drawn with the step's own noise, and their probabilities: "p_event",
    "p_within" {event: (b, horizon)}, "p_terminated", "trust", and "state_estimate" (b, s) by a model that has learned
    the spec's state.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        checkpoint: str | os.PathLike[str] | WorldModel[Any] = "driving",
        starts: str | os.PathLike[str] | StartFilms | None = None,
        context: int = 8,
        horizon: int = 600,
        min_trust: float = 0.0,
        device: str = "cpu",
        dtype: str = "bfloat16",
        compiled: bool = False,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = "rgb_array",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        if num_envs < 1 or horizon < 1 or context < 0:
            raise ValueError(
                f"num_envs and horizon must be at least 1 and context 0, got {num_envs}, {horizon}, {context}"
            )
        if not isinstance(checkpoint, WorldModel):
            precision = {"bfloat16": torch.bfloat16, "float32": torch.float32}.get(dtype)
            if precision is None:
                raise ValueError(f"dtype must be bfloat16 or float32, got {dtype!r}")
            if starts is None:
                starts = find_checkpoint(checkpoint)
            checkpoint = load_world_model(checkpoint, device=device, dtype=precision, overrides=dict(overrides or {}))
            checkpoint = fuse(checkpoint) if compiled else checkpoint
        self.model, self.device = checkpoint, torch.device(device)
        self.episode_spec: EpisodeSpec = self.model.spec
        self.num_envs, self.horizon, self.min_trust = num_envs, horizon, min_trust
        self._beginnings = Beginnings(starts, context, self.episode_spec.cameras)
        self.render_mode, self.autoreset_mode = render_mode, AutoresetMode(autoreset_mode)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": round(1 / self.episode_spec.dt_s),
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_observation_space = Dict(
            {c: Box(0, 255, (h, w, 3), np.uint8) for c, (h, w) in self.episode_spec.cameras.items()}
        )
        self.single_action_space = action_space(self.episode_spec.action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs = [np.random.default_rng(i) for i in range(num_envs)]
        self._elapsed = np.zeros(num_envs, np.int64)
        self._done = np.zeros(num_envs, bool)
        self._frames: Frames = {}
        self._state: Any = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frames, dict[str, Any]]:
        """Start all lanes, or those of options["reset_mask"] (b,); `seed` i gives lane i the seed + i."""
        options = options or {}
        lanes = lanes_of(options, self.num_envs)
        seeds = seed if isinstance(seed, list) else [None if seed is None else seed + i for i in range(self.num_envs)]
        if len(seeds) != self.num_envs:
            raise ValueError(f"{len(seeds)} seeds for {self.num_envs} envs")
        for lane in lanes:
            if seeds[lane] is not None:
                self._rngs[lane] = np.random.default_rng(seeds[lane])
        self._begin(lanes, options)
        return self._observation(), {}

    def step(self, actions: Any) -> tuple[Frames, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        encoded = self._checked(actions)
        again = np.flatnonzero(self._done)
        if len(again) and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ValueError(f"lanes {again.tolist()} are done; reset them with options={{'reset_mask': ...}} first")
        self._state, prediction = self.model.step(self._state, encoded)
        self._frames = {c: f.cpu().numpy() for c, f in prediction.frames.items()}
        self._elapsed = self._elapsed + 1
        # where this step only begins an episode, nothing was caused
        reward, terminated, info = self._caused(prediction, ~self._done)
        low_trust = info["trust"] < self.min_trust
        truncated = ((self._elapsed >= self.horizon) | low_trust) & ~terminated
        if self.autoreset_mode == AutoresetMode.NEXT_STEP and len(again):
            self._begin(again, {})
            reward[again], terminated[again], truncated[again] = 0.0, False, False
        self._done = terminated | truncated
        if self.autoreset_mode == AutoresetMode.SAME_STEP and self._done.any():
            ended = np.flatnonzero(self._done)
            last = np.full(self.num_envs, None, dtype=object)
            for lane in ended:
                last[lane] = {c: f[lane].copy() for c, f in self._frames.items()}
            info = info | {
                "final_obs": last,
                "_final_obs": self._done.copy(),
                "final_info": info,
                "_final_info": self._done.copy(),
            }
            self._begin(ended, {})
        return self._observation(), reward, terminated, truncated, info

    def _begin(self, lanes: NDArray[np.int64], options: Mapping[str, Any]) -> None:
        """Start episodes in `lanes`, each with noise from its own rng."""
        if "frames" in options:
            films, between = given(options, self.num_envs, self.episode_spec.action)
            frames, actions = {c: f[lanes] for c, f in films.items()}, between[lanes]
        else:
            frames, actions = self._beginnings.draw([self._rngs[lane] for lane in lanes])
        seeds = [int(self._rngs[lane].integers(2**62)) for lane in lanes]
        fresh = self.model.start(
            {c: torch.from_numpy(np.ascontiguousarray(f)).to(self.device) for c, f in frames.items()},
            torch.from_numpy(np.ascontiguousarray(actions)).to(self.device),
            seed=torch.tensor(seeds, dtype=torch.int64, device=self.device),
        )
        if len(lanes) == self.num_envs:
            self._state, self._frames = fresh, {c: f[:, -1].copy() for c, f in frames.items()}
        else:
            if self._state is None:
                raise gymnasium.error.ResetNeeded("the first reset must be of all lanes")
            self._state = self.model.put(self._state, torch.from_numpy(lanes).to(self.device), fresh)
            self._frames = {c: f.copy() for c, f in self._frames.items()}
            for camera, f in frames.items():
                self._frames[camera][lanes] = f[:, -1]
        self._elapsed = self._elapsed.copy()
        self._done = self._done.copy()
        self._elapsed[lanes], self._done[lanes] = 0, False

    def _checked(self, actions: Any) -> torch.Tensor:
        array = np.asarray(actions, np.float32)
        if self.episode_spec.action.kind == "discrete" and array.ndim == 1:
            array = array[:, None]
        expect(array, "b a", name="actions", b=self.num_envs, a=self.episode_spec.action.size)
        if not np.isfinite(array).all():
            raise ValueError(
                f"actions hold NaN or infinity in lanes {np.flatnonzero(~np.isfinite(array).all(1)).tolist()}"
            )
        return torch.from_numpy(array).to(self.device)

    def _caused(
        self, prediction: Prediction, present: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], NDArray[np.bool_], dict[str, Any]]:
        """Reward (b,), terminated (b,) and info of a step, which holds for the lanes `present` (b,)."""
        drawn = happens(prediction.outcomes, self.model.spec, self.model.heads, self._state.seed, self._state.step)
        info: dict[str, Any] = {
            "outcomes": {name: value.cpu().numpy() for name, value in drawn.outcomes.items()},
            "p_event": {name: h[:, 0].cpu().numpy() for name, h in prediction.outcomes.hazard.items()},
            "p_within": {
                name: (1 - (1 - h).cumprod(-1)).cpu().numpy() for name, h in prediction.outcomes.hazard.items()
            },
            "p_terminated": prediction.p_terminated.cpu().numpy(),
            "trust": prediction.trust.cpu().numpy(),
        }
        if prediction.outcomes.state.shape[-1]:
            info["state_estimate"] = prediction.outcomes.state.cpu().numpy()
        return prediction.reward.double().cpu().numpy(), drawn.terminated.cpu().numpy(), _masked(info, present)

    def _observation(self) -> Frames:
        return {c: f.copy() for c, f in self._frames.items()}

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Every lane's cameras side by side, a tuple of uint8 (h, w, 3)."""
        if self.render_mode is None or not self._frames:
            return None
        return tuple(side_by_side({c: f[i] for c, f in self._frames.items()}) for i in range(self.num_envs))

    def snapshot(self) -> Snapshot:
        """This moment, to come back to with `restore`."""
        return Snapshot(
            self._state, self._frames, self._elapsed, self._done, [rng.bit_generator.state for rng in self._rngs]
        )

    def restore(self, snapshot: Snapshot) -> None:
        self._state, self._frames = snapshot.state, snapshot.frames
        self._elapsed, self._done = snapshot.elapsed, snapshot.done
        for rng, state in zip(self._rngs, snapshot.rngs, strict=True):
            rng.bit_generator.state = state

    def fork(self, lane: int) -> None:
        """Put every lane into the state of `lane`, noise included: from here they differ by their actions alone."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before fork")
        if not 0 <= lane < self.num_envs:
            raise ValueError(f"there is no lane {lane}; lanes are 0 to {self.num_envs - 1}")
        lanes = torch.full((self.num_envs,), lane, dtype=torch.int64, device=self.device)
        self._state = take_streams(self._state, lanes)
        self._frames = {c: f[lanes.cpu().numpy()] for c, f in self._frames.items()}
        self._elapsed, self._done = self._elapsed[lanes.cpu().numpy()], self._done[lanes.cpu().numpy()]
        for i in range(self.num_envs):
            self._rngs[i].bit_generator.state = self._rngs[lane].bit_generator.state


class WorldModelEnv(gymnasium.Env):
    """One imagined episode at a time; arguments as WorldModelVectorEnv."""

    metadata = {"render_modes": ["rgb_array"]}  # an instance adds its rate; gymnasium.make looks here

    def __init__(
        self,
        *,
        checkpoint: str | os.PathLike[str] | WorldModel[Any] = "driving",
        starts: str | os.PathLike[str] | StartFilms | None = None,
        context: int = 8,
        horizon: int = 600,
        min_trust: float = 0.0,
        device: str = "cpu",
        dtype: str = "bfloat16",
        compiled: bool = False,
        render_mode: str | None = "rgb_array",
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self._lanes = WorldModelVectorEnv(
            1, checkpoint=checkpoint, starts=starts, context=context, horizon=horizon, min_trust=min_trust,
            device=device, dtype=dtype, compiled=compiled, render_mode=render_mode, overrides=overrides,
            autoreset_mode=AutoresetMode.DISABLED,
        )  # fmt: skip
        self.render_mode = render_mode
        self.metadata = {k: v for k, v in self._lanes.metadata.items() if k != "autoreset_mode"}
        self.episode_spec = self._lanes.episode_spec
        self.observation_space = self._lanes.single_observation_space
        self.action_space = self._lanes.single_action_space

    @property
    def model(self) -> WorldModel[Any]:
        return self._lanes.model

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frames, dict[str, Any]]:
        """options {"frames": {camera: uint8 (k+1, h, w, 3)}, "actions": (k, a)} start from a given film."""
        super().reset(seed=seed)
        given = dict(options or {})
        if isinstance(given.get("frames"), Mapping):
            given["frames"] = {c: np.asarray(f)[None] for c, f in given["frames"].items()}
        if "actions" in given:
            given["actions"] = np.asarray(given["actions"])[None]
        observation, _ = self._lanes.reset(seed=seed, options=given)
        return {c: f[0] for c, f in observation.items()}, {}

    def step(self, action: Any) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        self._lanes._done = np.zeros(1, bool)  # gymnasium leaves stepping on past the end to the caller
        observation, reward, terminated, truncated, info = self._lanes.step(np.asarray(action)[None])
        first = {c: f[0] for c, f in observation.items()}
        return first, float(reward[0]), bool(terminated[0]), bool(truncated[0]), _lane(info, 0)

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        shown = self._lanes.render()
        return None if shown is None else shown[0]

    def snapshot(self) -> Snapshot:
        return self._lanes.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        self._lanes.restore(snapshot)


def action_space(action: ActionSpec) -> Space[Any]:
    """The gymnasium space of an ActionSpec."""
    if action.kind == "discrete":
        return Discrete(action.n)
    return Box(np.array(action.low, np.float32), np.array(action.high, np.float32), dtype=np.float32)


def side_by_side(frames: Frames) -> NDArray[np.uint8]:
    """Cameras in a row, (h, w, 3); shorter ones are padded below in black."""
    height = max(f.shape[0] for f in frames.values())
    padded = [np.pad(f, ((0, height - f.shape[0]), (0, 0), (0, 0))) for f in frames.values()]
    return np.concatenate(padded, axis=1)


def _masked(info: dict[str, Any], present: NDArray[np.bool_]) -> dict[str, Any]:
    """gymnasium's vector convention: beside every key, `_key` says which lanes have it."""
    out: dict[str, Any] = {}
    for key, value in info.items():
        out[key] = _masked(value, present) if isinstance(value, dict) else value
        out[f"_{key}"] = present.copy()
    return out


def _lane(info: Mapping[str, Any], lane: int) -> dict[str, Any]:
    """One lane of a masked info, numbers as float and NaN as the one that equals itself."""
    out: dict[str, Any] = {}
    for key, value in info.items():
        if isinstance(value, dict):
            out[key] = _lane(value, lane)
        elif not key.startswith("_"):
            number = np.ndim(value[lane]) == 0
            out[key] = (NOT_APPLICABLE if np.isnan(value[lane]) else float(value[lane])) if number else value[lane]
    return out
