"""Sampling: pictures looked up at places between their pixels.

A compiler that takes this apart into single loads gets something several times slower than the library's own kernel,
so that in a compiled step it stays one operation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import Library, register_fake

MODES, PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border")  # in torch's own order


def sampled(picture: Tensor, at: Tensor, *, mode: str = "bilinear", padding: str = "border") -> Tensor:
    """picture (b, c, h, w) at places (b, k, l, 2) from -1 to 1, as (b, c, k, l)."""
    if torch.compiler.is_compiling():
        whole: Tensor = torch.ops.simworld.sampled(picture, at, MODES.index(mode), PADDINGS.index(padding))
        return whole
    return F.grid_sample(picture, at, mode=mode, padding_mode=padding, align_corners=False)


def _whole(picture: Tensor, at: Tensor, mode: int, padding: int) -> Tensor:
    return torch.grid_sampler(picture, at, mode, padding, False)


_library = Library("simworld", "FRAGMENT")  # torch.library.custom_op costs as much as the sampling of a small picture
_library.define("sampled(Tensor picture, Tensor at, int mode, int padding) -> Tensor")
_library.impl("sampled", _whole, "CompositeExplicitAutograd")


@register_fake("simworld::sampled")
def _(picture: Tensor, at: Tensor, mode: int, padding: int) -> Tensor:
    return picture.new_empty(*picture.shape[:2], *at.shape[1:3])
