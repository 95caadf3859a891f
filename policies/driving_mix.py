"""Which episodes to record for driving: a pure plan from (seed, index), rich in crashes and counterfactual forks."""

from __future__ import annotations

from typing import Any

import numpy as np

from simworld.policy import Policy

from . import driving_encounters
from .driving_scripted import SwitchPolicy, make_driver
from .plan import EpisodePlan

# Share of each behaviour; tuned so that about a third of the episodes end in a crash.
MIX = {
    "expert": 0.16,
    "cautious": 0.06,
    "aggressive": 0.13,
    "reckless": 0.15,
    "distracted": 0.12,
    "ram": 0.08,
    "random": 0.08,
    "weaver": 0.09,
    "explorer": 0.13,
}
P_ENCOUNTER = 0.3  # share of episode pairs that are constructed encounters
P_FORK = 0.5  # share of episode pairs 2 j, 2 j + 1 that share their start and part at a step


def plan(index: int, seed: int) -> EpisodePlan:
    """Episode `index` of the data set `seed`: a function of these two numbers only."""
    pair, twin = divmod(index, 2)
    shared = np.random.default_rng([seed, pair, 1])
    if shared.random() < P_ENCOUNTER:
        return driving_encounters.plan(index, seed)
    fork = shared.random() < P_FORK
    own = np.random.default_rng([seed, index, 2])
    rng = shared if fork else own
    first, max_steps = _draw_style(rng), int(rng.integers(100, 201))
    noise = float(rng.choice([0.0, 0.05, 0.15, 0.3])) if first not in ("random", "explorer") else None
    reset_seed = int(rng.integers(2**31))
    at_step = int(rng.integers(10, 80))
    options: dict[str, Any] = {"ego_speed_mps": float(rng.uniform(0.0, 30.0))} if rng.random() < 0.25 else {}
    policy: Policy = make_driver(first, noise)
    if fork and twin == 1:
        other = _draw_style(own, avoid=first)
        policy = SwitchPolicy(policy, make_driver(other), at_step)
    return EpisodePlan(reset_seed, policy, max_steps, options)


def plan_expert(index: int, seed: int) -> EpisodePlan:
    """Episode `index` of expert driving with a little noise, from which it recovers: data for behaviour cloning."""
    rng = np.random.default_rng([seed, index, 3])
    noise = float(rng.choice([0.0, 0.1, 0.2]))
    reset_seed = int(rng.integers(2**31))
    return EpisodePlan(reset_seed, make_driver("expert", noise), int(rng.integers(120, 201)))


def _draw_style(rng: np.random.Generator, avoid: str = "") -> str:
    names = [n for n in MIX if n != avoid]
    weights = np.array([MIX[n] for n in names])
    return str(rng.choice(names, p=weights / weights.sum()))
