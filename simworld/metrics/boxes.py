"""Oriented boxes in the plane: do two of them overlap, and where a point of a moving frame is over the ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def boxes_overlap(pose_a: ArrayLike, size_a: ArrayLike, pose_b: ArrayLike, size_b: ArrayLike) -> NDArray[np.bool_]:
    """Whether oriented boxes overlap (touching counts), by the separating-axis theorem.

    pose  (..., 3) centre x m, y m, heading rad; size (..., 2) length m along the heading, width m
    The leading axes broadcast together and are the shape of the answer; NaN never overlaps.
    """
    a, b = np.asarray(pose_a, np.float64), np.asarray(pose_b, np.float64)
    half_a, half_b = np.asarray(size_a, np.float64) / 2, np.asarray(size_b, np.float64) / 2
    dx, dy = b[..., 0] - a[..., 0], b[..., 1] - a[..., 1]
    cos_a, sin_a = np.cos(a[..., 2]), np.sin(a[..., 2])
    cos_b, sin_b = np.cos(b[..., 2]), np.sin(b[..., 2])
    # |cosine| and |sine| between the boxes give the reach of one box along an axis of the other.
    turn_cos, turn_sin = np.abs(cos_a * cos_b + sin_a * sin_b), np.abs(cos_a * sin_b - sin_a * cos_b)
    length_a, width_a, length_b, width_b = half_a[..., 0], half_a[..., 1], half_b[..., 0], half_b[..., 1]
    along_a = np.abs(dx * cos_a + dy * sin_a) <= length_a + length_b * turn_cos + width_b * turn_sin
    across_a = np.abs(dy * cos_a - dx * sin_a) <= width_a + length_b * turn_sin + width_b * turn_cos
    along_b = np.abs(dx * cos_b + dy * sin_b) <= length_b + length_a * turn_cos + width_a * turn_sin
    across_b = np.abs(dy * cos_b - dx * sin_b) <= width_b + length_a * turn_sin + width_a * turn_cos
    return np.asarray(along_a & across_a & along_b & across_b)


def to_world_frame(points: Floats, pose: Floats) -> Floats:
    """Points (..., 2) given in the frame of `pose` (..., 3), x ahead and y left, over the ground."""
    cos, sin = np.cos(pose[..., 2]), np.sin(pose[..., 2])
    turned = np.stack([cos * points[..., 0] - sin * points[..., 1], sin * points[..., 0] + cos * points[..., 1]], -1)
    return turned + pose[..., :2]
