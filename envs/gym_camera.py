"""GymCameraEnv: any gymnasium env that renders rgb_array, seen through one camera like the project's own envs."""

from __future__ import annotations

import difflib
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray
from PIL import Image

from simworld.episode import ActionSpec, EpisodeSpec

CAMERA = "camera"
MAX_STATE = 64  # entries; an observation larger than that is a picture, not a state
MIN_PICTURE = 32  # pixels; a uint8 grid smaller than that is a map of symbols, not a picture


class GymCameraEnv(gymnasium.Env[dict[str, NDArray[np.uint8]], Any]):
    """The env `env_id` with what it renders as its observation {"camera": uint8 (h, w, 3)}.

    Where its own observation is a colour picture, that is the camera: it was drawn anyway, and drawing it twice
    halves the speed. Where it is a Box of at most MAX_STATE numbers, it is ``info["state"]``. No outcomes and no
    actors are declared. `env_kwargs` go to the env's constructor and its time limit stays in force. Box actions
    keep their bounds and are flat (a,), Discrete ones count from 0; ``info["action_spec"]`` tells policies which.

    Raises ValueError, with one sentence, where the id is unknown, the env can't be made or does not render
    rgb_array, or its actions are neither Discrete nor a bounded Box.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        env_id: str,
        size: tuple[int, int] = (64, 64),
        env_kwargs: dict[str, Any] | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        if len(size) != 2 or not all(isinstance(n, int) and 8 <= n <= 1024 for n in size):
            raise ValueError(f"size must be (height, width) in pixels, each a whole number from 8 to 1024, got {size}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is not offered; use 'rgb_array'")
        self.render_mode = render_mode
        self.size = (size[0], size[1])
        self.env = _make(env_id, dict(env_kwargs or {}))
        fps = float(self.env.metadata.get("render_fps") or 10)
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}
        names = _state_names(self.env.observation_space)
        self.episode_spec = EpisodeSpec(
            env_id=f"gym:{env_id}",
            cameras={CAMERA: self.size},
            action=_action_spec(env_id, self.env.action_space),
            dt_s=1.0 / fps,
            state_names=names,
            state_units=("",) * len(names),
        )
        self._sees_itself = _is_picture(self.env.observation_space)
        self._picture: Any = None
        frame = gymnasium.spaces.Box(0, 255, (*self.size, 3), np.uint8)
        self.observation_space: gymnasium.spaces.Dict = gymnasium.spaces.Dict(  # type: ignore[assignment]
            {CAMERA: frame}
        )
        self.action_space = _flat_space(self.env.action_space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        super().reset(seed=seed)
        # Without a seed the wrapped env is seeded from this one's stream, so that a run of resets repeats too.
        inner_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        observation, _ = self.env.reset(seed=inner_seed, options=options)
        return self._look(observation), self._info(observation)

    def step(self, action: Any) -> tuple[dict[str, NDArray[np.uint8]], float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self.env.step(self._inner_action(action))
        info = self._info(observation)
        info["outcomes"] = {}
        return self._look(observation), float(reward), bool(terminated), bool(truncated), info

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """The camera's frame, uint8 (h, w, 3)."""
        if self._picture is None:
            raise gymnasium.error.ResetNeeded("call reset() before render()")
        return resize(self._picture, self.size)

    def close(self) -> None:
        self.env.close()

    def _inner_action(self, action: Any) -> Any:
        given = np.asarray(action, dtype=np.float64)
        space, spec = self.env.action_space, self.episode_spec.action
        if isinstance(space, gymnasium.spaces.Discrete):
            if given.size != 1 or given.item() not in range(spec.n):
                raise ValueError(f"an action must be a whole number from 0 to {spec.n - 1}, got {action}")
            return int(given.item()) + int(space.start)
        if given.shape != (spec.size,) or not np.isfinite(given).all():
            raise ValueError(f"an action must be {spec.size} finite numbers, got {action}")
        clipped = np.clip(given, spec.low, spec.high)
        return clipped.reshape(space.shape or ()).astype(space.dtype)

    def _look(self, observation: Any) -> dict[str, NDArray[np.uint8]]:
        picture: Any = observation if self._sees_itself else self.env.render()
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"{self.episode_spec.env_id} rendered no (height, width, 3) picture")
        self._picture = picture
        return {CAMERA: resize(picture, self.size)}

    def _info(self, observation: Any) -> dict[str, Any]:
        has_state = bool(self.episode_spec.state_names)
        state = np.asarray(observation, np.float32).ravel().copy() if has_state else np.zeros(0, np.float32)
        return {
            "state": state,
            "actors": np.zeros((0, 9), np.float32),
            "caption": f"A moment of {self.episode_spec.env_id.removeprefix('gym:')}.",
            "action_spec": self.episode_spec.action,
        }


def make(
    env_id: str,
    size: tuple[int, int] | list[int] = (64, 64),
    env_kwargs: dict[str, Any] | None = None,
) -> gymnasium.Env[Any, Any]:
    """A GymCameraEnv, as `gymnasium.make` makes it, by the wrapped env's id with or without "gym:" before it."""
    spec = EnvSpec("simworld/GymCamera-v0", entry_point=f"{__name__}:GymCameraEnv")
    h, w = size
    return gymnasium.make(spec, env_id=env_id.removeprefix("gym:"), size=(h, w), env_kwargs=env_kwargs)


def resize(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Area-average a uint8 picture (h, w, 3) to `size`; the same bytes on every machine (integer arithmetic)."""
    h, w = size
    if picture.shape[:2] == (h, w):
        return picture.copy()
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((w, h), Image.Resampling.BOX)).copy()


def _make(env_id: str, env_kwargs: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    spec = _spec(env_id)
    try:
        env = gymnasium.make(spec, render_mode="rgb_array", disable_env_checker=True, **env_kwargs)
    except (gymnasium.error.Error, TypeError, ValueError, ImportError) as error:
        raise ValueError(f"{env_id} can not be made with render_mode='rgb_array': {error}") from error
    if "rgb_array" not in env.metadata.get("render_modes", []):
        modes = ", ".join(env.metadata.get("render_modes", [])) or "nothing"
        env.close()
        raise ValueError(f"{env_id} does not render rgb_array (it offers {modes}), so a camera can not see it")
    return env


def _spec(env_id: str) -> EnvSpec:
    try:
        return gymnasium.spec(env_id)
    except ImportError as error:
        raise ValueError(f"{env_id!r} can not be looked up: {error}") from error
    except gymnasium.error.Error as error:
        near = difflib.get_close_matches(env_id, list(gymnasium.registry), n=3, cutoff=0.3)
        raise ValueError(f"unknown env {env_id!r}; nearest: {', '.join(near) or 'none'}") from error


def _action_spec(env_id: str, space: gymnasium.Space[Any]) -> ActionSpec:
    if isinstance(space, gymnasium.spaces.Discrete):
        return ActionSpec("discrete", n=int(space.n))
    if isinstance(space, gymnasium.spaces.Box) and space.is_bounded():
        low, high = (tuple(float(x) for x in np.ravel(bound)) for bound in (space.low, space.high))
        return ActionSpec("continuous", low=low, high=high)
    raise ValueError(f"{env_id} has actions {space}; only Discrete and bounded Box actions are supported")


def _flat_space(space: gymnasium.Space[Any]) -> gymnasium.Space[Any]:
    if isinstance(space, gymnasium.spaces.Discrete):
        return gymnasium.spaces.Discrete(int(space.n))
    assert isinstance(space, gymnasium.spaces.Box)
    return gymnasium.spaces.Box(space.low.ravel().astype(np.float32), space.high.ravel().astype(np.float32))


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    if not isinstance(space, gymnasium.spaces.Box) or space.dtype != np.uint8 or len(space.shape) != 3:
        return False
    return space.shape[2] == 3 and min(space.shape[:2]) >= MIN_PICTURE


def _state_names(space: gymnasium.Space[Any]) -> tuple[str, ...]:
    if not isinstance(space, gymnasium.spaces.Box) or int(np.prod(space.shape)) > MAX_STATE:
        return ()
    return tuple(f"obs_{i}" for i in range(int(np.prod(space.shape))))
