"""Crash severity and injury risk: planar two-body delta-v, and named risk curves with their sources.

The choice of curve dominates the answer, so it is always named beside a risk, never implied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import numpy as np

from simworld.metrics.crashes import Crash, partner_mass_kg

KMH_PER_MPS = 3.6
MPH_PER_MPS = 3600.0 / 1609.344


@dataclass(frozen=True)
class InjuryCurve:
    """Logistic risk p = 1 / (1 + exp(-z)), z = intercept + per_speed * v + per_year * age.

    victim     who is hurt: the occupant of the ego, or the pedestrian it hits
    severity   v is the ego's ``delta_v`` or the ``impact_speed`` at which the two close in
    speed_unit the unit of v that the source uses; callers always pass m/s
    """

    name: str
    victim: Literal["occupant", "pedestrian"]
    severity: Literal["delta_v", "impact_speed"]
    speed_unit: Literal["mph", "km/h"]
    intercept: float
    per_speed: float
    per_year: float
    injury: str
    source: str


CURVES: dict[str, InjuryCurve] = {
    curve.name: curve
    for curve in (
        InjuryCurve(
            name="occupant_mais3",
            victim="occupant",
            severity="delta_v",
            speed_unit="mph",
            intercept=-6.954,
            per_speed=0.1637,
            per_year=0.0,
            injury="MAIS 3 or more (serious) of a vehicle occupant",
            source="NHTSA DOT HS 813 219 (2022), MAIS(05/08) injury probability curves as functions of delta V",
        ),
        InjuryCurve(
            name="pedestrian_fatal",
            victim="pedestrian",
            severity="impact_speed",
            speed_unit="km/h",
            intercept=-7.5,
            per_speed=0.096,
            per_year=0.0,
            injury="death of an adult pedestrian hit by a car's front",
            source="Rosen et al. 2010",
        ),
        InjuryCurve(
            name="pedestrian_mais3",
            victim="pedestrian",
            severity="impact_speed",
            speed_unit="km/h",
            intercept=-6.19,
            per_speed=0.078,
            per_year=0.038,
            injury="MAIS 3 or more (serious) of a pedestrian hit by a car's front",
            source="Lubbe et al. 2022, Safe speed, Traffic Safety Research 2",
        ),
    )
}


def curve_named(name: str) -> InjuryCurve:
    """The curve of that name; ValueError lists the nearest names otherwise."""
    if name not in CURVES:
        near = get_close_matches(name, CURVES, n=3, cutoff=0.3) or list(CURVES)
        raise ValueError(f"no injury curve named {name!r}; did you mean {' or '.join(near)}?")
    return CURVES[name]


def injury_risk(speed_mps: float, curve: str, *, age_years: float = 45.0) -> float:
    """Probability of the curve's injury at `speed_mps`, the delta-v or impact speed that the curve is made for.

    `age_years` of the victim counts only where the curve has an age term. ValueError for a negative speed.
    """
    chosen = curve_named(curve)
    if not speed_mps >= 0:
        raise ValueError(f"speed_mps must be 0 or more, got {speed_mps}")
    speed = speed_mps * (MPH_PER_MPS if chosen.speed_unit == "mph" else KMH_PER_MPS)
    z = chosen.intercept + chosen.per_speed * speed + chosen.per_year * age_years
    return float(1.0 / (1.0 + np.exp(-z)))


def delta_v_mps(mass_kg: float, other_mass_kg: float, closing_speed_mps: float, *, restitution: float = 0.0) -> float:
    """Change of speed of the first body in a planar central impact: m2 / (m1 + m2) (1 + e) v_closing.

    Conservation of momentum with Newton's coefficient of restitution e in [0, 1].
    """
    if mass_kg <= 0 or other_mass_kg <= 0:
        raise ValueError(f"masses must be positive, got {mass_kg} kg and {other_mass_kg} kg")
    if not 0 <= restitution <= 1:
        raise ValueError(f"restitution must lie in [0, 1], got {restitution}")
    return other_mass_kg / (mass_kg + other_mass_kg) * (1.0 + restitution) * closing_speed_mps


def closing_speed_mps(mass_kg: float, other_mass_kg: float, delta_v: float, *, restitution: float = 0.0) -> float:
    """Inverse of `delta_v_mps`: the closing speed at which the first body's speed changes by `delta_v` m/s."""
    return delta_v / delta_v_mps(mass_kg, other_mass_kg, 1.0, restitution=restitution)


@dataclass(frozen=True)
class InjuryRisk:
    """Injury risk of an episode: the highest over its crashes, 0 without one that the curve speaks of.

    severity_from  "outcomes" for a delta-v, "state" for an impact speed measured on the frame before, "two-body law"
                   for one inferred from the delta-v; empty where no crash counts
    unknown        crashes that the curve speaks of, but whose severity the episode does not tell
    """

    risk: float
    curve: str
    injury: str
    source: str
    severity_mps: float | None
    severity_from: str
    unknown: int


def episode_injury(crashes: Sequence[Crash], curve: str, *, ego_mass_kg: float, age_years: float = 45.0) -> InjuryRisk:
    """The risk of the worst crash by the named curve; a pedestrian curve counts only crashes with pedestrians."""
    chosen = curve_named(curve)
    known: list[tuple[float, str]] = []
    unknown = 0
    for crash in crashes:
        if chosen.victim == "pedestrian" and crash.partner != "pedestrian":
            continue
        severity = _severity(crash, chosen, ego_mass_kg)
        if severity is None:
            unknown += 1
        else:
            known.append(severity)
    worst_mps, severity_from = max(known, default=(None, ""), key=lambda k: k[0] or 0.0)
    risk = 0.0 if worst_mps is None else injury_risk(worst_mps, curve, age_years=age_years)
    return InjuryRisk(risk, chosen.name, chosen.injury, chosen.source, worst_mps, severity_from, unknown)


def _severity(crash: Crash, curve: InjuryCurve, ego_mass_kg: float) -> tuple[float, str] | None:
    """The speed that the curve asks for, and where it comes from."""
    delta_v = None if crash.delta_v_mps is None else max(crash.delta_v_mps, 0.0)
    if curve.severity == "delta_v":
        return None if delta_v is None else (delta_v, "outcomes")
    if crash.closing_speed_mps is not None:
        return crash.closing_speed_mps, "state"
    other_mass_kg = partner_mass_kg(crash)
    if delta_v is None or other_mass_kg is None:
        return None
    return closing_speed_mps(ego_mass_kg, other_mass_kg, delta_v), "two-body law"
