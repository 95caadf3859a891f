"""Clearance: how far others are from the ego, from skin to skin."""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.model.angles import turned_rows
from simworld.scenario import BODIES


def clearance(actors: Tensor) -> Tensor:
    """Distance (...) in m between the boxes of actors (..., 9) and that of the ego, a car: 0 where one has a corner
    inside the other."""
    ego = torch.tensor([BODIES["car"].length_m / 2, BODIES["car"].width_m / 2], device=actors.device)
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]], device=actors.device)
    place, half = actors[..., 1:3], actors[..., 6:8] / 2
    heading = actors[..., 3, None]
    theirs = place[..., None, :] + turned_rows(corners * half[..., None, :], heading)
    ours = turned_rows(corners * ego - place[..., None, :], -heading)
    both = torch.cat([_outside(theirs, ego), _outside(ours, half[..., None, :])], dim=-1)
    return both.amin(-1)


def closing(place: Tensor, velocity: Tensor) -> Tensor:
    """How fast (...) in m/s those at a place (..., 2) come nearer, by their velocity (..., 2) against the ego."""
    return -(place * velocity).sum(-1) / torch.linalg.vector_norm(place, dim=-1).clamp(min=0.5)


def _outside(points: Tensor, half: Tensor) -> Tensor:
    """How far (...) points (..., 2) lie outside a box about the origin of half this size."""
    return (points.abs() - half).clamp(min=0).square().sum(-1).sqrt()
