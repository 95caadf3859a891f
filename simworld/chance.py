"""What happens at an imagined step: outcomes drawn from their probabilities with the step's own noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from simworld.episode import EpisodeSpec
from simworld.model.noise import NoiseStream
from simworld.model.outcomes import QUANTILES, OutcomeHeads, OutcomePrediction

_STREAM = 0x5EED  # apart from the noise of the frames


class Happening(NamedTuple):
    """outcomes {name: float32 (b,)}, NaN where they do not apply; terminated bool (b,)."""

    outcomes: dict[str, Tensor]
    terminated: Tensor


def happens(
    prediction: OutcomePrediction, spec: EpisodeSpec, heads: OutcomeHeads, seed: Tensor, step: Tensor
) -> Happening:
    """Draw events; give what they imply: the median of a scalar, the likeliest category, the end of the episode.

    An event ends the episode as often as it did in the data; what p_terminated holds beyond that is drawn apart.
    """
    noise = NoiseStream(seed ^ _STREAM, step)
    outcomes: dict[str, Tensor] = {}
    terminated = torch.zeros_like(seed, dtype=torch.bool)
    p_survives = torch.ones_like(prediction.p_terminated)
    for i, (name, hazard) in enumerate(prediction.hazard.items()):
        p_now, p_ends = hazard[:, 0], heads.p_ends_given_event[i]
        fired = noise.uniform(1)[:, 0] < p_now
        outcomes[name] = fired.float()
        terminated |= fired & (noise.uniform(1)[:, 0] < p_ends)
        p_survives = p_survives * (1 - p_now * p_ends)
    p_other = (1 - (1 - prediction.p_terminated) / p_survives.clamp(min=1e-6)).clamp(min=0)
    terminated |= noise.uniform(1)[:, 0] < p_other
    values = {name: q[:, QUANTILES.index(0.5)] for name, q in prediction.scalars.items()}
    values |= {name: p.argmax(-1).float() for name, p in prediction.categories.items()}
    for outcome in spec.outcomes:
        if outcome.kind != "event":
            value = values[outcome.name]
            known = torch.ones_like(value, dtype=torch.bool) if outcome.given is None else outcomes[outcome.given] > 0
            outcomes[outcome.name] = torch.where(known, value, torch.nan)
    return Happening({o.name: outcomes[o.name] for o in spec.outcomes}, terminated)
