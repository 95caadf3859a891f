"""Responsibility-sensitive safety: the distances that RSS demands (Shalev-Shwartz, Shammah and Shashua 2017)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RssParameters:
    """What RSS leaves open. The defaults are those that Apollo and ad-rss-lib's examples use."""

    response_time_s: float = 1.0
    accel_max_mps2: float = 3.5  # worst acceleration during the response time
    brake_min_mps2: float = 4.0  # braking that the rear vehicle is bound to
    brake_max_mps2: float = 8.0  # hardest braking of the vehicle in front
    brake_min_correct_mps2: float = 3.0  # braking of the one on its own side in an oncoming encounter
    lateral_accel_max_mps2: float = 0.2
    lateral_brake_min_mps2: float = 0.8
    lateral_margin_m: float = 0.0  # mu, for small sideways movement

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            may_be_zero = field.name in (
                "response_time_s",
                "accel_max_mps2",
                "lateral_accel_max_mps2",
                "lateral_margin_m",
            )
            if value < 0 or (value == 0 and not may_be_zero):
                raise ValueError(f"RSS parameter {field.name} must be positive, got {value}")


def safe_longitudinal_m(rear_mps: ArrayLike, front_mps: ArrayLike, rss: RssParameters | None = None) -> Floats:
    """Safe gap when both drive the same way: the rear one reacts late, the front one brakes hardest.

    [v_r rho + a rho^2 / 2 + (v_r + rho a)^2 / (2 b_min) - v_f^2 / (2 b_max)]_+; speeds broadcast.
    """
    p = rss or RssParameters()
    rear, front, rho = np.asarray(rear_mps, np.float64), np.asarray(front_mps, np.float64), p.response_time_s
    rear_after = rear + rho * p.accel_max_mps2
    rear_travel = rear * rho + p.accel_max_mps2 * rho**2 / 2 + rear_after**2 / (2 * p.brake_min_mps2)
    return np.maximum(rear_travel - front**2 / (2 * p.brake_max_mps2), 0.0)


def safe_oncoming_m(correct_mps: ArrayLike, other_mps: ArrayLike, rss: RssParameters | None = None) -> Floats:
    """Safe gap between vehicles that drive at each other; `correct` is on its own side of the road.

    Both accelerate for rho, then brake by b_min_correct and b_min: the sum of both stopping distances.
    """
    p = rss or RssParameters()
    correct = _stopping_m(np.abs(correct_mps), p, p.brake_min_correct_mps2)
    return correct + _stopping_m(np.abs(other_mps), p, p.brake_min_mps2)


def safe_lateral_m(right_mps: ArrayLike, left_mps: ArrayLike, rss: RssParameters | None = None) -> Floats:
    """Safe sideways gap between a vehicle on the right and one on the left, speeds positive to the left.

    mu + [d_right - d_left]_+: each moves at its lateral speed, accelerates towards the other for rho and then brakes
    sideways to rest. Stopping distances are signed, so that moving apart is not counted as closing in.
    """
    p = rss or RssParameters()
    rho, a = p.response_time_s, p.lateral_accel_max_mps2
    right, left = np.asarray(right_mps, np.float64), np.asarray(left_mps, np.float64)
    right_after, left_after = right + rho * a, left - rho * a
    right_travel = (right + right_after) / 2 * rho + _signed_stop_m(right_after, p.lateral_brake_min_mps2)
    left_travel = (left + left_after) / 2 * rho + _signed_stop_m(left_after, p.lateral_brake_min_mps2)
    return p.lateral_margin_m + np.maximum(right_travel - left_travel, 0.0)


def _stopping_m(speed_mps: Floats, p: RssParameters, brake_mps2: float) -> Floats:
    after = speed_mps + p.response_time_s * p.accel_max_mps2
    return (speed_mps + after) / 2 * p.response_time_s + after**2 / (2 * brake_mps2)


def _signed_stop_m(speed_mps: Floats, brake_mps2: float) -> Floats:
    return np.sign(speed_mps) * speed_mps**2 / (2 * brake_mps2)


def rss_unsafe(
    ego_velocity_mps: Floats,
    ego_heading_rad: Floats,
    ego_size_m: Floats,
    pose: Floats,
    velocity_mps: Floats,
    size_m: Floats,
    rss: RssParameters | None = None,
) -> NDArray[np.bool_]:
    """Where RSS calls an actor dangerous: both distances below the safe ones; (t, n).

    All in road axes at the ego, x along the road, origin at the ego's centre: ego_velocity_mps (t, 2),
    ego_heading_rad (t,), ego_size_m (2,); pose (t, n, 3), velocity_mps (t, n, 2), size_m (t, n, 2), NaN where absent.
    Actors wholly behind are left to their own duty and never counted.
    """
    ego_x, ego_y = (reach[:, None] for reach in _reach(ego_heading_rad, ego_size_m))
    other_x, other_y = _reach(pose[..., 2], size_m)
    gap_x, gap_y = np.abs(pose[..., 0]) - ego_x - other_x, np.abs(pose[..., 1]) - ego_y - other_y
    ego_v, ego_side_v = np.maximum(ego_velocity_mps[:, None, 0], 0.0), ego_velocity_mps[:, None, 1]
    other_v, other_side_v = velocity_mps[..., 0], velocity_mps[..., 1]
    safe_x = np.where(
        np.cos(pose[..., 2]) < 0,
        safe_oncoming_m(ego_v, other_v, rss),
        safe_longitudinal_m(ego_v, np.maximum(other_v, 0.0), rss),
    )
    safe_y = np.where(
        pose[..., 1] > 0, safe_lateral_m(ego_side_v, other_side_v, rss), safe_lateral_m(other_side_v, ego_side_v, rss)
    )
    behind = (pose[..., 0] < 0) & (gap_x > 0)
    # Alongside the gap is negative, so the lengthwise distance is unsafe and the sideways one decides.
    return np.asarray(~behind & (gap_x < safe_x) & (gap_y < safe_y))


def _reach(heading_rad: Floats, size_m: Floats) -> tuple[Floats, Floats]:
    """How far a turned box reaches from its centre along x and along y."""
    cos, sin = np.abs(np.cos(heading_rad)), np.abs(np.sin(heading_rad))
    half = size_m / 2
    return half[..., 0] * cos + half[..., 1] * sin, half[..., 0] * sin + half[..., 1] * cos
