"""Rays: where the cells of a camera look, by which a network tells cells apart whose weights are the same."""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.episode import Mount
from simworld.nets.detector import CELL


def rays_of(mount: Mount, h: int, w: int) -> Tensor:
    """Right and up against the camera's heading, how far aside, and how wide a cell is, of the cells of a picture of h
    x w pixels, (h / CELL, w / CELL, 4)."""
    half = mount.half_height
    v, u = ((torch.arange(n // CELL) + 0.5) / (n // CELL) * 2 - 1 for n in (h, w))
    up, right = torch.meshgrid(-v * half, u * half * w / h, indexing="ij")
    return torch.stack([right, up, right.abs(), torch.full_like(up, 16 * half / h)], dim=-1)
