"""Touch: what comes of it where the ego and the others, as they are guessed to go on, come near each other.

A belief is hundreds of numbers of a whole scene, from which events are soon learned by heart. What a collision is made
of is few numbers: who is where, how fast, and how the ego stands on the road. From these a mind learns it, or several,
each in its own order from its own beginning: what they have in common is there to be known, and where they err they
err apart (Lakshminarayanan et al. 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from simworld.episode import OutcomeSpec
from simworld.model.factors import Factors
from simworld.model.mind import Mind

CATEGORIES = 0.8  # of what is told of categories; the rest is what the belief says


class Touch(Mind):
    """The first of so many `minds`, and the others; what they tell is the mean over those that have learned."""

    def __init__(
        self,
        specs: tuple[OutcomeSpec, ...],
        sizes: dict[str, int],
        num_state: int,
        num_places: int = 0,
        minds: int = 1,
    ) -> None:
        super().__init__(specs, sizes, num_state, num_places)
        self.others = nn.ModuleList(Mind(specs, sizes, num_state, num_places) for _ in range(minds - 1))

    @property
    def minds(self) -> list[Mind]:
        return [self, *(m for m in self.others if isinstance(m, Mind))]

    def forward(self, guesses: Tensor, state: Tensor, ego: Tensor, age_s: Tensor) -> dict[str, Tensor]:
        told = super().forward(guesses, state, ego, age_s)
        if not len(self.others):
            return told
        every = [told, *(other(guesses, state, ego, age_s) for other in self.others)]
        learned = torch.stack([mind.learned for mind in self.minds])
        shares = (learned / learned.sum().clamp(min=1)).unbind()
        return {name: sum(s * x[name] for s, x in zip(shares, every, strict=True)) for name in told}

    def added(
        self, raw: dict[str, Tensor], told: dict[str, Tensor], factors: Factors, share: Tensor | float
    ) -> dict[str, Tensor]:
        """What the heads read off a belief, with what guesses tell: these count for the `share` of events, for
        CATEGORIES of categories, and alone of scalars. Heads tell scalars without the `factors` that categories give
        them."""
        both = dict(raw)
        for kind, counts in (("event", share), ("category", CATEGORIES)):
            both |= {n: torch.lerp(raw[n], told[n], counts * self.learned) for n in self.named(kind)}
        before, now = ({n: x[n].softmax(dim=-1) for n in self.named("category")} for x in (raw, both))
        for spec in (s for s in self.specs if s.kind == "scalar"):
            own = raw[spec.name] * factors(spec, before)
            both[spec.name] = torch.lerp(own, told[spec.name], self.learned) / factors(spec, now)
        return both
