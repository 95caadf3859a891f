"""Trials for driving: a fixed grid of conflicts with every class, each with twins that part at one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simworld.policy import Policy
from simworld.scenario import BODIES, ROAD_USERS

from .driving_encounters import Encounter
from .driving_scripted import SwitchPolicy, make_driver
from .plan import EpisodePlan

PRESENT = 10  # steps before twins part: their common past
AHEAD = 30  # steps that are recorded after it
TWINS = ("hold", "brake", "swerve")
DT_S = 0.1
VEHICLES = ("car", "van", "bus", "truck", "tank", "motorcycle")
MASS_LAW = ("tank", "truck", "car", "motorcycle", "pedestrian")
ABREAST_M = 3.5


@dataclass(frozen=True)
class Trial:
    """One conflict; `lead_s` after the twins part ego and partner meet if neither reacts."""

    family: str
    encounter: Encounter
    swerve: str = "swerve_left"
    mass_law: bool = False  # one of a set that differs in nothing but the partner's class

    @property
    def closing_mps(self) -> float:
        """How fast ego and partner approach along the road."""
        e = self.encounter
        along = {"head_on": -e.partner_speed_mps, "crossing": 0.0}.get(e.kind, e.partner_speed_mps)
        return e.ego_speed_mps - along


def _trial(
    family: str,
    kind: str,
    partner: str,
    ego_mps: float,
    partner_mps: float,
    lead_s: float,
    *,
    miss_m: float = 0.0,
    side: float = 1.0,
    mass_law: bool = False,
) -> Trial:
    encounter = Encounter(kind, partner, ego_mps, partner_mps, PRESENT * DT_S + lead_s, miss_m, side)
    # Whoever is passed is swerved into; from all others the ego swerves away.
    left = (side > 0) == (family == "passing")
    return Trial(family, encounter, "swerve_left" if left else "swerve_right", mass_law)


def _grid() -> tuple[Trial, ...]:
    trials = [
        _trial("standing", "rear_end", k, v, 0.0, 1.6, mass_law=k in MASS_LAW)
        for v in (8.0, 14.0, 20.0)
        for k in ROAD_USERS
    ]
    trials += [_trial("rear_end", "rear_end", k, 18.0, 8.0, 1.0) for k in VEHICLES]
    trials += [_trial("head_on", "head_on", k, v, 10.0, 1.6) for v in (8.0, 16.0) for k in VEHICLES]
    trials += [
        _trial("crossing", "crossing", k, v, 5.0, 1.6, side=side)
        for v, side in ((8.0, -1.0), (14.0, 1.0))
        for k in VEHICLES
    ]
    trials += [
        _trial("cut_in", "cut_in", k, 8.0 + c, 8.0, 1.6, side=s)
        for c, s in ((6.0, 1.0), (12.0, -1.0))
        for k in VEHICLES
    ]
    trials += [
        _trial("pedestrian", "crossing", k, v, w, lead_s, side=side)
        for k, w in (("pedestrian", 1.5), ("cyclist", 2.0))
        for v, lead_s, side in ((8.0, 1.0, -1.0), (14.0, 1.6, 1.0), (20.0, 1.6, -1.0))
    ]
    slow = [(k, 6.0) for k in VEHICLES] + [("pedestrian", 1.0), ("cyclist", 5.0)]
    trials += [_trial("passing", "rear_end", k, w + 12.0, w, 1.3, miss_m=ABREAST_M) for k, w in slow]
    return tuple(trials)


TRIALS = _grid()
NUM_EPISODES = len(TRIALS) * len(TWINS)


def plan(index: int, seed: int) -> EpisodePlan:
    """Episode `index`: twin `index % 3` of a trial; all hold their course until they part at step PRESENT.

    Trials of one family and closing speed share the road and the light, and differ in the partner alone.
    """
    number, twin = divmod(index, len(TWINS))
    trial = TRIALS[number % len(TRIALS)]
    e = trial.encounter
    own = [seed, number // len(TRIALS), sum(map(ord, trial.family)), round(10 * trial.closing_mps)]
    rng = np.random.default_rng(own)
    reset_seed, curviness = int(rng.integers(2**31)), str(rng.choice(["straight", "mild"]))
    policy: Policy = make_driver("blind")
    if twin:
        policy = SwitchPolicy(policy, make_driver("panic" if TWINS[twin] == "brake" else trial.swerve), PRESENT)
    about: dict[str, Any] = {
        "trial": number,
        "twin": TWINS[twin],
        "present": PRESENT,
        "family": trial.family,
        "partner": e.partner,
        "closing_mps": trial.closing_mps,
    }
    if trial.mass_law:
        about["mass_share"] = BODIES[e.partner].mass_kg / (BODIES["car"].mass_kg + BODIES[e.partner].mass_kg)
    # The middle of three lanes, so that a swerve finds road on both sides.
    options = e.reset_options() | {"num_lanes": 3, "lane": 1, "oncoming": False, "curviness": curviness}
    return EpisodePlan(reset_seed, policy, PRESENT + AHEAD, options, about)
