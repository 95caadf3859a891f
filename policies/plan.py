"""EpisodePlan: what a behaviour mix says of one episode before it is recorded, and the policy that parts two twins."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.policy import Observation, Policy


@dataclass(frozen=True)
class EpisodePlan:
    """Recipe of one episode: a mix's ``plan(index, seed)`` is a pure function that returns it.

    `policy` draws its chance from ``policy.reset(np.array([reset_seed]))``; `about` is what a bench groups episodes by.
    """

    reset_seed: int
    policy: Policy
    max_steps: int
    options: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


class ForkPolicy:
    """Does what `first` does for `fork_step` steps and what `then` does from there on."""

    def __init__(self, first: Policy, then: Policy, fork_step: int) -> None:
        self.name = f"{first.name}>{then.name}@{fork_step}"
        self.needs_state = first.needs_state or then.needs_state
        self._first, self._then, self._fork_step = first, then, fork_step
        self._step = 0

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._step = 0
        self._first.reset(seeds)
        # Other seeds, so that forking to the same behaviour still makes other choices.
        self._then.reset(seeds + 1_000_003)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        policy = self._first if self._step < self._fork_step else self._then
        self._step += 1
        return policy.act(observation, infos)
