"""Touch: what comes of it where the ego and the others, as they are guessed to go on, come near each other.

A belief is hundreds of numbers of a whole scene, from which events are soon learned by heart. What a collision is made
of is few numbers: who is where, how fast, and how the ego stands on the road. Each guess may be what is hit, and so may
what is no guess: a barrier, or somebody whom nobody saw. These are competing risks (Prentice et al. 1978, "The Analysis
of Failure Times in the Presence of Competing Risks"): their hazards add up, and who is likely to be hit says with what,
where and how hard.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.episode import OutcomeSpec
from simworld.model.actors import present
from simworld.model.clearance import clearance
from simworld.model.factors import Factors
from simworld.model.guesses import GuessTokens

WIDTH = 128
SOON_S = 0.1  # how far ahead it is looked whether a guess comes nearer
SHARE = 0.5  # of what is told of events and scalars is what guesses say, the rest what the belief says
AGE_S = 3.0  # after which a guess is old
RARE = -6.0  # the logit of a hazard before anything is learned


class NearTokens(GuessTokens):
    """As guesses, and how they come nearer, of guesses whose velocities are those against the ego."""

    num_own = GuessTokens.num_own + 6

    def features(self, actors: Tensor) -> Tensor:
        row = torch.nan_to_num(actors.float())
        place, velocity = row[..., 1:3], row[..., 4:6]
        gap = clearance(row)
        soon = clearance(torch.cat([row[..., :1], place + SOON_S * velocity, row[..., 3:]], dim=-1))
        away = torch.linalg.vector_norm(place, dim=-1).clamp(min=0.5)
        closing = -(place * velocity).sum(-1) / away
        time_s = (gap / closing.clamp(min=0.1)).clamp(max=8)
        coming = [(-2 * gap).exp(), (-2 * soon).exp(), 3 * (gap - soon), closing / 10, time_s / 4, (-time_s).exp()]
        return torch.cat([super().features(actors), torch.stack(coming, dim=-1)], dim=-1)


class Touch(nn.Module):
    """Guesses (..., g, 9), the standardised state (..., s) of the ego a step before, its speed in m/s and yaw rate in
    rad/s (..., 2) then and for how many s it is guessed (...) to {outcome: (..., n)}: logits, and scalars in units of
    their scale.

    `sizes`: how many numbers {name: n} each outcome has. Until it has learned, nothing of it counts.
    """

    learned: Tensor

    def __init__(self, specs: tuple[OutcomeSpec, ...], sizes: dict[str, int], num_state: int) -> None:
        super().__init__()
        self.specs = tuple(s for s in specs if s.kind == "event" or s.given is not None)
        self.sizes = {s.name: sizes[s.name] for s in self.specs}
        self.tokens = NearTokens(WIDTH)
        self.nobody = nn.Parameter(0.1 * torch.randn(WIDTH))
        self.ego = nn.Linear(num_state + 2, WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, sum(self.sizes.values()))
        self.register_buffer("learned", torch.zeros(()))
        with torch.no_grad():
            self.out.weight.mul_(0.1)
            for spec, bias in zip(self.specs, self.out.bias.split(list(self.sizes.values())), strict=True):
                bias.fill_(RARE if spec.kind == "event" else 0.0)

    def forward(self, guesses: Tensor, state: Tensor, ego: Tensor, age_s: Tensor) -> dict[str, Tensor]:
        there = F.pad(present(guesses), (0, 1), value=True)[..., None]  # the last candidate is nobody of them
        speed, yaw_rate = ego[..., None, 0], ego[..., None, 1]
        x, y, vx, vy = (guesses[..., i] for i in (1, 2, 4, 5))
        against = torch.stack([vx - speed + yaw_rate * y, vy - yaw_rate * x], dim=-1)
        tokens = self.tokens(torch.cat([guesses[..., :4], against, guesses[..., 6:]], dim=-1))
        nobody = self.nobody.expand(*tokens.shape[:-2], 1, -1)
        age = (age_s / AGE_S)[..., None]
        of_ego = self.ego(torch.cat([state, age, (-3 * age).exp()], dim=-1))[..., None, :]
        each = F.silu(torch.cat([tokens, nobody], dim=-2) + of_ego)
        told = self.out(F.silu(self.mix(each))).float().split(list(self.sizes.values()), dim=-1)
        return self._joined(dict(zip(self.sizes, told, strict=True)), there)

    def _joined(self, each: dict[str, Tensor], there: Tensor) -> dict[str, Tensor]:
        """What candidates (..., g + 1, n) say, those that are `there` (..., g + 1, 1), as one (..., n)."""
        events = [s.name for s in self.specs if s.kind == "event"]
        risks = {name: F.softplus(each[name]).masked_fill(~there, 0.0) for name in events}
        out = {}
        for spec in self.specs:
            if spec.given is None:
                risk = risks[spec.name].sum(-2).clamp(min=1e-6)
                out[spec.name] = risk + (-torch.expm1(-risk)).log()  # the logit of 1 - exp(-risk)
                continue
            likely = risks[spec.given].sum(-1, keepdim=True).log().log_softmax(dim=-2)
            if spec.kind == "category":
                out[spec.name] = torch.logsumexp(likely + each[spec.name].log_softmax(dim=-1), dim=-2)
            else:
                out[spec.name] = (likely.exp() * each[spec.name]).sum(-2)
        return out

    def added(self, raw: dict[str, Tensor], told: dict[str, Tensor], factors: Factors) -> dict[str, Tensor]:
        """What the heads read off a belief, with what guesses tell: of categories only they count, of all else both.
        Heads tell scalars without the `factors` that categories give them."""
        kinds = {kind: [s for s in self.specs if s.kind == kind] for kind in ("event", "category", "scalar")}
        both = dict(raw)
        for kind, share in (("event", SHARE), ("category", 1.0)):
            both |= {s.name: torch.lerp(raw[s.name], told[s.name], share * self.learned) for s in kinds[kind]}
        before, now = ({s.name: x[s.name].softmax(dim=-1) for s in kinds["category"]} for x in (raw, both))
        for spec in kinds["scalar"]:
            own = raw[spec.name] * factors(spec, before)
            both[spec.name] = torch.lerp(own, told[spec.name], SHARE * self.learned) / factors(spec, now)
        return both
