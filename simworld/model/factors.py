"""Factors: how many times larger a scalar outcome is with each category, such as a delta-v by what is hit.

At equal closing speed a tank takes fifty times as much of a car's speed as a pedestrian does. A network that is asked
for the delta-v alone must learn this anew for every speed, from rare events. Here it tells what they have in common, as
if nobody knew the category; the factor of each is learned from events of which it is known, and told by how likely each
is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.episode import OutcomeSpec

GAIN = 5.0  # of the learned logarithms, which optimisers move slowly


class Factors(nn.Module):
    """One for each category of the outcomes that are given by the same event as a scalar is."""

    def __init__(self, specs: tuple[OutcomeSpec, ...]) -> None:
        super().__init__()
        kinds = {kind: [s for s in specs if s.kind == kind and s.given is not None] for kind in ("scalar", "category")}
        shared = {s.name: [c for c in kinds["category"] if c.given == s.given] for s in kinds["scalar"]}
        self.categories = {name: [c.name for c in those] for name, those in shared.items()}
        self.logs = nn.ParameterDict(
            {
                f"{name}/{c.name}": nn.Parameter(torch.zeros(len(c.categories)))
                for name, those in shared.items()
                for c in those
            }
        )

    def forward(self, scalar: OutcomeSpec, p: dict[str, Tensor]) -> Tensor | float:
        """The factor (..., 1) of a scalar's quantiles, by the probabilities {name: (..., n)} of the categories."""
        factor: Tensor | float = 1.0
        for name in self.categories.get(scalar.name, []):
            factor = factor * (p[name] @ self.logs[f"{scalar.name}/{name}"].float().mul(GAIN).exp())[..., None]
        return factor


def one_of(value: Tensor, logits: Tensor) -> Tensor:
    """Probabilities (..., n) of a category's recorded value (...): that one, or as told by the logits where NaN."""
    known = torch.isfinite(value)
    which = torch.where(known, value, 0.0).long()
    return torch.where(known[..., None], F.one_hot(which, logits.shape[-1]).float(), logits.softmax(dim=-1))
