"""How wrongly an env's state is told.

Absolute errors, in units of each number's spread: a heading that is a hundredth of a rad off puts the ego into the next
lane in a few seconds, though headings spread ten times as far, and a squared error would hardly ask for better.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.carrying import CURVATURE, HEADING, LATERAL, SPEED, YAW_RATE

COUNTS = {SPEED: 8.0, YAW_RATE: 8.0, HEADING: 8.0, CURVATURE: 8.0, LATERAL: 8.0, "gap_m": 4.0}
ROUND = 0.05  # below which an error is squared, so that it can settle


class StateError(nn.Module):
    """Of the named numbers: those by which pictures are carried on count as many times as COUNTS says, others once."""

    counts: Tensor

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        counts = torch.tensor([COUNTS.get(name, 1.0) for name in names])
        self.register_buffer("counts", counts / counts.mean(), persistent=False)

    def forward(self, told: Tensor, state: Tensor) -> Tensor:
        """The mean error (...) of standardised numbers (..., s); NaN where the state is not known, which costs
        nothing."""
        known = torch.isfinite(state)
        each = F.smooth_l1_loss(told, torch.where(known, state, 0.0), reduction="none", beta=ROUND)
        return (self.counts * each * known).mean(-1)
