"""A tiny deterministic env with two cameras, outcomes and state, in the shape of the env contract."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from simworld.episode import ActionSpec, EpisodeSpec, OutcomeSpec


class ToyEnv(gymnasium.Env):
    """A dot on a line moves by the action; it hits the wall at |x| >= 1. Frames show x, steps and the seed's hue."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, size: int = 16, discrete: bool = False, truth: bool = True, noisy: bool = True) -> None:
        self.truth, self.noisy, self.render_mode = truth, noisy, "rgb_array"
        self.cameras = {"front": (size, size), "rear": (size // 2, size)}
        spaces = gymnasium.spaces
        self.observation_space = spaces.Dict(
            {c: spaces.Box(0, 255, (*hw, 3), np.uint8) for c, hw in self.cameras.items()}
        )
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-1, 1, (2,), np.float32)
        self.episode_spec = EpisodeSpec(
            env_id="toy",
            cameras=self.cameras,
            action=ActionSpec("discrete", n=3) if discrete else ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
            outcomes=(OutcomeSpec("hit", "event"), OutcomeSpec("force", "scalar", unit="N", given="hit")),
            state_names=("x_m", "step"),
            state_units=("m", "1"),
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x_m = float((options or {}).get("x_m", self.np_random.uniform(-0.5, 0.5)))
        self.num = 0
        return self._observe(), self._info() | ({"caption": f"a dot at {self.x_m:.2f}"} if self.truth else {})

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        push = (float(action) - 1) if isinstance(self.action_space, gymnasium.spaces.Discrete) else float(action[0])
        self.x_m += 0.2 * push
        self.num += 1
        hit = abs(self.x_m) >= 1
        outcomes = {"hit": float(hit), "force": abs(push) if hit else float("nan")}
        return self._observe(), -abs(self.x_m), hit, False, self._info() | {"outcomes": outcomes}

    def render(self) -> Any:
        return self._observe()["front"]

    def _observe(self) -> dict[str, np.ndarray]:
        level = int(np.clip(self.x_m, -1, 1) * 100 + 128)
        frames = {c: np.full((*hw, 3), level, np.uint8) for c, hw in self.cameras.items()}
        for frame in frames.values():
            frame[0, 0] = self.num
            if self.noisy:
                frame[1:] += self.np_random.integers(0, 9, frame[1:].shape, dtype=np.uint8)
        return frames

    def _info(self) -> dict[str, Any]:
        if not self.truth:
            return {}
        actors = np.full((2, 9), np.nan, np.float32)
        actors[0] = self.x_m
        return {"state": np.array([self.x_m, self.num], np.float32), "actors": actors}


def make(**options: Any) -> ToyEnv:
    return ToyEnv(**options)


@dataclass
class RandomPolicy:
    """Uniform actions, drawn per lane from its seed."""

    size: int = 2
    name: str = "random"
    needs_state: bool = False

    def reset(self, seeds: np.ndarray) -> None:
        self.rngs = [np.random.default_rng(int(s)) for s in seeds]

    def act(self, observation: Any, infos: list[dict[str, Any]]) -> np.ndarray:
        return np.stack([r.uniform(-1, 1, self.size) for r in self.rngs]).astype(np.float32)


@dataclass(frozen=True)
class ToyPlan:
    reset_seed: int
    policy: Any = field(default_factory=RandomPolicy)
    max_steps: int = 12
    options: dict[str, Any] = field(default_factory=dict)


def plan(index: int, seed: int) -> ToyPlan:
    return ToyPlan(reset_seed=seed * 1000 + index, max_steps=5 + index % 7)


def deadly_plan(index: int, seed: int) -> ToyPlan:
    """Episode 2 kills its process, once where the file named by TOY_ONCE does not exist yet, else always."""
    if index == 2:
        once = os.environ.get("TOY_ONCE")
        if once is None or not os.path.exists(once):
            if once is not None:
                open(once, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return plan(index, seed)


def bad_plan(index: int, seed: int) -> ToyPlan:
    """Episode 3's policy has the wrong size."""
    return ToyPlan(reset_seed=index, policy=RandomPolicy(size=5 if index == 3 else 2))
