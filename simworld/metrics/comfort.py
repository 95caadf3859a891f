"""Comfort of a ride: accelerations, jerks and yaw motion held against nuPlan's bounds.

Source: nuplan-devkit, ego_is_comfortable. As there, accelerations are smoothed by a Savitzky-Golay filter of order 2
over 8 samples, and jerks are derivatives by one of order 2 over 15, at 0.1 s a sample. The even window is kept for
the sake of comparison, though it shifts all but the ends by half a sample and so adds up to 13 % to a steady jerk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import savgol_filter

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ComfortBounds:
    """nuPlan's bounds; all but the longitudinal acceleration hold for the absolute value."""

    lon_accel_min_mps2: float = -4.05
    lon_accel_max_mps2: float = 2.40
    lat_accel_mps2: float = 4.89
    jerk_mps3: float = 8.37
    lon_jerk_mps3: float = 4.13
    yaw_rate_radps: float = 0.95
    yaw_accel_radps2: float = 1.93


@dataclass(frozen=True)
class Comfort:
    """The extreme of every quantity and whether all stayed within bounds; `broken` names those that did not."""

    comfortable: bool
    broken: tuple[str, ...]
    lon_accel_min_mps2: float
    lon_accel_max_mps2: float
    lat_accel_mps2: float
    jerk_mps3: float
    lon_jerk_mps3: float
    yaw_rate_radps: float
    yaw_accel_radps2: float


MIN_SAMPLES = 4  # an order 3 derivative filter needs as many


def comfort(
    speed_mps: ArrayLike, yaw_rate_radps: ArrayLike, dt_s: float, bounds: ComfortBounds | None = None
) -> Comfort:
    """Judge a ride by speed (t,) and yaw rate (t,) of the ego; lateral acceleration is speed times yaw rate.

    ValueError below MIN_SAMPLES samples, where no filter fits.
    """
    v, yaw_rate = np.asarray(speed_mps, np.float64), np.asarray(yaw_rate_radps, np.float64)
    if v.shape != yaw_rate.shape or v.ndim != 1 or len(v) < MIN_SAMPLES:
        raise ValueError(f"comfort needs speed and yaw rate of one length from {MIN_SAMPLES} up, got {v.shape}")
    b = bounds or ComfortBounds()
    lon, lat = _smooth(np.gradient(v, dt_s, edge_order=2)), _smooth(v * yaw_rate)
    magnitude = _smooth(np.hypot(np.gradient(v, dt_s, edge_order=2), v * yaw_rate))
    extremes = {
        "lon_accel_min_mps2": float(lon.min()),
        "lon_accel_max_mps2": float(lon.max()),
        "lat_accel_mps2": _largest(lat),
        "jerk_mps3": _largest(_derivative(magnitude, dt_s, window=15, order=2)),
        "lon_jerk_mps3": _largest(_derivative(lon, dt_s, window=15, order=2)),
        "yaw_rate_radps": _largest(yaw_rate),
        "yaw_accel_radps2": _largest(_derivative(yaw_rate, dt_s, window=5, order=3)),
    }
    broken = tuple(
        name
        for name, value in extremes.items()
        if (value < b.lon_accel_min_mps2 if name == "lon_accel_min_mps2" else value > getattr(b, name))
    )
    return Comfort(comfortable=not broken, broken=broken, **extremes)


def _smooth(x: Floats) -> Floats:
    return np.asarray(savgol_filter(x, min(8, len(x)), 2), np.float64)


def _derivative(x: Floats, dt_s: float, window: int, order: int) -> Floats:
    return np.asarray(savgol_filter(x, min(window, len(x)), order, deriv=1, delta=dt_s), np.float64)


def _largest(x: Floats) -> float:
    return float(np.abs(x).max())
