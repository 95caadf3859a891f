"""Beside: those who are seen in a room, by how they stand to whatever the action moves there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import present
from simworld.scenario import ACTOR_CLASSES

SOON_S = 0.3  # how far ahead it is looked whether a place comes nearer
CLOSE, NEAR, FINE = 0.1, 0.4, 10.0  # of the unit of length: scales at which distances are told
PER_PLACE = 10
STANDING = 1e-3  # m/s below which nothing goes anywhere


class BesideTokens(nn.Module):
    """Guesses (..., g, 9) and the places of a room (..., 4 p), as `Places` tells them, to tokens (..., g, width)."""

    share = 0.75  # of what is told of events; the rest is what the belief says

    middle: Tensor  # of all places of recorded actors (2,), in m
    unit: Tensor  # their spread, in m
    body_mean: Tensor  # of logarithms of length, width and mass
    body_spread: Tensor

    def __init__(self, width: int, num_places: int) -> None:
        super().__init__()
        self.num_places = num_places
        self.num_near = len(ACTOR_CLASSES) + 5 + PER_PLACE * num_places
        self.embed = nn.Sequential(nn.Linear(self.num_near, width), nn.SiLU(), nn.Linear(width, width))
        self.register_buffer("middle", torch.zeros(2))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("body_mean", torch.zeros(3))
        self.register_buffer("body_spread", torch.ones(3))

    @torch.no_grad()
    def measure(self, actors: Tensor) -> None:
        """Set the scales from actors (..., 9) of the training data."""
        rows = actors[present(actors)].double()
        if len(rows):
            self.middle.copy_(rows[:, 1:3].mean(0))
            self.unit.copy_(rows[:, 1:3].std(0, correction=0).mean().clamp(min=1e-6))
            sizes = rows[:, 6:].clamp(min=1e-6).log()
            self.body_mean.copy_(sizes.mean(0))
            self.body_spread.copy_(sizes.std(0, correction=0).clamp(min=1e-3))

    def candidates(self, guesses: Tensor, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (..., g, width), and what they are made from (..., g, num_near); that is zero where nobody is."""
        there = present(guesses)[..., None]
        row = torch.where(there, guesses.float(), 0.0)
        kind = F.one_hot(row[..., 0].long().clamp(0, len(ACTOR_CLASSES) - 1), len(ACTOR_CLASSES))
        own = (row[..., 1:3] - self.middle) / self.unit
        body = (row[..., 6:].clamp(min=1e-6).log() - self.body_mean) / self.body_spread
        beside = self._beside(row, ego.unflatten(-1, (self.num_places, 4)))
        near = torch.where(there, torch.cat([kind, own, body, beside], dim=-1), 0.0)
        return self.embed(near.to(next(self.embed.parameters()).dtype)), near

    def _beside(self, row: Tensor, places: Tensor) -> Tensor:
        """How actors (..., g, 9) stand to places (..., p, 4), (..., g, p PER_PLACE)."""
        place, velocity = places[..., None, :, :].split(2, dim=-1)
        to = (row[..., None, 1:3] - place) / self.unit
        velocity = velocity / self.unit
        far, then = (torch.linalg.vector_norm(x, dim=-1) for x in (to, to - SOON_S * velocity))
        skin = row[..., None, 7] / 2 / self.unit
        speed = torch.linalg.vector_norm(velocity, dim=-1).clamp(min=STANDING / self.unit)
        x, y = to.unbind(-1)
        vx, vy = (velocity / speed[..., None]).unbind(-1)
        numbers = [
            *to.unbind(-1),
            *((FINE * to).asinh() / 3).unbind(-1),
            far,
            *(((skin - far) / scale).clamp(max=1).exp() for scale in (CLOSE, NEAR)),
            ((skin - then) / CLOSE).clamp(max=1).exp(),
            3 * (far - then),
            (FINE * (x * vy - y * vx)).asinh() / 3,  # by how much it would be missed
        ]
        return torch.stack(torch.broadcast_tensors(*numbers), dim=-1).flatten(-2)
