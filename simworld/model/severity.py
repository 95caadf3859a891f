"""Severity: how hard an impact is, by who is hit, and how he and the ego stand to each other when they meet.

Whether and when two touch is told by where they are within tens of metres and by seconds to come. How hard it is hangs
on decimetres and on how fast the one is against the other at that moment, and on both masses. A network of its own
learns it, from what is guessed shortly before impacts, of each candidate as if he were the one that is hit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.outcomes import QUANTILES

WIDTH = 128
SMALL = 0.1  # of a scalar's scale: what is smaller counts by its difference, what is larger by how many times it is off
MOST = 8.0  # of what is told: 150 times the scale


class Severity(nn.Module):
    """Numbers (..., g, f) of how near guesses are, and the ego's standardised state (..., s), `num_inputs` in all, to
    {scalar: (..., g + 1, q)}: quantiles of each if he is hit, the last of them if what is hit is no guess; see
    `spread`."""

    def __init__(self, names: tuple[str, ...], num_inputs: int) -> None:
        super().__init__()
        self.names = names
        self.net = nn.Sequential(
            nn.Linear(num_inputs, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, len(names) * len(QUANTILES)),
        )

    def forward(self, near: Tensor, state: Tensor) -> dict[str, Tensor]:
        candidates = F.pad(near, (0, 0, 0, 1))
        ego = state[..., None, :].expand(*candidates.shape[:-1], -1)
        told = self.net(torch.cat([candidates, ego], dim=-1).to(next(self.parameters()).dtype))
        parts = told.float().clamp(-MOST, MOST).unflatten(-1, (-1, len(QUANTILES))).unbind(-2)
        return dict(zip(self.names, parts, strict=True))


def spread(value: Tensor) -> Tensor:
    """Values in units of a scalar's scale, as the network tells them."""
    return (value / SMALL).asinh()


def gathered(told: Tensor) -> Tensor:
    """The reverse of `spread`."""
    return SMALL * told.sinh()
