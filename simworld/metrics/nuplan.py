"""nuPlan's closed-loop score and its parts, as far as a recorded drive can give them.

Source: nuplan-devkit, simulation_metric and closed_loop_reactive_agents_weighted_average:
[no at-fault collision x drivable area x making progress x direction]
x (5 progress + 5 time to collision + 4 speed limit + 2 comfort) / 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simworld.metrics.crashes import VULNERABLE, Crash

Floats = NDArray[np.float64]
WEIGHTS = {"progress": 5.0, "time_to_collision": 5.0, "speed_limit": 4.0, "comfort": 2.0}
FACTORS = ("no_at_fault_collision", "drivable_area", "making_progress", "direction")
STOPPED_MPS = 0.05
LEAST_PROGRESS_M = 2.0
MAKING_PROGRESS = 0.2
OVERSPEED_MPS = 2.23
WRONG_WAY_M = (2.0, 6.0)  # against the lane within 1 s: up to the first costs nothing, above the second everything
AHEAD_RAD, BEHIND_RAD = np.deg2rad(30.0), np.deg2rad(150.0)


@dataclass(frozen=True)
class NuPlanScore:
    """Score in [0, 1] and its parts, each in [0, 1]; None where unknown, and `score` needs every part."""

    score: float | None
    no_at_fault_collision: float | None
    drivable_area: float | None
    making_progress: float | None
    direction: float | None
    progress: float | None
    time_to_collision: float | None
    speed_limit: float | None
    comfort: float | None


def nuplan_score(
    *,
    no_at_fault_collision: float | None,
    drivable_area: float | None,
    direction: float | None,
    progress: float | None,
    time_to_collision: float | None,
    speed_limit: float | None,
    comfort: float | None,
) -> NuPlanScore:
    """Combine the parts; making progress follows from progress."""
    parts = {
        "no_at_fault_collision": no_at_fault_collision,
        "drivable_area": drivable_area,
        "making_progress": None if progress is None else float(progress >= MAKING_PROGRESS),
        "direction": direction,
        "progress": progress,
        "time_to_collision": time_to_collision,
        "speed_limit": speed_limit,
        "comfort": comfort,
    }
    known = {name: value for name, value in parts.items() if value is not None}
    score = None
    if len(known) == len(parts):
        factor = float(np.prod([known[name] for name in FACTORS]))
        score = factor * sum(w * known[name] for name, w in WEIGHTS.items()) / sum(WEIGHTS.values())
    return NuPlanScore(score=score, **parts)


def at_fault(crash: Crash, *, between_lanes: bool | None) -> bool | None:
    """Whether nuPlan blames the ego: it runs into someone, or into something standing, or scrapes between two lanes.

    Never for a standing ego or when hit from behind. `between_lanes`: the ego was in more than one lane, or outside
    any, at the impact. None where the crash does not tell, or where a sideways touch hangs on an unknown lane.
    """
    if crash.ego_speed_mps is not None and crash.ego_speed_mps <= STOPPED_MPS:
        return False
    if crash.partner == "static" or (crash.partner_speed_mps is not None and crash.partner_speed_mps <= STOPPED_MPS):
        return True
    if crash.side == "front":
        return True
    if crash.side == "rear":
        return False
    return between_lanes if crash.side in ("left", "right") else None


def collision_part(guilty: Sequence[Crash]) -> float:
    """Any at-fault collision with a road user gives 0, one with an object 1/2, two with objects 0."""
    by_kind = {"vulnerable": 0, "vehicle": 0, "object": 0}
    for crash in guilty:
        vehicle = "vulnerable" if crash.partner in VULNERABLE else "vehicle"
        by_kind["object" if crash.partner == "static" else vehicle] += 1
    if by_kind["vulnerable"] or by_kind["vehicle"]:
        return 0.0
    return max(0.0, 1.0 - by_kind["object"] / 2)


def progress_part(ego_m: float, expert_m: float) -> float:
    """Progress along the route as a share of an expert's, at most 1; 0 for an ego that drove backwards."""
    if ego_m < -LEAST_PROGRESS_M:
        return 0.0
    return min(1.0, max(ego_m, LEAST_PROGRESS_M) / max(expert_m, LEAST_PROGRESS_M))


def speed_limit_part(speed_mps: ArrayLike, limit_mps: ArrayLike) -> float:
    """1 less the mean excess over the limit, (t,) both, as a share of 2.23 m/s (5 mph)."""
    excess = np.maximum(np.asarray(speed_mps, np.float64) - np.asarray(limit_mps, np.float64), 0.0)
    return max(0.0, 1.0 - float(excess.mean()) / OVERSPEED_MPS)


def direction_part(along_lane_m: ArrayLike, dt_s: float) -> float:
    """1, 1/2 or 0 by the furthest drive against the lane within 1 s; along_lane_m (t,) is the way made per step."""
    way = np.asarray(along_lane_m, np.float64)
    # As in the devkit, the window holds the sample itself and those of the second before.
    window = round(1.0 / dt_s) + 1
    total = np.concatenate([[0.0], np.cumsum(way)])
    end = np.arange(1, len(total))
    against_m = -float(np.min(total[end] - total[np.maximum(end - window, 0)]))
    if against_m < WRONG_WAY_M[0]:
        return 1.0
    return 0.5 if against_m < WRONG_WAY_M[1] else 0.0


def relevant_actors(xy_m: ArrayLike, between_lanes: ArrayLike, *, rear_axle_m: float) -> NDArray[np.bool_]:
    """Which actors count for time to collision: those within 30 degrees ahead, and between lanes all but those behind.

    xy_m (t, n, 2) in the ego frame, between_lanes (t,); angles are seen from the rear axle, rear_axle_m behind the
    ego's centre.
    """
    xy = np.asarray(xy_m, np.float64)
    angle = np.abs(np.arctan2(xy[..., 1], xy[..., 0] + rear_axle_m))
    return (angle < AHEAD_RAD) | (np.asarray(between_lanes, bool)[:, None] & (angle <= BEHIND_RAD))
