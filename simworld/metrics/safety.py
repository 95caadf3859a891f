"""Surrogate safety measures: time to collision, post-encroachment time and RSS safe distances.

Positions in metres, velocities over the ground in m/s, boxes as (length, width), times in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simworld.metrics.boxes import boxes_overlap

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TtcSettings:
    """nuPlan's time to collision (nuplan-devkit, time_to_collision_within_bound)."""

    step_s: float = 0.1
    horizon_s: float = 3.0
    bound_s: float = 0.95  # a time to collision must exceed this
    stopped_mps: float = 0.005  # an ego slower than this is not on its way into anything


def time_to_collision_s(
    ego_pose: ArrayLike,
    ego_velocity_mps: ArrayLike,
    ego_size_m: ArrayLike,
    pose: ArrayLike,
    velocity_mps: ArrayLike,
    size_m: ArrayLike,
    settings: TtcSettings | None = None,
) -> Floats:
    """First time at which the ego's box meets another, both keeping velocity and heading; infinity if never.

    ego_pose (..., 3) x, y, heading; ego_velocity_mps (..., 2); ego_size_m (2,)
    pose (..., n, 3), velocity_mps (..., n, 2), size_m (..., n, 2), NaN where absent
    Returns (..., n): a multiple of `step_s` up to `horizon_s`, 0 where the boxes overlap already.
    """
    s = settings or TtcSettings()
    ego, ego_v = np.asarray(ego_pose, np.float64)[..., None, :], np.asarray(ego_velocity_mps, np.float64)[..., None, :]
    other, other_v = np.asarray(pose, np.float64), np.asarray(velocity_mps, np.float64)
    size_ego, size_other = np.asarray(ego_size_m, np.float64), np.asarray(size_m, np.float64)
    found = np.full(other.shape[:-1], np.inf)
    # Constant velocities: only the relative motion matters, and it moves one box while the other stands.
    relative_v = other_v - ego_v
    moving = np.broadcast_to(np.linalg.norm(ego_v, axis=-1) > s.stopped_mps, found.shape)
    for k in range(round(s.horizon_s / s.step_s) + 1):
        t_s = k * s.step_s
        moved = np.concatenate([other[..., :2] + t_s * relative_v, other[..., 2:]], axis=-1)
        hit = boxes_overlap(ego, size_ego, moved, size_other) & np.isinf(found)
        found[hit & (moving | (k == 0))] = t_s
    return found


def post_encroachment_s(
    pose_a: ArrayLike,
    size_a_m: ArrayLike,
    pose_b: ArrayLike,
    size_b_m: ArrayLike,
    dt_s: float,
    *,
    resolution_s: float = 0.02,
    longest_s: float = 5.0,
) -> float:
    """Post-encroachment time (Allen et al. 1978): the least time between one leaving a place and the other reaching it.

    pose (t, 3) x, y, heading of each road user at the same instants, dt_s apart, in one fixed frame; size (2,).
    The least |t_a - t_b| for which the box of a at t_a meets the box of b at t_b, poses taken linear between samples
    and looked at every `resolution_s`, hence too long by up to twice that. 0 for a collision, infinity when nothing is
    closer than `longest_s`.
    """
    a, b = _resample(pose_a, dt_s, resolution_s), _resample(pose_b, dt_s, resolution_s)
    size_a, size_b = np.asarray(size_a_m, np.float64), np.asarray(size_b_m, np.float64)
    if len(a) != len(b):
        raise ValueError(f"both poses must cover the same instants, got {len(a)} and {len(b)} instants")
    first_s = _least_lag_s(np.asarray(pose_a, np.float64), size_a, np.asarray(pose_b, np.float64), size_b, dt_s)
    if first_s > longest_s:
        return float("inf")
    for lag in range(int(first_s / resolution_s), min(len(a), round(longest_s / resolution_s) + 1)):
        a_first = boxes_overlap(a[: len(a) - lag], size_a, b[lag:], size_b)
        b_first = boxes_overlap(a[lag:], size_a, b[: len(b) - lag], size_b)
        if a_first.any() or b_first.any():
            return lag * resolution_s
    return float("inf")


def _least_lag_s(a: Floats, size_a: Floats, b: Floats, size_b: Floats, dt_s: float) -> float:
    """A lower bound of the post-encroachment time, from the circles round the boxes; infinity if these never meet."""
    reach_m = (np.linalg.norm(size_a) + np.linalg.norm(size_b)) / 2
    # Between two samples each may move by one step.
    for path in (a, b):
        reach_m += np.linalg.norm(np.diff(path[:, :2], axis=0), axis=-1).max(initial=0.0)
    i, j = np.nonzero(np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1]) <= reach_m)
    return max(float(np.abs(i - j).min()) - 1.0, 0.0) * dt_s if i.size else float("inf")


def _resample(pose: ArrayLike, dt_s: float, resolution_s: float) -> Floats:
    """Poses (t, 3) every dt_s, linear in between, every resolution_s."""
    p = np.asarray(pose, np.float64)
    known_s = np.arange(len(p)) * dt_s
    wanted_s = np.arange(round(known_s[-1] / resolution_s) + 1) * resolution_s
    columns = (p[:, 0], p[:, 1], np.unwrap(p[:, 2]))
    return np.stack([np.interp(wanted_s, known_s, c) for c in columns], axis=-1)
