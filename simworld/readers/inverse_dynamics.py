"""Inverse dynamics: the steering and pedal that take a car along a recorded track, so that a log becomes actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from simworld.scenario import Track

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CarModel:
    """How steer and pedal in [-1, 1] move a car: the bicycle that Driving's ego is, at its own constants.

    curvature    = steer * min(max_curvature_1pm, lateral_mps2 / v²): full lock when slow, grip when fast
    acceleration = pedal * min(accelerate_mps2, power_wpkg / v) - drag          for pedal >= 0
                 = pedal * brake_mps2 - drag                                    for pedal < 0
    drag         = drag_mps2 + drag_1pm * v²
    """

    max_curvature_1pm: float = 0.16
    lateral_mps2: float = 7.0
    accelerate_mps2: float = 4.0
    power_wpkg: float = 60.0
    brake_mps2: float = 8.0
    drag_mps2: float = 0.05
    drag_1pm: float = 0.00035

    def push_mps2(self, speed_mps: Floats) -> Floats:
        """What the full accelerator gives at a speed, drag not counted."""
        return np.minimum(self.accelerate_mps2, self.power_wpkg / np.maximum(speed_mps, 1.0))

    def lock_1pm(self, speed_mps: Floats) -> Floats:
        """The curvature of full steering at a speed."""
        return np.minimum(self.max_curvature_1pm, self.lateral_mps2 / np.maximum(speed_mps, 1.0) ** 2)

    def drag(self, speed_mps: Floats) -> Floats:
        """Deceleration with no pedal, in m/s²; none at a standstill."""
        return np.where(speed_mps > 0.05, self.drag_mps2 + self.drag_1pm * speed_mps**2, 0.0)


@dataclass(frozen=True)
class InverseConfig:
    """smooth_s is the length of the window in which speed and heading are fitted by parabolas; 0 for exact tracks.

    Below `standing_mps` a heading says nothing about steering, which is then 0.
    """

    smooth_s: float = 0.5
    standing_mps: float = 0.3


def actions_from_track(
    track: Track, dt_s: float, *, car: CarModel | None = None, config: InverseConfig | None = None
) -> Floats:
    """Actions (t, 2) [steer, accelerate/brake] in [-1, 1] that carry sample k to k + 1, each `dt_s` later.

    The track is sampled every `dt_s` over its own time. What the car can't do (sideways motion, more than its
    brakes) is clipped. Raises ValueError for a track shorter than one step or a dt that is not positive.
    """
    car, config = car or CarModel(), config or InverseConfig()
    duration = float(track.t_s[-1] - track.t_s[0])
    if dt_s <= 0 or duration < dt_s * (1 - 1e-6):
        raise ValueError(f"a track of {duration:g} s has no step of dt_s = {dt_s:g} s")
    t_s = track.t_s[0] + dt_s * np.arange(int(duration / dt_s + 1e-6) + 1)
    samples = track.sample(t_s)
    speed = _smoothed(samples[:, 3], dt_s, config.smooth_s)
    heading = _smoothed(samples[:, 2], dt_s, config.smooth_s)
    return actions_from_motion(speed, heading, dt_s, car=car, standing_mps=config.standing_mps)


def actions_from_motion(
    speed_mps: Floats, heading_rad: Floats, dt_s: float, *, car: CarModel, standing_mps: float = 0.3
) -> Floats:
    """Actions (n - 1, 2) from speeds and headings (n,) at successive steps; see `actions_from_track`."""
    middle = (speed_mps[1:] + speed_mps[:-1]) / 2
    acceleration = np.diff(speed_mps) / dt_s
    travelled = np.maximum(np.abs(middle), standing_mps) * dt_s
    curvature = np.where(np.abs(middle) > standing_mps, np.diff(heading_rad) / travelled, 0.0)
    force = acceleration + car.drag(np.maximum(middle, 0.0))
    pedal = np.where(force >= 0, force / car.push_mps2(middle), force / car.brake_mps2)
    # A car that stands needs no pedal to stand.
    pedal = np.where((np.abs(speed_mps[1:]) < 0.05) & (np.abs(speed_mps[:-1]) < 0.05), 0.0, pedal)
    steer = curvature / car.lock_1pm(middle)
    return np.clip(np.stack([steer, pedal], axis=1), -1.0, 1.0)


def drive_model(
    actions: Floats, start: Floats, speed_mps: float, dt_s: float, *, car: CarModel | None = None
) -> Floats:
    """What the model does with actions (t, 2) from pose `start` (3,) and a speed: (t + 1, 4) [x, y, heading, speed].

    The forward direction of `actions_from_track`, to check one against the other.
    """
    car = car or CarModel()
    states = [np.array([*start, speed_mps], dtype=np.float64)]
    for steer, pedal in actions:
        x, y, heading, speed = states[-1]
        at = np.array(max(speed, 0.0))
        gain = car.push_mps2(at) if pedal >= 0 else car.brake_mps2
        after = max(speed + float(pedal * gain - car.drag(at)) * dt_s, 0.0)
        middle = (speed + after) / 2
        turn = float(steer * car.lock_1pm(np.array(middle))) * middle * dt_s
        chord = middle * dt_s * float(np.sinc(turn / (2 * np.pi)))
        along = heading + turn / 2
        states.append(np.array([x + chord * np.cos(along), y + chord * np.sin(along), heading + turn, after]))
    return np.array(states)


def _smoothed(values: Floats, dt_s: float, window_s: float) -> Floats:
    """Values with noise taken out by local parabolas (Savitzky and Golay 1964)."""
    window = 2 * int(window_s / dt_s / 2) + 1
    if window < 5 or len(values) < window:
        return values
    return np.asarray(savgol_filter(values, window, 2))
