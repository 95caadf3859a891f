"""Sampling: pictures looked up at places between their pixels.

A compiler that takes this apart into single loads gets something several times slower than the library's own kernel,
so that in a compiled step it stays one operation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled(picture: Tensor, at: Tensor, *, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """picture (b, c, h, w) at places (b, k, l, 2) from -1 to 1, as (b, c, k, l)."""
    if torch.compiler.is_compiling():
        whole: Tensor = _whole(picture, at, mode, padding)
        return whole
    return F.grid_sample(picture, at, mode=mode, padding_mode=padding, align_corners=False)


@torch.library.custom_op("simworld::sampled", mutates_args=())
def _whole(picture: Tensor, at: Tensor, mode: str, padding: str) -> Tensor:
    return F.grid_sample(picture, at, mode=mode, padding_mode=padding, align_corners=False)


@_whole.register_fake
def _(picture: Tensor, at: Tensor, mode: str, padding: str) -> Tensor:
    return picture.new_empty(*picture.shape[:2], *at.shape[1:3])
