"""Touch: what guesses of the others say of the events to come, beside what the belief says.

A belief is told of guesses as well, but the nearest of them is one number among hundreds that it rolls on, and most
of its training is of steps at which nobody comes near. Who comes near also says what would be hit, where and how hard.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.episode import OutcomeSpec
from simworld.model.actors import present
from simworld.model.guesses import GuessTokens

WIDTH = 64


class Touch(nn.Module):
    """Guesses (..., g, 9) and the ego's speed (...) in m/s to additions to what is told of outcomes: to the logits of
    events over the coming steps, and to the numbers of what is given by an event. It starts at nothing.

    `sizes`: how many numbers {name: n} each outcome has.
    """

    def __init__(self, specs: tuple[OutcomeSpec, ...], sizes: dict[str, int]) -> None:
        super().__init__()
        self.events = {s.name: sizes[s.name] for s in specs if s.kind == "event"}
        self.given = {s.name: sizes[s.name] for s in specs if s.given is not None}
        self.tokens = GuessTokens(WIDTH)
        self.out = nn.Linear(WIDTH, sum(self.events.values()), bias=False)
        self.who = nn.Linear(WIDTH, 1)
        self.what = nn.Linear(WIDTH, sum(self.given.values()), bias=False)
        for linear in (self.out, self.what):
            nn.init.zeros_(linear.weight)

    def forward(self, guesses: Tensor, speed_mps: Tensor) -> dict[str, Tensor]:
        """{outcome: (..., n)}: of events the largest of what each guess says, of what is given by one the mean over
        who may be hit; 0 where nobody is."""
        there = present(guesses)[..., None]
        vx = guesses[..., 4:5] - speed_mps[..., None, None]  # what counts is how they come nearer
        beside = torch.cat([guesses[..., :4], vx, guesses[..., 5:]], dim=-1)
        each = F.silu(self.tokens(beside))
        most = torch.where(there.any(-2), each.masked_fill(~there, float("-inf")).amax(-2), 0.0)
        likely = self.who(each).float().masked_fill(~there, float("-inf"))
        likely = torch.cat([likely, torch.zeros_like(likely[..., :1, :])], dim=-2).softmax(dim=-2)[..., :-1, :]
        hit = (likely * each).sum(-2).to(each.dtype)
        events = self.out(most).float().split(list(self.events.values()), dim=-1)
        given = self.what(hit).float().split(list(self.given.values()), dim=-1)
        return dict(zip((*self.events, *self.given), (*events, *given), strict=True))
