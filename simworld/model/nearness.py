"""Nearness: numbers of guesses that tell apart what matters at arm's length, decimetres and one class from another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.model.actors import present
from simworld.model.clearance import clearance, closing
from simworld.scenario import ACTOR_CLASSES

NUM_NEAR = len(ACTOR_CLASSES) + 13


def near_features(guesses: Tensor, against: Tensor) -> Tensor:
    """Features (..., g, NUM_NEAR) of guesses (..., g, 9) and of their velocities (..., g, 2) against the ego, about of
    unit size where two are about to meet; zeros where there is none."""
    there = present(guesses)[..., None]
    row, against = (torch.where(there, x.float(), 0.0) for x in (guesses, against))
    kind = F.one_hot(row[..., 0].long().clamp(0, len(ACTOR_CLASSES) - 1), len(ACTOR_CLASSES))
    x, y, heading, vx, vy, length, width, mass = row[..., 1:].unbind(-1)
    pose = [(x / 3).asinh(), (y / 2).asinh(), heading.sin(), heading.cos(), vx / 8, vy / 4]
    body = [length / 4, width, mass.log1p() / 2 - 3]
    nearing = [against[..., 0] / 10, against[..., 1] / 5, closing(row[..., 1:3], against) / 8, clearance(row).asinh()]
    near = torch.stack([*pose, *body, *nearing], dim=-1)
    return torch.where(there, torch.cat([2.0 * kind, near], dim=-1), 0.0)
