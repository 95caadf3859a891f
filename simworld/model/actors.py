"""Actors as tokens: other road users or objects, with class, box and pose, that a frame can be conditioned on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.noise import NoiseStream
from simworld.scenario import ACTOR_CLASSES, BODIES

NUM_FIELDS = 9  # as ACTOR_FIELDS of simworld.episode
OCTAVES = 4
SAME_M, SAME_PER_M = 1.5, 0.2  # who is spotted is the recorded one that is as near as this


class ActorTokens(nn.Module):
    """(b, t, n, 9) in the ego frame, NaN where absent, to tokens (b, t, n, width)."""

    scale: Tensor
    num_own = 0  # features that a kind of tokens has beside those of all

    def __init__(self, width: int) -> None:
        super().__init__()
        # root mean square of every field in the training data; the class has none
        self.register_buffer("scale", torch.ones(NUM_FIELDS - 1))
        num_features = len(ACTOR_CLASSES) + 9 + 4 * OCTAVES + self.num_own
        self.embed = nn.Sequential(nn.Linear(num_features, width), nn.SiLU(), nn.Linear(width, width))

    @torch.no_grad()
    def measure(self, actors: Tensor) -> None:
        """Set the scales from actors (..., 9) of the training data."""
        rows = actors.flatten(0, -2)
        rows = rows[torch.isfinite(rows[:, 0])]
        if len(rows):
            self.scale.copy_(rows[:, 1:].double().square().mean(0).sqrt().clamp(min=1e-6))

    def forward(self, actors: Tensor) -> Tensor:
        return self.told(self.features(actors))

    def told(self, features: Tensor) -> Tensor:
        """Tokens (..., n, width) of features (..., n, f)."""
        return self.embed(features.to(next(self.embed.parameters()).dtype))

    def features(self, actors: Tensor) -> Tensor:
        """What the network is told of each actor (..., n, f); zeros where there is none."""
        actors = torch.where(present(actors)[..., None], actors.float(), 0.0)
        kind = F.one_hot(actors[..., 0].long().clamp(0, len(ACTOR_CLASSES) - 1), len(ACTOR_CLASSES))
        x, y, vx, vy, length, width, mass = ((actors[..., 1:] / self.scale)[..., i] for i in (0, 1, 3, 4, 5, 6, 7))
        heading, bearing = actors[..., 3], torch.atan2(y, x)
        # a camera sees angles and inverse distances, so both are given finely
        nearness = 1 / (1 + 4 * torch.hypot(x, y))
        fine = [turn(k * angle) for k in (2.0**i for i in range(OCTAVES)) for angle in (bearing, torch.pi * nearness)
                for turn in (torch.sin, torch.cos)]  # fmt: skip
        rest = [x, y, nearness, torch.sin(heading), torch.cos(heading), vx, vy, length * width, (mass + 1e-3).log()]
        return torch.cat([kind.to(x.dtype), torch.stack([*rest, *fine], dim=-1)], dim=-1)


def typical_bodies() -> Tensor:
    """Length and width in m and mass in kg (c, 3) that are typical of every class."""
    bodies = [BODIES[kind] for kind in ACTOR_CLASSES]
    return torch.tensor([[b.length_m, b.width_m, b.mass_kg] for b in bodies])


def present(actors: Tensor) -> Tensor:
    """Which rows (..., n) of actors (..., n, 9) hold one."""
    return torch.isfinite(actors).all(dim=-1)


def mean_and_most(each: Tensor, there: Tensor) -> Tensor:
    """The mean and the largest (..., 2 w) of what each of n actors says (..., n, w), 0 where nobody is `there`
    (..., n, 1)."""
    mean = (each * there).sum(-2) / there.sum(-2).clamp(min=1)
    most = torch.where(there.any(-2), each.masked_fill(~there, float("-inf")).amax(-2), 0.0)
    return torch.cat([mean, most], dim=-1)


def meant(spotted: Tensor, actors: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the recorded actors (b, n, 9) the spotted ones (b, m, 9) are, (b, m, 9) without NaN, and of whom that is
    known (b, m)."""
    least, which = distances(spotted, actors).min(dim=2)
    true = torch.nan_to_num(actors).gather(1, which[..., None].expand(-1, -1, actors.shape[-1]))
    return true, least < _reach(spotted)


def within_reach(spotted: Tensor, actors: Tensor) -> Tensor:
    """Whether each of the spotted (b, m, 9) may be each of the actors (b, n, 9), as far as that hangs on where they
    are, (b, m, n)."""
    return distances(spotted, actors) < _reach(spotted)[..., None]


def distances(spotted: Tensor, actors: Tensor) -> Tensor:
    """How far in m the spotted (b, m, 9) are from actors (b, n, 9), (b, m, n); for ever where either is absent."""
    return torch.linalg.vector_norm(spotted[:, :, None, 1:3] - actors[:, None, :, 1:3], dim=-1).nan_to_num(torch.inf)


def _reach(spotted: Tensor) -> Tensor:
    """How far in m who is meant may be from the spotted (b, m, 9), (b, m)."""
    return SAME_M + SAME_PER_M * torch.linalg.vector_norm(spotted[..., 1:3], dim=-1)


def tell_some(actors: Tensor, drop: float, noise: NoiseStream) -> tuple[Tensor, Tensor]:
    """Actors (b, t, n, 9) without those of a share of the windows, and which windows (b,) are told of theirs."""
    told = noise.uniform(1)[:, 0] >= drop
    return torch.where(told[:, None, None, None], actors, torch.nan), told


def hide_absent(actors: Tensor, num_tokens: int) -> Tensor:
    """Attention bias ((b t), 1, 1, num_tokens + n) that hides the rows without an actor from a frame's tokens."""
    there = present(actors).flatten(0, 1)
    bias = torch.zeros(there.shape, device=actors.device).masked_fill(~there, float("-inf"))
    return F.pad(bias, (num_tokens, 0))[:, None, None]
