"""The one pair of functions between stored pixels (uint8, channels last) and model pixels ([-1, 1], channels first)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def to_model(frames_u8: Tensor) -> Tensor:
    """uint8 (b, ..., h, w, c) in 0..255 -> float32 (b, ..., c, h, w) in [-1, 1]. Raises ValueError on another dtype."""
    if frames_u8.dtype != torch.uint8:
        raise ValueError(f"frames must be uint8 in 0..255, got {frames_u8.dtype}")
    return frames_u8.movedim(-1, -3).float().div_(127.5).sub_(1)


def to_uint8(frames: Tensor) -> Tensor:
    """float (b, ..., c, h, w) in [-1, 1] -> uint8 (b, ..., h, w, c), rounded; what exceeds the range is clamped."""
    # In float32 whatever came in: bfloat16 cannot tell neighbouring grey levels apart.
    levels = frames.float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).movedim(-3, -1).contiguous()


def soften(pictures: Tensor, keep: float) -> Tensor:
    """Pictures (n, c, h, w) taken down to the share `keep` of their resolution and back, of the same shape."""
    h, w = pictures.shape[-2:]
    small = F.interpolate(pictures, size=(max(1, round(keep * h)), max(1, round(keep * w))), mode="area")
    return F.interpolate(small, size=(h, w), mode="bilinear", align_corners=False)


def quantize(frames: Tensor) -> Tensor:
    """Clamp to [-1, 1] and round to the 256 levels of a stored frame, as float32 of the same shape."""
    return frames.float().add(1).mul_(127.5).round_().clamp_(0, 255).div_(127.5).sub_(1)
