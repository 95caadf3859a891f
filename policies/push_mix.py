"""Which episodes to record for pushing: a pure plan from (index, seed), rich in broken glass and in forks."""

from __future__ import annotations

import numpy as np

from .plan import EpisodePlan, ForkPolicy
from .push_scripted import make_pusher

# Share of each behaviour; tuned so that about a third of the episodes succeed and a third touch a vessel.
MIX = {
    "expert": 0.1,
    "slow": 0.03,
    "noisy": 0.09,
    "clumsy": 0.11,
    "careless": 0.08,
    "astray": 0.2,
    "vandal": 0.14,
    "random": 0.22,
    "idle": 0.03,
}


def plan(index: int, seed: int) -> EpisodePlan:
    """Episode `index` of the data set `seed`: a function of these two numbers only.

    Episodes 2j and 2j + 1 are twins: the same scene and the same behaviour up to a step, from which the second
    one behaves otherwise (unless the episode ends before it).
    """
    pair, twin = divmod(index, 2)
    rng = np.random.default_rng([seed, pair, 1])
    reset_seed, max_steps = int(rng.integers(2**31)), int(rng.integers(50, 121))
    first = _draw(rng)
    then = _draw(rng, avoid=first)
    # A vandal is done within a few steps, and twins that part after the end would be the same episode twice.
    fork_step = int(rng.integers(2, 4) if first == "vandal" else rng.integers(3, 17))
    policy = make_pusher(first)
    if twin:
        return EpisodePlan(reset_seed, ForkPolicy(policy, make_pusher(then), fork_step), max_steps)
    return EpisodePlan(reset_seed, policy, max_steps)


def plan_expert(index: int, seed: int) -> EpisodePlan:
    """Episode `index` of expert pushing, a part of it shaken and recovering: data for behaviour cloning."""
    rng = np.random.default_rng([seed, index, 2])
    style = "noisy" if rng.random() < 0.3 else "expert"
    return EpisodePlan(int(rng.integers(2**31)), make_pusher(style), 150)


def _draw(rng: np.random.Generator, avoid: str = "") -> str:
    names = [name for name in MIX if name != avoid]
    weights = np.array([MIX[name] for name in names])
    return str(rng.choice(names, p=weights / weights.sum()))
