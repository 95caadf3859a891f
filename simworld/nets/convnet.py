"""A small convnet that reads a stack of consecutive frames into a vector, cheap enough for one core."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class ConvNetConfig:
    """`frames` images of 3 channels in, `outputs` numbers out.

    `width` is the channels of the maps; multiples of 32 run several times faster on a CPU with bfloat16 matrix units.
    Pixels are read in squares of `patch`: squares of 2 tell better how far away small things are, for a fifth more.
    """

    frames: int
    outputs: int
    width: int = 64
    hidden: int = 64
    grid: int = 4  # the last map is pooled to grid x grid cells, whatever the image size, and keeps places apart
    norm: Literal["batch", "group"] = "batch"  # over a batch, or over each sample alone
    patch: Literal[2, 4] = 4

    def __post_init__(self) -> None:
        if min(self.frames, self.outputs, self.hidden, self.grid) < 1 or self.width < 2:
            raise ValueError(f"a convnet needs sizes of at least 1 and a width of at least 2, got {self}")


class ConvNet(nn.Module):
    """Patches of pixels, four convolutions (five where patches are fine), a pooled grid and one hidden layer."""

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        first, numbers = (w if config.patch == 4 else w // 2), 3 * config.patch**2
        self.newest = nn.Linear(numbers, first)
        self.changes = nn.Linear(numbers * (config.frames - 1), first, bias=False) if config.frames > 1 else None
        # Channels in and out, stride; at four pixels a cell, far and small things still show.
        sizes: tuple[tuple[int, int, int], ...] = ((w, w, 1), (w, w, 2), (w, w, 1), (w, w // 2, 2))
        if config.patch == 2:
            sizes = ((first, w, 2), *sizes)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=s, padding=1) for a, b, s in sizes)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(b) if config.norm == "batch" else nn.GroupNorm(1, b) for _, b, _ in sizes
        )
        self.hidden = nn.Linear(w // 2 * config.grid**2, config.hidden)
        self.out = nn.Linear(config.hidden, config.outputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs

    def forward(self, frames_bkhwc: Tensor) -> Tensor:
        """uint8 (b, k, h, w, 3), oldest first -> (b, outputs)."""
        x = rearrange(F.relu(self._patches(frames_bkhwc)), "b h w c -> b c h w")
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        x = F.adaptive_avg_pool2d(x, self.config.grid).flatten(1)
        return self.out(F.relu(self.hidden(x)))

    def _patches(self, frames_bkhwc: Tensor) -> Tensor:
        """(b, k, h, w, 3) -> (b, h/patch, w/patch, channels), from the newest frame and from the change at each step.

        Handing over changes spares the first layer from having to find motion as a small difference of large numbers.
        """
        newest, steps = patches_of(frames_bkhwc, self.config.patch, self.newest.weight)
        x = self.newest(newest)
        return x if self.changes is None else x + self.changes(steps)


def patches_of(frames_bkhwc: Tensor, p: int, weight: Tensor) -> tuple[Tensor, Tensor | None]:
    """uint8 or float32 (b, k, h, w, 3) in squares of p pixels: of the newest frame (b, h/p, w/p, 3 p p), and of the
    changes from frame to frame (b, h/p, w/p, (k - 1) 3 p p), None of a single one; in the precision that `weight`
    meets."""
    h, w = frames_bkhwc.shape[2:4]
    if h % p or w % p:
        frames_bkhwc = F.pad(frames_bkhwc, (0, 0, 0, -w % p, 0, -h % p))
    # For uint8 bfloat16 is exact here: whole numbers up to 256, then divisions by powers of two.
    grey = frames_bkhwc if frames_bkhwc.is_floating_point() else frames_bkhwc.bfloat16()
    newest = rearrange((grey[:, -1] - 128) / 128, "b (h p) (w q) c -> b h w (p q c)", p=p, q=p)
    device = frames_bkhwc.device.type
    low = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if low else weight.dtype
    if grey.shape[1] == 1:
        return newest.to(dtype), None
    # Doubled against the frame: that brings the edges of moving things to the scale of the picture.
    steps = rearrange((grey[:, 1:] - grey[:, :-1]) / 64, "b k (h p) (w q) c -> b h w (k p q c)", p=p, q=p)
    return newest.to(dtype), steps.to(dtype)
