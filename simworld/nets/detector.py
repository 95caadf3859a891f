"""A small convnet that says the same kind of thing of every cell of a picture, from a stack of its frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.nets.convnet import patches_of

CELL, PATCH = 4, 2  # pixels on a side of a cell, and of what is read at once
GAIN = 4.0  # of changes from frame to frame: motion is learned late enough


class Residual(nn.Module):
    """x + two 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(F.relu(self.norm(x)))))


class Detector(nn.Module):
    """`frames` pictures of 3 channels in, `outputs` numbers a cell out; what lies around a cell, up to half a picture,
    is looked at on a map half as fine. The weights are the same for all cells and cameras."""

    def __init__(self, frames: int, *, geometry: int, known: int, outputs: int, width: int) -> None:
        super().__init__()
        numbers, first = 3 * PATCH**2, max(1, width // 2)
        self.newest = nn.Linear(numbers, first)
        self.changes = nn.Linear(numbers * (frames - 1), first, bias=False)
        self.geometry, self.known = nn.Linear(geometry, width), nn.Linear(known, width)
        self.cells = nn.Conv2d(first, width, 3, stride=2, padding=1)
        self.fine = Residual(width)
        self.down = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.coarse = nn.Sequential(Residual(width), Residual(width))
        self.up = nn.Conv2d(width, width, 1)
        self.last = Residual(width)
        self.norm = nn.GroupNorm(1, width)
        self.out = nn.Conv2d(width, outputs, 1)
        with torch.no_grad():
            self.out.weight.mul_(0.1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs

    def forward(self, frames: Tensor, geometry: Tensor, known: Tensor) -> Tensor:
        """uint8 or float32 (b, k, h, w, 3), oldest first, numbers (h / 4, w / 4, g) that tell cells and cameras apart
        and what is known of the whole picture (b, n), to float32 (b, h / 4, w / 4, outputs)."""
        newest, steps = patches_of(frames, PATCH, self.newest.weight)
        assert steps is not None
        x = self.cells(rearrange(F.relu(self.newest(newest) + self.changes(GAIN * steps)), "b h w c -> b c h w"))
        x = x + rearrange(self.geometry(geometry), "h w c -> c h w") + self.known(known)[..., None, None]
        x = self.fine(x)
        around = self.up(self.coarse(self.down(F.relu(x))))
        x = self.last(x + F.interpolate(around, size=x.shape[-2:]))
        return rearrange(self.out(F.relu(self.norm(x))).float(), "b c h w -> b h w c")
