"""From the action of simworld/Driving-v0 to CARLA's vehicle control, so that both steer alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

STEER_RATE = 0.5  # change of steer per step, as in simworld/Driving-v0
CRASH_BRAKE = 0.5


def wanted_curvature_1pm(steer: float, speed_mps: float) -> float:
    """Path curvature that a steer in [-1, 1] asks for: the authority falls with the square of speed."""
    return steer * min(0.16, 7.0 / max(speed_mps, 1.0) ** 2)


@dataclass(frozen=True)
class Steering:
    """How a vehicle turns: wheelbase, lock of the front wheels, and CARLA's scale of steer by speed."""

    wheelbase_m: float
    max_angle_rad: float
    curve: tuple[tuple[float, float], ...]  # (km/h, share of the lock that a full steer gives)

    @classmethod
    def of(cls, vehicle: Any, length_m: float) -> Steering:
        """Read a vehicle's physics; asks the server once."""
        physics = vehicle.get_physics_control()
        wheels = list(physics.wheels)
        lock = max((np.deg2rad(w.max_steer_angle) for w in wheels), default=0.0)
        curve = tuple(sorted((float(p.x), float(p.y)) for p in physics.steering_curve))
        wheelbase_m = 0.6 * length_m
        if len(wheels) >= 4:
            front, rear = wheels[0].position, wheels[2].position
            distance_m = float(np.hypot(front.x - rear.x, front.y - rear.y)) / 100.0  # wheel positions are in cm
            wheelbase_m = distance_m if 1.0 < distance_m < length_m else wheelbase_m
        return cls(wheelbase_m, float(lock) or np.deg2rad(70.0), curve or ((0.0, 1.0),))

    def steer_for(self, curvature_1pm: float, speed_mps: float) -> float:
        """CARLA's steer in [-1, 1], positive to the right, for a path curvature that is positive to the left."""
        speeds, shares = zip(*self.curve, strict=True)
        share = max(float(np.interp(speed_mps * 3.6, speeds, shares)), 0.05)
        angle_rad = np.arctan(curvature_1pm * self.wheelbase_m)
        return float(np.clip(-angle_rad / (self.max_angle_rad * share), -1.0, 1.0))


def vehicle_control(carla: Any, steering: Steering, steer: float, pedal: float, speed_mps: float) -> Any:
    """carla.VehicleControl for steer (left positive) and pedal (accelerate positive, brake negative) in [-1, 1]."""
    return carla.VehicleControl(
        throttle=max(pedal, 0.0),
        brake=max(-pedal, 0.0),
        steer=steering.steer_for(wanted_curvature_1pm(steer, max(speed_mps, 0.0)), speed_mps),
    )
