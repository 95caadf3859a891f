"""Behaviour for any env: smooth random actions, and random actions that are held; nothing is known of the task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.episode import ActionSpec
from simworld.policy import Observation

from .plan import EpisodePlan, ForkPolicy

MAX_STEPS = 150


class HoldPolicy:
    """Draws an action, holds it for a geometric number of steps (`mean_hold` on average), draws the next.

    Without `action` it reads the ActionSpec from ``info["action_spec"]`` at its first step.
    """

    needs_state = False

    def __init__(self, mean_hold: float, action: ActionSpec | None = None) -> None:
        self.name = f"hold{mean_hold:g}"
        self._mean_hold, self._action = mean_hold, action
        self._rngs: list[np.random.Generator] = []
        self._held: list[NDArray[np.float32] | None] = []

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._rngs = [np.random.default_rng([int(seed), 21]) for seed in seeds]
        self._held = [None] * len(seeds)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        action = _action_spec(self._action, infos)
        for lane, rng in enumerate(self._rngs):
            if self._held[lane] is None or rng.random() < 1.0 / self._mean_hold:
                self._held[lane] = _draw(rng, action)
        return np.stack([held for held in self._held if held is not None])


class SmoothPolicy:
    """Continuous actions that drift over the whole range in about `steps` steps; discrete ones are held as long."""

    needs_state = False

    def __init__(self, steps: float, action: ActionSpec | None = None) -> None:
        self.name = f"smooth{steps:g}"
        self._steps, self._action = steps, action
        self._hold = HoldPolicy(steps, action)
        self._rngs: list[np.random.Generator] = []
        self._value: NDArray[np.float64] | None = None

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._hold.reset(seeds)
        self._rngs = [np.random.default_rng([int(seed), 22]) for seed in seeds]
        self._value = None

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        action = _action_spec(self._action, infos)
        if action.kind == "discrete":
            return self._hold.act(observation, infos)
        fresh = np.stack([rng.normal(size=action.size) for rng in self._rngs])
        # Ornstein-Uhlenbeck with standard deviation 1; tanh spreads it over the range without piling up at the ends.
        keep = float(np.exp(-1.0 / self._steps))
        self._value = fresh if self._value is None else keep * self._value + np.sqrt(1.0 - keep**2) * fresh
        low, high = np.array(action.low), np.array(action.high)
        return (low + (high - low) * (0.5 + 0.5 * np.tanh(self._value))).astype(np.float32)


def plan(index: int, seed: int) -> EpisodePlan:
    """Episode `index` of the data set `seed`, for an env whose info tells its ActionSpec; twins as in `plan_for`."""
    return _plan(index, seed, None)


def plan_for(action: ActionSpec) -> Callable[[int, int], EpisodePlan]:
    """A ``plan(index, seed)`` for any env with such actions.

    Episodes 2j and 2j + 1 start alike and act alike up to a step, from which the second one acts otherwise.
    """
    return lambda index, seed: _plan(index, seed, action)


def _plan(index: int, seed: int, action: ActionSpec | None) -> EpisodePlan:
    pair, twin = divmod(index, 2)
    rng = np.random.default_rng([seed, pair, 1])
    reset_seed, fork_step = int(rng.integers(2**31)), int(rng.integers(5, 40))
    steps = float(rng.choice([3, 8, 20]))
    kind = HoldPolicy if rng.random() < 0.5 else SmoothPolicy
    first = kind(steps, action)
    if not twin:
        return EpisodePlan(reset_seed, first, MAX_STEPS)
    return EpisodePlan(reset_seed, ForkPolicy(first, HoldPolicy(8.0, action), fork_step), MAX_STEPS)


def _action_spec(given: ActionSpec | None, infos: list[dict[str, Any]]) -> ActionSpec:
    spec = given if given is not None else infos[0].get("action_spec")
    if not isinstance(spec, ActionSpec):
        raise ValueError("the env does not tell its action_spec in info; make the plan with plan_for(action_spec)")
    return spec


def _draw(rng: np.random.Generator, action: ActionSpec) -> NDArray[np.float32]:
    if action.kind == "discrete":
        return np.array([rng.integers(action.n)], np.float32)
    return rng.uniform(action.low, action.high).astype(np.float32)
