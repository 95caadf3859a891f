"""Angles in the plane, in rad, counted to the left."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def wrapped(angle: Tensor) -> Tensor:
    """The same angle between -pi and pi."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def turned(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (...) turned to the left by an angle (...)."""
    cos, sin = angle.cos(), angle.sin()
    return cos * x - sin * y, sin * x + cos * y


def turned_rows(vectors: Tensor, angle: Tensor) -> Tensor:
    """Vectors (..., 2) turned to the left by an angle (...)."""
    return torch.stack(turned(vectors[..., 0], vectors[..., 1], angle), dim=-1)
