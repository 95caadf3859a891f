"""Constructed encounters for driving: one other road user, one conflict, and twins that differ in what the ego does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simworld.policy import Policy
from simworld.scenario import CONFLICT_SPEED_MPS, ROAD_USERS

from .driving_scripted import SwitchPolicy, make_driver
from .plan import EpisodePlan

KINDS = ("rear_end", "head_on", "crossing", "cut_in")
REACTIONS = ("panic", "swerve_left", "swerve_right")


@dataclass(frozen=True)
class Encounter:
    """Ego and partner reach one point after `time_s` if neither reacts, and pass `miss_m` apart."""

    kind: str
    partner: str
    ego_speed_mps: float
    partner_speed_mps: float
    time_s: float
    miss_m: float = 0.0
    side: float = 1.0  # 1: the partner comes from the left, -1: from the right

    def reset_options(self) -> dict[str, Any]:
        """Options for `reset` of simworld/Driving-v0."""
        along, v, w = self.ego_speed_mps * self.time_s, self.ego_speed_mps, self.partner_speed_mps
        actor: dict[str, Any] = {"kind": self.partner, "speed_mps": w, "left_m": self.side * self.miss_m}
        if self.kind == "rear_end":
            actor |= {"ahead_m": 5.0 + max(v - w, 0.5) * self.time_s}
        elif self.kind == "head_on":
            actor |= {"ahead_m": 5.0 + (v + w) * self.time_s, "heading_rad": np.pi}
        elif self.kind == "crossing":
            actor |= {"ahead_m": 3.0 + along + self.miss_m, "left_m": self.side * w * self.time_s}
            actor |= {"heading_rad": -self.side * np.pi / 2}
        else:  # cut_in: a slower one comes over from the next lane
            drift = 3.5 / max(self.time_s * w, 3.5)
            actor |= {"ahead_m": 5.0 + max(v - w, 0.5) * self.time_s, "left_m": self.side * (3.5 + self.miss_m)}
            actor |= {"heading_rad": -self.side * float(np.arcsin(drift))}
        return {"ego_speed_mps": v, "actors": [actor]}


def draw_encounter(rng: np.random.Generator) -> Encounter:
    """Any kind against any class; about a third are near misses."""
    kind, partner = str(rng.choice(KINDS)), str(rng.choice(ROAD_USERS))
    ego = float(rng.uniform(6.0, 28.0))
    top = min(CONFLICT_SPEED_MPS.get(partner, 28.0), {"head_on": 20.0, "crossing": 12.0}.get(kind, 0.9 * ego))
    slow = 0.0 if kind in ("rear_end", "head_on") else min(1.0, top)
    speed = 0.0 if kind == "rear_end" and rng.random() < 0.3 else float(rng.uniform(slow, top))
    miss = float(rng.uniform(1.5, 5.0)) if rng.random() < 0.35 else float(rng.uniform(-0.8, 0.8))
    return Encounter(kind, partner, ego, speed, float(rng.uniform(2.0, 5.5)), miss, float(rng.choice([-1.0, 1.0])))


def plan(index: int, seed: int) -> EpisodePlan:
    """Episode `index` of a set of encounters: an even one holds its course, its odd twin reacts at some step."""
    pair, twin = divmod(index, 2)
    rng = np.random.default_rng([seed, pair, 4])
    encounter, reset_seed = draw_encounter(rng), int(rng.integers(2**31))
    lag = int(10 * encounter.time_s) - int(rng.integers(6, 28))  # steps before the meeting at which the twin reacts
    noise, curviness = float(rng.choice([0.0, 0.0, 0.1])), str(rng.choice(["straight", "mild"]))
    policy: Policy = make_driver("blind", noise)
    if twin:
        reaction = str(rng.choice(REACTIONS, p=[0.6, 0.2, 0.2]))
        policy = SwitchPolicy(policy, make_driver(reaction, noise), max(2, lag))
    options = encounter.reset_options() | {"curviness": curviness}
    return EpisodePlan(reset_seed, policy, int(10 * encounter.time_s) + 15, options)
