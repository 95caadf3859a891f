"""EpisodePlan: what a behaviour mix says of one episode before it is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simworld.policy import Policy


@dataclass(frozen=True)
class EpisodePlan:
    """Recipe of one episode: a mix's ``plan(index, seed)`` is a pure function that returns it.

    `policy` drives a batch of one and draws its chance from ``policy.reset(np.array([reset_seed]))``.
    """

    reset_seed: int
    policy: Policy
    max_steps: int
    options: dict[str, Any] = field(default_factory=dict)
