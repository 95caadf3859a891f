"""Reckoning: how an env's own state goes on, by what an action does to it, corrected by what the belief says.

What a belief tells of a speed is as far off as the pictures were blurred, a little differently at every step, while
from one step to the next a speed changes by what the pedal does and by nothing else. So the state before is carried on
by the action, as ships reckon where they are between two sightings, and each of its numbers is drawn towards what the
belief tells as far as that has shown to be worth it (a complementary filter, or a Kalman 1960 filter whose gains are
constant, its dynamics learned).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.precision import exactly

GAIN = -2.0  # the logit of how far the belief draws, before that is learned


class Reckoning(nn.Module):
    """Standardised states (..., s), encoded actions (..., a) and what a belief tells (..., s) of the step after, to the
    states then. Until it has learned they are what the belief tells."""

    learned: Tensor

    def __init__(self, num_state: int, action_size: int, width: int) -> None:
        super().__init__()
        self.told = nn.Linear(num_state + action_size, width)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, num_state)
        self.gain = nn.Parameter(torch.full((num_state,), GAIN))
        self.register_buffer("learned", torch.zeros(()))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, state: Tensor, action: Tensor, told: Tensor) -> Tensor:
        return torch.lerp(told.float(), self.reckoned(state, action, told), self.learned)

    def reckoned(self, state: Tensor, action: Tensor, told: Tensor) -> Tensor:
        """The same whether it has learned or not."""
        with exactly(state.device):
            state, told = state.float(), told.float()
            hidden = F.silu(self.told(torch.cat([state, action.float()], dim=-1)))
            ahead = state + self.out(hidden + F.silu(self.hidden(hidden)))
            return torch.lerp(ahead, told, self.gain.sigmoid())
