"""A painter: a small U-Net that makes the next picture out of carried ones, pixel by pixel, for one core.

Letters: b batch, k carried pictures, h and w pixels, p pixels on a side of a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PainterConfig:
    """Cells of `patch` x `patch` pixels; maps of `widths` channels, each half as fine as the one before, and so many
    `depths` of blocks on each (on the way down and again on the way up; the coarsest once)."""

    patch: int = 4
    widths: tuple[int, ...] = (64, 128)
    depths: tuple[int, ...] = (1, 4)
    condition: int = 128

    def __post_init__(self) -> None:
        if self.patch % 2:
            raise ValueError(f"a painter's cells have an even number of pixels on a side, got {self.patch}")
        if len(self.widths) != len(self.depths) or not self.widths or min(*self.widths, *self.depths, self.patch) < 1:
            raise ValueError(f"a painter needs as many depths as widths, each at least 1, got {self}")

    @property
    def multiple(self) -> int:
        """The sides of a picture are multiples of this."""
        return self.patch * 2 ** (len(self.widths) - 1)


class Painted(NamedTuple):
    """picture and fresh (b, 3, h, w), the latter what would be painted with nothing carried; noted (b, n)."""

    picture: Tensor
    fresh: Tensor
    noted: Tensor


class MatrixConv(nn.Linear):
    """A 3x3 convolution whose weights are a matrix (out, 3 3 in), as optimisers of matrices want them; seen as weights
    of a convolution they lie channels last, the layout in which a CPU is fastest."""

    def __init__(self, width: int) -> None:
        super().__init__(9 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.view(self.out_features, 3, 3, -1).permute(0, 3, 1, 2)  # einops costs more than this step
        return F.conv2d(x, kernel, self.bias, padding=1)


class Block(nn.Module):
    """x + two 3x3 convolutions; the condition scales and shifts what they read."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.condition = nn.Linear(condition, 2 * width)
        self.norm = nn.GroupNorm(1, width)
        self.first = MatrixConv(width)
        self.second = MatrixConv(width)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, condition: Tensor, told: Tensor | None = None) -> Tensor:
        """`told` (b, 2 w) spares reading the condition (b, c)."""
        told = self.condition(condition) if told is None else told
        scale, shift = told[..., None, None].to(x.dtype).chunk(2, dim=1)
        return x + self.second(F.silu(self.first(F.silu(torch.addcmul(shift, self.norm(x), 1 + scale)))))


class Painter(nn.Module):
    """Mixes `carried` pictures, adds what has changed, and where nothing fits paints afresh.

    `extra` maps of one value a cell are read beside the pictures; `cameras` {name: (h, w)} have places of their own.
    """

    def __init__(self, config: PainterConfig, *, carried: int, extra: int, cameras: dict[str, tuple[int, int]]) -> None:
        super().__init__()
        self.config, self.carried = config, carried
        p, widths, c = config.patch, config.widths, config.condition
        # the picture before, the one before it, two of the carried ones, and where actors hide the ground
        self.embed = nn.Conv2d((4 * 3 + 1) * p * p + extra, widths[0], 1)
        self.places = nn.ModuleDict(
            {
                camera: nn.ParameterList(
                    [nn.Parameter(0.02 * torch.randn(w, size[0] // (p << i), size[1] // (p << i)))
                     for i, w in enumerate(widths)]
                )
                for camera, size in cameras.items()
            }
        )  # fmt: skip
        # all blocks in the order in which they run, and the level of each: down to the coarsest, and up again
        down = [i for i, n in enumerate(config.depths) for _ in range(n)]
        self.levels = (*down, *(i for i in reversed(down) if i < len(widths) - 1))
        self.blocks = nn.ModuleList(Block(widths[i], c) for i in self.levels)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairs)
        # per pixel: what has changed (3), what is painted afresh (3), how much of that, and a logit of each carried one
        self.head = nn.Conv2d(widths[0], (3 + 3 + 1 + carried) * p * p, 1)
        nn.init.normal_(self.head.weight, std=3e-3)
        with torch.no_grad():  # at first the ground's picture is taken nearly as it is
            per_pixel = torch.tensor([0.0] * 6 + [-6.0, 3.0] + [0.0] * (carried - 1))
            self.head.bias.copy_(per_pixel.repeat_interleave(p * p))  # type: ignore[union-attr]

    @property
    def num_noted(self) -> int:
        return 2 * self.config.widths[-1]

    def forward(
        self, camera: str, carried: Tensor, before: Tensor, hidden: Tensor, extra: Tensor, condition: Tensor
    ) -> Painted:
        """carried (b, k, 3, h, w), of which the last is the picture before, and the first and the last but one are
        looked at too; `before` (b, 3, h, w) the one before that; hidden (b, 1, h, w); extra (b, e, h / p, w / p);
        condition (b, c)."""
        p = self.config.patch
        shown = torch.cat([carried[:, -1], before, carried[:, 0], carried[:, -2], hidden], dim=1)
        cells = torch.cat([F.pixel_unshuffle(shown, p), extra], dim=1).to(self.embed.weight.dtype)
        x = self.embed(cells.contiguous(memory_format=torch.channels_last))
        condition = F.silu(condition).to(x.dtype)
        x, passed, level = x + self._place(camera, 0, x), {}, 0
        for block, at, told in zip(self.blocks, self.levels, self._told(condition), strict=True):
            if at > level:
                passed[level] = x
                x = self.down[level](x)
                x = x + self._place(camera, at, x)
            elif at < level:
                x = passed[at] + F.pixel_shuffle(self.up[at](x), 2)
            x, level = block(x, condition, told), at
            if at == len(self.down):
                coarsest = x
        out, logits = self.head(F.silu(x)).float().split([7 * p * p, self.carried * p * p], dim=1)
        # shares are made before the pixels are spread out: a compiler makes them of numbers that lie side by side
        shares = F.pixel_shuffle(logits.unflatten(1, (self.carried, p * p)).softmax(dim=1).flatten(1, 2), p)
        change, fresh, amount = F.pixel_shuffle(out, p).split([3, 3, 1], dim=1)
        kept = (shares[:, :, None] * carried).sum(1) + change
        amount = amount.sigmoid()
        summary = torch.cat([coarsest.mean((2, 3)), coarsest.amax((2, 3))], dim=1).float()
        return Painted(kept + amount * (fresh - kept), fresh, summary)

    def _told(self, condition: Tensor) -> Sequence[Tensor | None]:
        """What a condition (b, c) tells each block, of all in one product where they are compiled together; elsewhere
        each block reads it by itself, as it may be the only one whose weights are at hand."""
        if not torch.compiler.is_compiling():
            return [None] * len(self.blocks)
        readers: list[Any] = [block.condition for block in self.blocks]
        weight, bias = torch.cat([r.weight for r in readers]), torch.cat([r.bias for r in readers])
        return F.linear(condition, weight, bias).split([r.out_features for r in readers], dim=-1)

    def _place(self, camera: str, level: int, like: Tensor) -> Tensor:
        places = self.places[camera]
        assert isinstance(places, nn.ParameterList)
        return places[level].to(like.dtype)
