"""Sprites: how the actors that a model is told of look, out of the real picture in which each was last seen.

An actor's pixels are taken from that picture in one go, however long ago it was, since taking them along from picture
to picture wears them out. Who was in none looks as his class does from that side, which is learned (a small picture of
each class from eight sides, in the manner of Monnier et al. 2021, "Unsupervised Layered Image Decomposition into Object
Prototypes"); so is what else a near look shows of those seen from afar, and which part of a box is the actor.

Letters: b batch, n actors, h and w pixels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from simworld.model.actors import present
from simworld.model.sampling import sampled
from simworld.scenario import ACTOR_CLASSES

SIDES, TEXELS = 8, 16  # a picture of so many texels on a side for each side of each class
GAIN = 5.0  # of the learned numbers, which optimisers move slowly
SAME_M, SAME_SIZE_M = 2.0, 0.05  # an actor is known again this near to where it was, and of the same size


class Stage(NamedTuple):
    """Where actors appear in a picture: boxes (b, n, 4) [left, top, right, bottom], which may reach beyond it; depth
    (b, n) in m; nearest (b, h, w), whose box each pixel shows; and taken (b, h, w), whether it shows any."""

    boxes: Tensor
    depth: Tensor
    nearest: Tensor
    taken: Tensor

    def well_seen(self, at_least_px: float = 2.0, share: float = 0.5) -> Tensor:
        """The boxes, NaN for actors that are too small, cut off or hidden to be known by this picture."""
        h, w = self.taken.shape[1:]
        number = torch.arange(self.boxes.shape[1], device=self.boxes.device)[:, None, None]
        uncovered = ((self.nearest[:, None] == number) & self.taken[:, None]).sum((2, 3))
        wide, high = (self.boxes[..., i + 2] - self.boxes[..., i] for i in (0, 1))
        wide_px, high_px = wide * w / 2, high * h / 2
        well = (uncovered >= share * wide_px * high_px) & (wide_px >= at_least_px) & (high_px >= at_least_px)
        return torch.where(well[..., None], self.boxes, torch.nan)


class Look(NamedTuple):
    """What is drawn of actors (b, n, 9): `first` (b, 3, h, w) is a real picture, in which they were seen in the boxes
    (b, n, 4), NaN where not."""

    actors: Tensor
    seen: Tensor
    first: Tensor


class Sprites(nn.Module):
    """Draws actors over a picture."""

    def __init__(self) -> None:
        super().__init__()
        # colours where never seen, what a near look adds, and how much of a texel is the actor
        atlas = torch.zeros(3 + 3 + 1, len(ACTOR_CLASSES) * TEXELS, SIDES * TEXELS)
        atlas[-1] = 2.0 / GAIN
        self.atlas = nn.Parameter(atlas)

    def forward(self, stage: Stage, look: Look, place: tuple[float, float]) -> Tensor:
        """Colours and opacity (b, 4, h, w), the latter 0 beside all boxes; `place` (x, y) in m is the camera's."""
        h, w = stage.taken.shape[1:]
        at = rearrange(stage.nearest, "b h w -> b (h w) 1")
        tile = self._tiles(look.actors, place)
        then, now = ((boxes[..., 2:] - boxes[..., :2]).amin(-1) for boxes in (look.seen, stage.boxes))
        each = torch.cat([stage.boxes, look.seen, tile, (then / now).clamp(max=1.0)[..., None]], dim=-1)
        box, seen, tile, sharp = each.gather(1, at.expand(-1, -1, each.shape[-1])).split([4, 4, 2, 1], dim=-1)
        v, u = torch.meshgrid(*((torch.arange(n, device=at.device) + 0.5) / n * 2 - 1 for n in (h, w)), indexing="ij")
        pixel = torch.stack([u.flatten(), v.flatten()], dim=-1)
        inside = ((pixel - box[..., :2]) / (box[..., 2:] - box[..., :2]).clamp(min=1e-3)).clamp(0, 1)
        known = torch.isfinite(seen[..., :1])
        there = torch.where(known, seen[..., :2] + inside * (seen[..., 2:] - seen[..., :2]), 0.0)
        taken = sampled(look.first, there.unflatten(1, (h, w)))
        half = 0.5 / TEXELS
        on_atlas = (tile + inside.clamp(half, 1 - half)) / torch.tensor([SIDES, len(ACTOR_CLASSES)], device=at.device)
        on_atlas = rearrange(on_atlas * 2 - 1, "b (h w) two -> 1 (b h) w two", h=h)  # all of the batch from one atlas
        atlas = sampled(GAIN * self.atlas.float()[None], on_atlas)
        usual, detail, solid = rearrange(atlas, "1 c (b h) w -> b c h w", h=h).split([3, 3, 1], dim=1)
        known, sharp = (rearrange(x, "b (h w) 1 -> b 1 h w", h=h) for x in (known, sharp))
        colour = torch.where(known, taken + (1 - sharp.nan_to_num(1.0)) * detail, usual)
        return torch.cat([colour.clamp(-1, 1), solid.sigmoid() * stage.taken[:, None]], dim=1)

    @staticmethod
    def _tiles(actors: Tensor, place: tuple[float, float]) -> Tensor:
        """Column and row (b, n, 2) of each actor's picture: by the side that it shows, from behind first, and class."""
        kind, x, y, heading = (torch.nan_to_num(actors[..., i]) for i in range(4))
        turned = heading - torch.atan2(y - place[1], x - place[0])
        side = (turned / (2 * math.pi / SIDES)).round() % SIDES
        return torch.stack([side, kind.clamp(0, len(ACTOR_CLASSES) - 1)], dim=-1)


def known_again(now: Tensor, back: tuple[Tensor, Tensor], before: Tensor) -> Tensor:
    """Which of the actors `before` (b, m, 9) each one of `now` (b, n, 9) is, (b, n), -1 for a new one.

    `back` holds x and y (b, n) of those of now, taken back into the frame and time of before.
    """
    off = torch.hypot(back[0][..., None] - before[:, None, :, 1], back[1][..., None] - before[:, None, :, 2])
    other = (now[..., None, 0] != before[:, None, :, 0]) | (
        (now[..., None, 6] - before[:, None, :, 6]).abs() > SAME_SIZE_M
    )
    off = torch.where(other | ~present(before)[:, None] | ~present(now)[..., None], torch.inf, off)
    least, which = off.min(dim=-1)
    return torch.where(least < SAME_M, which, -1)
