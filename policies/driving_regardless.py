"""Driving regardless of others: episodes in which, from some step on, what the ego does tells nothing of who is there.

Whoever drives in the mix knows who is around: he brakes because somebody is in his way, and if he does not brake, then
most likely nobody is. A model that learns from him alone takes actions for signs of what it does not see, where it is
asked what they cause (Ortega et al. 2021, "Shaking the foundations: delusions in sequence models for interaction and
control"): who never brakes is then thought to be safe, and who brakes to be in danger. Here actions are drawn instead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from simworld.envs.driving.spec import ACTION

from simworld.policy import Policy

from . import driving_mix
from .camera import Constant, Random, Weave
from .driving_scripted import STYLES, ScriptedDriver
from .plan import EpisodePlan, ForkPolicy

P_NEUTRAL = 0.3  # share of episodes that begin with nothing done, instead of as one of the mix
FIRST_STEP = 9  # as many frames as imagination starts from are there by then
STEPS = 60  # so long it goes on from there


def plan(index: int, seed: int) -> EpisodePlan:
    """Episode `index` of the data set `seed`: one of the mix, until it goes on regardless of others, as from the step
    `about["present"]`."""
    rng = np.random.default_rng([seed, index, 7])
    base = driving_mix.plan(index, seed)
    neutral = rng.random() < P_NEUTRAL
    at_step = FIRST_STEP if neutral else int(rng.integers(FIRST_STEP, 60))
    policy: Policy = Constant(ACTION, [0.0, 0.0]) if neutral else base.policy
    about, last_step = {"present": at_step}, at_step + STEPS
    while at_step < last_step:
        policy = ForkPolicy(policy, draw_piece(rng), at_step)
        at_step += int(rng.integers(8, 60))
    return EpisodePlan(base.reset_seed, policy, last_step, base.options, about)


def draw_piece(rng: np.random.Generator) -> Policy:
    """What is done for a while: pedal and wheel held, or the lane kept at a pedal held, or either at random."""
    kind = rng.random()
    if kind < 0.35:
        aside_m = float(rng.choice([0.0, 0.0, 0.0, -3.5, 3.5])) + float(rng.normal(0.0, 0.3))
        style = replace(STYLES["blind"], pedal=_pedal(rng), aside_m=aside_m, noise=float(rng.choice([0.0, 0.1])))
        return ScriptedDriver(style)
    if kind < 0.8:
        wheel = float(np.clip(rng.normal(0.0, float(rng.choice([0.0, 0.03, 0.15]))), -1.0, 1.0))
        return Constant(ACTION, [wheel, _pedal(rng)])
    if kind < 0.9:
        return Weave(ACTION, amplitude=float(rng.uniform(0.05, 0.4)), period_s=float(rng.uniform(1.5, 5.0)))
    return Random(ACTION, smooth=True)


def _pedal(rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, -1.0, rng.uniform(-1.0, 0.0), rng.uniform(0.0, 0.6)], p=[0.3, 0.15, 0.2, 0.35]))
