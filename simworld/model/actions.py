"""Actions as networks read them: continuous entries in [-1, 1], a discrete choice as a one-hot vector."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.episode import ActionSpec


def encoded_size(spec: ActionSpec) -> int:
    """Entries of one encoded action: len(low) if continuous, n if discrete."""
    return spec.n if spec.kind == "discrete" else spec.size


def encode_actions(actions: Tensor, spec: ActionSpec) -> Tensor:
    """(..., a) as episodes store them -> float32 (..., d), d = encoded_size(spec).

    Continuous entries map [low, high] to [-1, 1]; beyond the bounds they are clamped, as envs do.
    Raises ValueError on a wrong last axis, an index outside 0..n-1, or bounds that are not finite.
    """
    if actions.shape[-1] != spec.size:
        raise ValueError(f"actions must have {spec.size} entries in the last axis, got shape {tuple(actions.shape)}")
    if spec.kind == "discrete":
        index = actions[..., 0].long()
        if index.numel() and (index.min() < 0 or index.max() >= spec.n):
            raise ValueError(f"a discrete action must be an index in 0..{spec.n - 1}, got {actions.unique().tolist()}")
        return F.one_hot(index, spec.n).float()
    if not all(math.isfinite(bound) for bound in spec.low + spec.high):
        raise ValueError(f"continuous actions need finite bounds, got low {spec.low} and high {spec.high}")
    middle, half_range = _range(spec, actions.device)
    return ((actions.float() - middle) / half_range).clamp(-1, 1)


@functools.lru_cache(maxsize=64)
def _range(spec: ActionSpec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Middle and half range of every entry; kept, since a lone stream pays more for making them than for their use."""
    low, high = torch.tensor(spec.low, device=device), torch.tensor(spec.high, device=device)
    # An entry with low == high carries nothing: it becomes 0 instead of dividing by zero.
    return (low + high) / 2, torch.where(high > low, (high - low) / 2, torch.inf)
