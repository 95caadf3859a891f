"""Between CARLA's left-handed frame (y right, degrees) and simworld's right-handed one (y left, radians)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pose_of(transform: Any) -> Array:
    """(3,) x m, y m, heading rad of a carla.Transform."""
    place = transform.location
    return np.array([place.x, -place.y, -np.deg2rad(transform.rotation.yaw)])


def vector_of(vector: Any) -> Array:
    """(2,) planar part of a carla.Vector3D or Location."""
    return np.array([vector.x, -vector.y])


def transform_at(carla: Any, pose: Array, z_m: float, pitch_rad: float = 0.0) -> Any:
    """The carla.Transform at pose (3,) and height; positive pitch looks up."""
    return carla.Transform(
        carla.Location(x=float(pose[0]), y=-float(pose[1]), z=float(z_m)),
        carla.Rotation(pitch=float(np.rad2deg(pitch_rad)), yaw=-float(np.rad2deg(pose[2])), roll=0.0),
    )


def to_ego_axes(vector: Array, heading_rad: float) -> Array:
    """World vectors (..., 2) in axes turned by the heading: ahead, left."""
    cos, sin = np.cos(heading_rad), np.sin(heading_rad)
    return np.stack([cos * vector[..., 0] + sin * vector[..., 1], cos * vector[..., 1] - sin * vector[..., 0]], -1)


def to_world_axes(vector: Array, heading_rad: float) -> Array:
    """Inverse of `to_ego_axes`."""
    return to_ego_axes(vector, -heading_rad)


def wrapped(angle_rad: float) -> float:
    """The same angle in [-pi, pi)."""
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)
