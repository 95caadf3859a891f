"""Pooling: the quantiles of a number of which several tell, each with quantiles of its own.

Told by somebody who is hit and by somebody else, a delta-v is either the one or the other, and its median lies at one
of them; the mean of both medians is what nobody expects.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.model.outcomes import QUANTILES

EDGES = [0.0, *((a + b) / 2 for a, b in zip(QUANTILES, QUANTILES[1:], strict=False)), 1.0]
SHARES = tuple(
    b - a for a, b in zip(EDGES, EDGES[1:], strict=False)
)  # of a distribution, that each quantile stands for
SLACK = 1e-4  # of rounding in sums of shares


def pooled(values: Tensor, likely: Tensor) -> Tensor:
    """Quantiles (..., q) of the mixture of n numbers, told as quantiles (..., n, q), each as `likely` (..., n) as that;
    q as QUANTILES."""
    shares, levels = (torch.tensor(x, device=values.device) for x in (SHARES, QUANTILES))
    atoms = values.float().flatten(-2)
    weights = (likely.float()[..., None] * shares).flatten(-2)
    below = (weights[..., None, :] * (atoms[..., None, :] <= atoms[..., :, None])).sum(-1)
    reached = below[..., None, :] >= (levels - SLACK)[:, None] * weights.sum(-1)[..., None, None]
    return torch.where(reached, atoms[..., None, :], torch.inf).amin(-1)
