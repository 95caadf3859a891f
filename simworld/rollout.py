"""Rollout: plays a policy in an env, real or imagined, single or vectorised, and returns the episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from simworld.episode import Episode, EpisodeSpec
from simworld.policy import Observation, Policy
from simworld.shapes import expect

Options: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any] | None] | None


def rollout(
    env: gymnasium.Env | VectorEnv,
    policy: Policy,
    *,
    seeds: Sequence[int],
    max_steps: int,
    options: Options = None,
    prefix_actions: NDArray[np.float32] | None = None,
) -> list[Episode]:
    """Play one episode per seed and return them in the order of `seeds`.

    A single env plays them one after another, a VectorEnv `num_envs` at a time; both start from
    reset(seed=..., options=...). `options` is one mapping for all, or one per seed; for a VectorEnv that
    takes batched options (an imagined one) those of a batch are stacked along a new first axis.
    `prefix_actions` (k, a) are forced first and then the policy is reset, so that it starts from the frame
    they lead to. At most `max_steps` actions of the policy follow; the prefix does not count. Continuous
    actions are clipped to the spec's bounds, and the clipped action is what the episode holds.

    Raises ValueError where the env declares no `episode_spec`, where the policy needs ground truth that the
    env does not give, and where an action has the wrong shape, is NaN, or is no valid index.
    """
    spec = env_spec(env)
    prefix = _checked_prefix(prefix_actions, spec)
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    per_seed = _options_per_seed(options, len(seeds))
    lanes: _Lanes = _VectorLanes(env, spec) if isinstance(env, VectorEnv) else _SingleLane(env, spec)
    episodes: list[Episode] = []
    for first in range(0, len(seeds), lanes.num):
        chosen = [int(s) for s in seeds[first : first + lanes.num]]
        episodes += _play(lanes, policy, chosen, per_seed[first : first + lanes.num], max_steps, prefix)
    return episodes


def env_spec(env: gymnasium.Env | VectorEnv) -> EpisodeSpec:
    """The env's EpisodeSpec; ValueError where it declares none."""
    spec = getattr(env.unwrapped, "episode_spec", None)
    if not isinstance(spec, EpisodeSpec) and isinstance(env.unwrapped, SyncVectorEnv):
        spec = getattr(env.unwrapped.envs[0].unwrapped, "episode_spec", None)
    if not isinstance(spec, EpisodeSpec) and isinstance(env.unwrapped, AsyncVectorEnv):
        spec = env.unwrapped.get_attr("episode_spec")[0]
    if not isinstance(spec, EpisodeSpec):
        raise ValueError(f"{env} declares no episode_spec: wrap it in an env whose `unwrapped.episode_spec` says so")
    return spec


@dataclass
class _Step:
    """What one step of all lanes returned; observation[lane] is the true next frame, even at the end."""

    observation: Observation
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    infos: list[dict[str, Any]]


class _SingleLane:
    """A gymnasium.Env behind the batched interface, with one lane."""

    num = 1

    def __init__(self, env: gymnasium.Env, spec: EpisodeSpec) -> None:
        self.env, self.spec = env, spec

    def reset(
        self, seeds: list[int], options: list[Mapping[str, Any] | None]
    ) -> tuple[Observation, list[dict[str, Any]]]:
        given = options[0]
        observation, info = self.env.reset(seed=seeds[0], options=None if given is None else dict(given))
        return self._batched(observation), [info]

    def step(self, actions: NDArray[np.float32]) -> _Step:
        action: Any = actions[0]
        space = self.env.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            action = int(actions[0, 0]) + int(space.start)
        elif isinstance(space, gymnasium.spaces.Box):
            action = actions[0].reshape(space.shape).astype(space.dtype)
        observation, reward, terminated, truncated, info = self.env.step(action)
        return _Step(
            self._batched(observation),
            np.array([reward], np.float64),
            np.array([terminated], bool),
            np.array([truncated], bool),
            [info],
        )

    def _batched(self, observation: dict[str, Any]) -> Observation:
        return {camera: np.array(observation[camera])[None] for camera in self.spec.cameras}


class _VectorLanes:
    """A gymnasium VectorEnv; lanes that are done run on until the slowest ends, and are not recorded."""

    def __init__(self, env: VectorEnv, spec: EpisodeSpec) -> None:
        self.env, self.spec, self.num = env, spec, env.num_envs
        self.mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.ended = np.zeros(self.num, bool)

    def reset(
        self, seeds: list[int], options: list[Mapping[str, Any] | None]
    ) -> tuple[Observation, list[dict[str, Any]]]:
        self.ended = np.zeros(self.num, bool)
        seed: Any = seeds  # gymnasium's own vector envs take a list, though the base class declares an int
        observation, infos = self.env.reset(seed=seed, options=self._joined(options))
        return self._copied(observation), [_lane_info(infos, i) for i in range(self.num)]

    def step(self, actions: NDArray[np.float32]) -> _Step:
        if self.mode == AutoresetMode.DISABLED and self.ended.any():
            # Such an env refuses to step a finished lane; what the lane then shows is never recorded.
            self.env.reset(options={"reset_mask": self.ended})
        observation, reward, terminated, truncated, infos = self.env.step(self._batch_action(actions))
        frames = self._copied(observation)
        lane_infos = [_lane_info(infos, i) for i in range(self.num)]
        self.ended = np.logical_or(terminated, truncated)
        if self.mode == AutoresetMode.SAME_STEP:
            for lane in np.flatnonzero(self.ended):
                last = infos["final_obs"][lane]
                for camera in frames:
                    frames[camera][lane] = last[camera]
                lane_infos[lane] = _lane_info(infos["final_info"], int(lane))
        return _Step(frames, np.asarray(reward), np.asarray(terminated), np.asarray(truncated), lane_infos)

    def _batch_action(self, actions: NDArray[np.float32]) -> NDArray[Any]:
        space = self.env.single_action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return actions[:, 0].astype(space.dtype) + space.start
        return actions.reshape(self.num, *(space.shape or ())).astype(space.dtype)

    def _copied(self, observation: dict[str, Any]) -> Observation:
        return {camera: np.array(observation[camera]) for camera in self.spec.cameras}

    def _joined(self, options: list[Mapping[str, Any] | None]) -> dict[str, Any] | None:
        given = [o for o in options if o is not None]
        if not given:
            return None
        if len(given) < len(options):
            raise ValueError("options are given for some seeds of a batch only; give them for all or for none")
        if not isinstance(self.env.unwrapped, SyncVectorEnv | AsyncVectorEnv):
            return _stack(given)
        if any(o is not given[0] and dict(o) != dict(given[0]) for o in given):
            raise ValueError(
                "this vector env hands one `options` to all its envs; use a single env for options per seed"
            )
        return dict(given[0])


_Lanes: TypeAlias = _SingleLane | _VectorLanes


@dataclass
class _Recording:
    """Grows into one Episode."""

    frames: dict[str, list[NDArray[np.uint8]]]
    caption: str
    states: list[Any]
    actors: list[Any]
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    outcomes: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, observation: Observation, lane: int, info: dict[str, Any]) -> _Recording:
        frames = {camera: [f[lane]] for camera, f in observation.items()}
        return cls(frames, str(info.get("caption", "")), [info.get("state")], [info.get("actors")])

    def add(self, action: NDArray[np.float32], step: _Step, lane: int) -> None:
        info = step.infos[lane]
        for camera, frames in step.observation.items():
            self.frames[camera].append(frames[lane])
        self.states.append(info.get("state"))
        self.actors.append(info.get("actors"))
        self.actions.append(action)
        self.rewards.append(float(step.reward[lane]))
        self.terminated = bool(step.terminated[lane])
        self.outcomes.append(info.get("outcomes", {}))

    def episode(self, spec: EpisodeSpec, provenance: dict[str, Any]) -> Episode:
        num_steps = len(self.actions)
        no_state = np.full(len(spec.state_names), np.nan, np.float32)
        no_actors = np.full(next((np.shape(a) for a in self.actors if a is not None), (0, 9)), np.nan, np.float32)
        terminated = np.zeros(num_steps, bool)
        terminated[-1] = self.terminated
        episode = Episode(
            frames={camera: np.stack(f) for camera, f in self.frames.items()},
            actions=np.stack(self.actions).astype(np.float32),
            reward=np.array(self.rewards, np.float32),
            terminated=terminated,
            outcomes={
                o.name: np.array([s.get(o.name, np.nan) for s in self.outcomes], np.float32) for o in spec.outcomes
            },
            state=np.stack([no_state if s is None else np.asarray(s, np.float32) for s in self.states]),
            actors=np.stack([no_actors if a is None else np.asarray(a, np.float32) for a in self.actors]),
            caption=self.caption,
            provenance=provenance,
        )
        episode.validate(spec)
        return episode


def _play(
    lanes: _Lanes,
    policy: Policy,
    seeds: list[int],
    options: list[Mapping[str, Any] | None],
    max_steps: int,
    prefix: NDArray[np.float32],
) -> list[Episode]:
    """One batch of at most `lanes.num` episodes; lanes without a seed repeat the last one, unrecorded."""
    spec = lanes.spec
    spare = lanes.num - len(seeds)
    all_seeds = seeds + seeds[-1:] * spare
    observation, infos = lanes.reset(all_seeds, options + options[-1:] * spare)
    if policy.needs_state and "state" not in infos[0]:
        raise ValueError(
            f"policy {policy.name!r} needs ground truth that {spec.env_id} does not give (no 'state' in info); "
            "use a policy that drives by camera"
        )
    recordings = [_Recording.start(observation, i, infos[i]) for i in range(len(seeds))]
    done = np.arange(lanes.num) >= len(seeds)
    for step_index in range(len(prefix) + max_steps):
        if done[: len(seeds)].all():
            break
        if step_index < len(prefix):
            actions = np.repeat(prefix[step_index][None], lanes.num, axis=0)
        else:
            if step_index == len(prefix):
                policy.reset(np.array(all_seeds, np.int64))
            actions = _checked_actions(policy, policy.act(observation, infos), spec, lanes.num, step_index, done)
        step = lanes.step(actions)
        for lane in np.flatnonzero(~done):
            recordings[lane].add(actions[lane], step, int(lane))
        done = done | step.terminated | step.truncated
        observation, infos = step.observation, step.infos
    return [
        recording.episode(
            spec, {"env_id": spec.env_id, "seed": seed, "policy": policy.name, "prefix_steps": len(prefix)}
        )
        for recording, seed in zip(recordings, seeds, strict=True)
    ]


def _checked_actions(
    policy: Policy, raw: Any, spec: EpisodeSpec, num: int, step_index: int, done: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """The policy's actions (b, a), clipped to the bounds; zeros in lanes that are done."""
    actions = np.array(raw, np.float32)
    where = f"the action of policy {policy.name!r} at step {step_index}"
    expect(actions, "b a", name=where, b=num, a=spec.action.size)
    actions[done] = 0.0
    if not np.isfinite(actions).all():
        raise ValueError(f"{where} holds NaN or infinity")
    if spec.action.kind == "continuous":
        return np.clip(actions, np.array(spec.action.low, np.float32), np.array(spec.action.high, np.float32))
    if ((actions < 0) | (actions >= spec.action.n) | (actions != np.round(actions))).any():
        raise ValueError(f"{where} is no index from 0 to {spec.action.n - 1}")
    return actions


def _checked_prefix(prefix: NDArray[np.float32] | None, spec: EpisodeSpec) -> NDArray[np.float32]:
    if prefix is None:
        return np.zeros((0, spec.action.size), np.float32)
    checked = np.asarray(prefix, np.float32)
    expect(checked, "k a", name="prefix_actions", a=spec.action.size)
    return checked


def _options_per_seed(options: Options, num: int) -> list[Mapping[str, Any] | None]:
    if options is None or isinstance(options, Mapping):
        return [options] * num
    if len(options) != num:
        raise ValueError(f"{len(options)} options for {num} seeds; give one mapping for all, or one per seed")
    return list(options)


def _stack(options: list[Mapping[str, Any]]) -> dict[str, Any]:
    """[{name: value}] -> {name: values stacked along a new first axis}, through nested mappings."""
    return {
        name: _stack([o[name] for o in options]) if isinstance(value, Mapping) else np.stack([o[name] for o in options])
        for name, value in options[0].items()
    }


def _lane_info(infos: Mapping[str, Any], lane: int) -> dict[str, Any]:
    """One lane's info out of a vector env's dict of arrays, where the mask `_key` tells which lanes have `key`."""
    info: dict[str, Any] = {}
    for key, value in infos.items():
        mask = infos.get(f"_{key}")
        if key.startswith("_") or (mask is not None and not mask[lane]):
            continue
        if isinstance(value, Mapping):
            info[key] = _lane_info(value, lane)
        elif isinstance(value, np.ndarray | list | tuple) and len(value) > lane:
            info[key] = value[lane]
    return info
