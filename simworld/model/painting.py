"""Painting: the other actors' boxes as maps over a camera's picture, so that each cell is told what it will show."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.actors import present
from simworld.scenario import ACTOR_CLASSES, BODIES

NEAR_M = 0.5  # corners nearer to the camera, or behind it, are moved to this depth
PART_PX = 4  # the width of the parts in which a token is painted
CHANNELS = len(ACTOR_CLASSES) + 7


def boxes_of(actors: Tensor, mount: Mount, aspect: float) -> tuple[Tensor, Tensor]:
    """Where actors (..., n, 9) appear: boxes (..., n, 4) [left, top, right, bottom] in a picture from -1 to 1, and
    depths (..., n) in m of their nearest corner, NEAR_M at least. Those that do not appear have empty boxes.

    `aspect` is the picture's width over its height.
    """
    there = present(actors)
    corners = corners_of(torch.where(there[..., None], actors.float(), 0.0))
    u, v, deep = on_picture(mount, aspect, *corners, nearest_m=NEAR_M)
    visible = there & (deep.amax(-1) > NEAR_M)
    return torch.where(visible[..., None], around(u, v).clamp(-1, 1), 0.0), deep.clamp(min=NEAR_M).amin(-1)


def around(u: Tensor, v: Tensor) -> Tensor:
    """Boxes (..., 4) [left, top, right, bottom] around points (..., p)."""
    return torch.stack([u.amin(-1), v.amin(-1), u.amax(-1), v.amax(-1)], dim=-1)


def corners_of(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corners x, y, z, each (..., n, 8), of actors (..., n, 9) without NaN; heights are typical of the class."""
    kind, x, y, heading, length, width = (rows[..., i] for i in (0, 1, 2, 3, 6, 7))
    tall = torch.tensor([BODIES[k].height_m for k in ACTOR_CLASSES], device=rows.device)
    height = tall[kind.long().clamp(0, len(tall) - 1)]
    ahead = torch.tensor([1.0, 1.0, -1.0, -1.0] * 2, device=rows.device)
    aside = torch.tensor([1.0, -1.0] * 4, device=rows.device)
    above = torch.tensor([0.0] * 4 + [1.0] * 4, device=rows.device)
    along, across = ahead * length[..., None] / 2, aside * width[..., None] / 2
    cos, sin = torch.cos(heading)[..., None], torch.sin(heading)[..., None]
    return (
        x[..., None] + along * cos - across * sin,
        y[..., None] + along * sin + across * cos,
        above * height[..., None],
    )


def on_picture(
    mount: Mount, aspect: float, x: Tensor, y: Tensor, z: Tensor, *, nearest_m: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Where points in the frame of the actors appear in a picture from -1 to 1, (u, v), and their depth in m; nearer
    ones than `nearest_m` are taken to that depth."""
    right, up, deep = seen_from(mount, x, y, z)
    high = deep.clamp(min=nearest_m) * mount.half_height
    return right / (high * aspect), -up / high, deep


def seen_from(mount: Mount, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points in the frame of the actors as (right, up, depth) in m of a camera."""
    cos, sin = math.cos(mount.heading_rad), math.sin(mount.heading_rad)
    rise, level = math.sin(mount.pitch_rad), math.cos(mount.pitch_rad)
    x, y, z = x - mount.x_m, y - mount.y_m, z - mount.z_m
    forward = x * cos + y * sin
    return x * sin - y * cos, z * level - forward * rise, forward * level + z * rise


def coverage(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Share of every cell of a picture of size (h, w) cells that boxes (..., 4) cover: (..., h, w)."""

    def along(low: Tensor, high: Tensor, n: int) -> Tensor:
        edges = torch.linspace(-1, 1, n + 1, device=boxes.device)
        inside = torch.minimum(high[..., None], edges[1:]) - torch.maximum(low[..., None], edges[:-1])
        return inside.clamp(min=0) * (n / 2)

    columns, rows = along(boxes[..., 0], boxes[..., 2], size[1]), along(boxes[..., 1], boxes[..., 3], size[0])
    return rows[..., :, None] * columns[..., None, :]


def paint(actors: Tensor, mount: Mount, size: tuple[int, int], aspect: float) -> Tensor:
    """Actors (..., n, 9) as maps (..., h, w, CHANNELS): how much of a cell is covered, and by what: class, nearness,
    heading and velocity, nearer actors in front of farther ones."""
    boxes, depth = boxes_of(actors, mount, aspect)
    rows = torch.where(present(actors)[..., None], actors.float(), 0.0)
    number = torch.arange(depth.shape[-1], device=depth.device)
    mine, other = depth[..., :, None], depth[..., None, :]
    nearer = (other < mine) | ((other == mine) & (number < number[:, None]))
    covered = coverage(boxes, size)
    hides = torch.where(nearer[..., None, None], covered[..., None, :, :, :], 0.0)
    seen = covered * (1 - hides).prod(dim=-3)  # what all nearer ones leave; sorting them would take longer
    kind = F.one_hot(rows[..., 0].long().clamp(0, len(ACTOR_CLASSES) - 1), len(ACTOR_CLASSES)).float()
    heading, vx, vy = rows[..., 3], rows[..., 4], rows[..., 5]
    told = [torch.ones_like(depth), 4 / depth, (10 / depth).log(), heading.sin(), heading.cos(), vx / 10, vy / 10]
    described = torch.cat([kind, torch.stack(told, dim=-1)], dim=-1)
    return torch.einsum("...nhw,...nf->...hwf", seen, described)


class Painting(nn.Module):
    """Maps of the actors to an addition to the tokens of a camera, zero where nobody is seen.

    `tokens` (h, w) of the camera; each is painted in `fine` x `fine` parts. It starts at nothing.
    """

    def __init__(self, mount: Mount, tokens: tuple[int, int], *, fine: int, aspect: float, width: int) -> None:
        super().__init__()
        self.mount, self.tokens, self.fine, self.aspect = mount, tokens, fine, aspect
        self.embed = nn.Linear(fine * fine * CHANNELS, width, bias=False)
        nn.init.zeros_(self.embed.weight)

    def forward(self, actors: Tensor) -> Tensor:
        """Actors (b, t, n, 9) to (b, t, h w, width)."""
        h, w = self.tokens
        maps = paint(actors, self.mount, (h * self.fine, w * self.fine), self.aspect)
        parts = rearrange(maps, "b t (h p) (w q) f -> b t (h w) (p q f)", p=self.fine, q=self.fine)
        return self.embed(parts.to(self.embed.weight.dtype))


def paintings(
    mounts: dict[str, Mount], grids: dict[str, tuple[int, int]], *, patch: int, cell_px: int, width: int
) -> nn.ModuleDict:
    """One painting per camera that has a mount; each part of a token is `PART_PX` pixels wide."""
    return nn.ModuleDict(
        {
            camera: Painting(
                mounts[camera],
                (h // patch, w // patch),
                fine=max(1, patch * cell_px // PART_PX),
                aspect=w / h,
                width=width,
            )
            for camera, (h, w) in grids.items()
            if camera in mounts
        }
    )
