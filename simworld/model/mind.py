"""A mind: what comes of it where the ego and the others, as they are guessed to go on, come near each other.

Each guess may be what is hit, and so may what is no guess: a barrier, or somebody whom nobody saw. These are competing
risks (Prentice et al. 1978, "The Analysis of Failure Times in the Presence of Competing Risks"): their hazards add up,
and who is likely to be hit says with what, where and how hard.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.episode import OutcomeSpec
from simworld.model.actors import present
from simworld.model.beside import BesideTokens
from simworld.model.clearance import clearance, closing
from simworld.model.guesses import GuessTokens
from simworld.model.nearness import NUM_NEAR, near_features
from simworld.model.pooling import pooled
from simworld.model.severity import Severity, gathered

WIDTH = 128
SOON_S = 0.1  # how far ahead it is looked whether a guess comes nearer
AGE_S = 3.0  # after which a guess is old
RARE = -6.0  # the logit of a hazard before anything is learned


class NearTokens(GuessTokens):
    """As guesses, and how they come nearer, of guesses whose velocities are those against the ego; with numbers
    (..., NUM_NEAR) of each beside that."""

    num_own = GuessTokens.num_own + 6 + NUM_NEAR
    num_near = NUM_NEAR
    share = 0.6  # of what is told of events; the rest is what the belief says

    def candidates(self, guesses: Tensor, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (..., n, width) of guesses (..., n, 9) beside an ego of this speed and yaw rate (..., 2), and numbers
        (..., n, num_near) of how they stand to it."""
        speed, yaw_rate = ego[..., None, 0], ego[..., None, 1]
        x, y, vx, vy = (guesses[..., i] for i in (1, 2, 4, 5))
        against = torch.stack([vx - speed + yaw_rate * y, vy - yaw_rate * x], dim=-1)
        near = near_features(guesses, against)
        moving = torch.cat([guesses[..., :4], against, guesses[..., 6:]], dim=-1)
        return self.told(torch.cat([self.features(moving), near], dim=-1)), near

    def features(self, actors: Tensor) -> Tensor:
        row = torch.nan_to_num(actors.float())
        place, velocity = row[..., 1:3], row[..., 4:6]
        gap = clearance(row)
        soon = clearance(torch.cat([row[..., :1], place + SOON_S * velocity, row[..., 3:]], dim=-1))
        nearing = closing(place, velocity)
        time_s = (gap / nearing.clamp(min=0.1)).clamp(max=8)
        coming = [(-2 * gap).exp(), (-2 * soon).exp(), 3 * (gap - soon), nearing / 10, time_s / 4, (-time_s).exp()]
        return torch.cat([super().features(actors), torch.stack(coming, dim=-1)], dim=-1)


class Each(NamedTuple):
    """What candidates say, which are the guesses and, last, nobody of them: the logarithm of how likely it is each that
    is met {event: (..., g + 1)}, and what is told {outcome: (..., g + 1, n)}: of events risks, of categories logits,
    of scalars as Severity does."""

    likely: dict[str, Tensor]
    told: dict[str, Tensor]


class Mind(nn.Module):
    """Guesses (..., g, 9), the standardised state (..., s) of the ego a step before, its speed in m/s and yaw rate in
    rad/s (..., 2) then and for how many s it is guessed (...) to {outcome: (..., n)}: logits, and scalars in units of
    their scale.

    `sizes`: how many numbers {name: n} each outcome has. In a room with so many `num_places`, guesses are told by how
    they stand to these, and instead of an ego's motion places (..., 4 p). Until it has learned, nothing of it counts.
    """

    learned: Tensor

    def __init__(
        self, specs: tuple[OutcomeSpec, ...], sizes: dict[str, int], num_state: int, num_places: int = 0
    ) -> None:
        super().__init__()
        self.specs = tuple(s for s in specs if s.kind == "event" or s.given is not None)
        self.sizes = {s.name: sizes[s.name] for s in self.specs if s.kind != "scalar"}
        self.tokens = BesideTokens(WIDTH, num_places) if num_places else NearTokens(WIDTH)
        self.nobody = nn.Parameter(0.1 * torch.randn(WIDTH))
        self.ego = nn.Linear(num_state + 2, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, sum(self.sizes.values()))
        self.severity = Severity(
            tuple(s.name for s in self.specs if s.kind == "scalar"), self.tokens.num_near + num_state
        )
        self.register_buffer("learned", torch.zeros(()))
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            for name, bias in zip(self.sizes, self.out.bias.split(list(self.sizes.values())), strict=True):
                bias.fill_(RARE if name in self.named("event") else 0.0)

    def named(self, kind: str) -> list[str]:
        """The outcomes of one kind."""
        return [s.name for s in self.specs if s.kind == kind]

    def forward(self, guesses: Tensor, state: Tensor, ego: Tensor, age_s: Tensor) -> dict[str, Tensor]:
        each = self.each(guesses, state, ego, age_s)
        return self.joined(each) | self.pooled(each)

    def each(self, guesses: Tensor, state: Tensor, ego: Tensor, age_s: Tensor) -> Each:
        """What every candidate says."""
        there = F.pad(present(guesses), (0, 1), value=True)[..., None]  # the last candidate is nobody of them
        tokens, near = self.tokens.candidates(guesses, ego)
        nobody = self.nobody.expand(*tokens.shape[:-2], 1, -1)
        age = (age_s / AGE_S)[..., None]
        of_ego = self.ego(torch.cat([state, age, (-3 * age).exp()], dim=-1))[..., None, :]
        hidden = self.mix(F.silu(torch.cat([tokens, nobody], dim=-2) + of_ego))
        parts = self.out(F.silu(hidden)).float().split(list(self.sizes.values()), dim=-1)
        told = dict(zip(self.sizes, parts, strict=True))
        risks = {name: F.softplus(told[name]).masked_fill(~there, 0.0) for name in self.named("event")}
        likely = {name: risk.sum(-1).log().log_softmax(dim=-1) for name, risk in risks.items()}
        return Each(likely, told | risks | self.severity(near, state))

    def joined(self, each: Each) -> dict[str, Tensor]:
        """What candidates say of events and categories, as one (..., n)."""
        out = {}
        for spec in self.specs:
            if spec.kind == "event":
                risk = each.told[spec.name].sum(-2).clamp(min=1e-6)
                out[spec.name] = risk + (-torch.expm1(-risk)).log()  # the logit of 1 - exp(-risk)
            elif spec.kind == "category" and spec.given is not None:
                likely = each.likely[spec.given][..., None]
                out[spec.name] = torch.logsumexp(likely + each.told[spec.name].log_softmax(dim=-1), dim=-2)
        return out

    def pooled(self, each: Each) -> dict[str, Tensor]:
        """What they say of scalars, as one (..., quantiles)."""
        return {
            s.name: pooled(gathered(each.told[s.name]), each.likely[s.given].exp())
            for s in self.specs
            if s.kind == "scalar" and s.given is not None
        }
