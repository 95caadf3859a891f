"""Precision: where numbers must not be rounded as products of matrices may be."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def exactly(device: torch.device) -> AbstractContextManager[object]:
    """No autocast: what is carried on for hundreds of steps, or is a place in metres, keeps its precision."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()
