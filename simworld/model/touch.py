"""Touch: what guesses of the others say of the events to come, beside what the belief says.

A belief is told of guesses as well, but the nearest of them is one number among hundreds that it rolls on, and most
of its training is of steps at which nobody comes near.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import present
from simworld.model.guesses import GuessTokens

WIDTH = 64


class Touch(nn.Module):
    """Guesses (..., g, 9) and the ego's speed (...) in m/s to additions to the logits of these events over the coming
    steps; it starts at nothing."""

    def __init__(self, events: tuple[str, ...], horizon: int) -> None:
        super().__init__()
        self.events, self.horizon = events, horizon
        self.tokens = GuessTokens(WIDTH)
        self.out = nn.Linear(WIDTH, len(events) * horizon, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, guesses: Tensor, speed_mps: Tensor) -> dict[str, Tensor]:
        """{event: (..., horizon)}, the largest of what each guess says; 0 where nobody is."""
        there = present(guesses)[..., None]
        vx = guesses[..., 4:5] - speed_mps[..., None, None]  # what counts is how they come nearer
        beside = torch.cat([guesses[..., :4], vx, guesses[..., 5:]], dim=-1)
        each = F.silu(self.tokens(beside)).masked_fill(~there, float("-inf"))
        most = torch.where(there.any(-2), each.amax(-2), 0.0)
        told = self.out(most).float().unflatten(-1, (len(self.events), self.horizon))
        return dict(zip(self.events, told.unbind(-2), strict=True))
