"""Carrying: what the last picture becomes when the camera moves on, by geometry alone, before anything is learned.

Asphalt and its marks lie on flat ground, so that a picture shows where they will appear once the ego has moved; a
vehicle that the model is told of takes its pixels along. Neither is the truth of every pixel: the painter chooses
among these pictures, pixel by pixel, and paints over what none of them shows (Finn et al. 2016, "Unsupervised
Learning for Physical Interaction through Video Prediction", whose transformations are learned).

Letters: b batch, n actors, h and w pixels. Picture coordinates run from -1 to 1, u to the right and v downward.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.actors import present
from simworld.model.painting import around, corners_of, on_picture

SPEED, YAW_RATE = "speed_mps", "yaw_rate_radps"  # the states that say how the ego moves
FAR_M = 500.0  # the sky, and ground beyond
UPRIGHT_M = 12.0  # how far away the plane is on which upright things by the road are taken to stand
NEAREST_M = 0.3
NUM_CARRIED = 3  # by the ground and the told actors, by the upright plane, and left where they were


class Motion(NamedTuple):
    """How the ego moves in a step of `dt_s`, in the frame it has before: forward and to its left in m, its turn in rad,
    each (b,)."""

    forward_m: Tensor
    left_m: Tensor
    turn_rad: Tensor
    dt_s: float

    @classmethod
    def of(cls, speed_mps: Tensor, yaw_rate_radps: Tensor, dt_s: float) -> Motion:
        """Constant speed and turn over the step: to second order in the turn."""
        forward, turn = speed_mps * dt_s, yaw_rate_radps * dt_s
        return cls(forward, forward * turn / 2, turn, dt_s)

    def before(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where points (b, ...) of the ego's new frame lie in the one it had before."""
        forward, left, turn = (m.view(-1, *[1] * (x.dim() - 1)) for m in self[:3])
        cos, sin = turn.cos(), turn.sin()
        return cos * x - sin * y + forward, sin * x + cos * y + left


class Carried(NamedTuple):
    """pictures (b, NUM_CARRIED, 3, h, w); hidden (b, 1, h, w): 1 where the ground's picture shows what an actor
    covered before and covers no more, -1 where an actor is now."""

    pictures: Tensor
    hidden: Tensor


class Carrier(nn.Module):
    """Carries the pictures of one camera; without a mount it can only leave them where they were."""

    u: Tensor
    v: Tensor
    ground: Tensor  # where each pixel's ray meets the ground, and the upright plane, (3, h, w) in the ego's frame
    upright: Tensor

    def __init__(self, mount: Mount | None, size: tuple[int, int]) -> None:
        super().__init__()
        self.mount, self.size = mount, size
        h, w = size
        v, u = torch.meshgrid((torch.arange(h) + 0.5) / h * 2 - 1, (torch.arange(w) + 0.5) / w * 2 - 1, indexing="ij")
        for name, value in {"u": u, "v": v}.items():
            self.register_buffer(name, value, persistent=False)
        if mount is None:
            return
        self.aspect = w / h
        x, y, z, deep = self._rays(mount)
        ground = torch.where(z < -mount.z_m / FAR_M, -mount.z_m / z.clamp(max=-1e-6), torch.tensor(FAR_M))
        for name, reach in {"ground": ground, "upright": UPRIGHT_M / deep.clamp(min=0.1)}.items():
            at = torch.stack([mount.x_m + reach * x, mount.y_m + reach * y, mount.z_m + reach * z])
            self.register_buffer(name, at, persistent=False)

    def _rays(self, mount: Mount) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Direction (x, y, z) of every pixel in the ego's frame, and how far it goes along the camera's heading."""
        half = math.tan(math.radians(mount.vertical_fov_deg) / 2)
        right, up = self.u * half * self.aspect, -self.v * half
        rise, level = math.sin(mount.pitch_rad), math.cos(mount.pitch_rad)
        forward, z = level - up * rise, rise + up * level
        cos, sin = math.cos(mount.heading_rad), math.sin(mount.heading_rad)
        return forward * cos + right * sin, forward * sin - right * cos, z, forward

    def forward(self, picture: Tensor, motion: Motion | None, actors: Tensor | None = None) -> Carried:
        """picture float32 (b, 3, h, w); actors (b, n, 9) as they are after the step, NaN where absent."""
        b = len(picture)
        if self.mount is None or motion is None:
            return Carried(repeat(picture, "b c h w -> b k c h w", k=NUM_CARRIED), torch.zeros_like(picture[:, :1]))
        ground, hidden = self._from(self.ground, motion), torch.zeros_like(picture[:, :1])
        if actors is not None and actors.shape[1]:
            ground, hidden = self._with_actors(ground, motion, actors)
        grids = torch.cat([ground, self._from(self.upright, motion)])
        moved = F.grid_sample(
            picture.repeat(2, 1, 1, 1), grids, mode="bicubic", padding_mode="border", align_corners=False
        ).clamp(-1, 1)
        return Carried(torch.stack([moved[:b], moved[b:], picture], dim=1), hidden)

    def _from(self, points: Tensor, motion: Motion) -> Tensor:
        """Where in the picture before the points (3, h, w) of the new frame were seen, (b, h, w, 2)."""
        b = len(motion.turn_rad)
        x, y = motion.before(points[0].expand(b, -1, -1), points[1].expand(b, -1, -1))
        return self._project(x, y, points[2])

    def _project(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        assert self.mount is not None
        u, v, _ = on_picture(self.mount, self.aspect, x, y, z, nearest_m=NEAREST_M)
        return torch.stack([u, v], dim=-1)

    def _with_actors(self, ground: Tensor, motion: Motion, actors: Tensor) -> tuple[Tensor, Tensor]:
        """The ground's grid, but inside an actor's new box the place in its old one; and Carried's `hidden`.

        An actor is taken back by its own velocity, so that nothing has to know it again from frame to frame.
        """
        there = present(actors)
        rows = torch.where(there[..., None], actors.float(), 0.0)
        x, y = motion.before(*(rows[..., i] - rows[..., 3 + i] * motion.dt_s for i in (1, 2)))
        earlier = torch.cat(
            [rows[..., :1], x[..., None], y[..., None], rows[..., 3:4] + motion.turn_rad[:, None, None], rows[..., 4:]],
            dim=-1,
        )
        (new, depth), (old, _) = self._boxes(rows), self._boxes(earlier)
        shown = there & (depth > NEAREST_M)
        inside_new, inside_old = self._inside(new, shown), self._inside(old, shown)
        order = depth.argsort(dim=1)  # the nearest first
        place = torch.arange(order.shape[1], 0, -1, device=order.device, dtype=torch.float32)[None, :, None, None]
        first = inside_new.gather(1, order[..., None, None].expand_as(inside_new)) * place
        nearest = (order.shape[1] - first.amax(dim=1)).long().clamp(max=order.shape[1] - 1)  # argmax is far slower
        nearest = order.gather(1, nearest.flatten(1)).view_as(nearest)
        scale = (old[..., 2:] - old[..., :2]) / (new[..., 2:] - new[..., :2]).clamp(min=1e-3)
        shift = old[..., :2] - scale * new[..., :2]
        chosen = rearrange(nearest, "b h w -> b (h w) 1").expand(-1, -1, 2)
        scale, shift = (
            rearrange(t.gather(1, chosen), "b (h w) two -> b h w two", h=self.size[0]) for t in (scale, shift)
        )
        taken = torch.stack([self.u, self.v], dim=-1) * scale + shift
        now = inside_new.any(1)
        left = F.grid_sample(inside_old.any(1, keepdim=True).float(), ground, align_corners=False) * ~now[:, None]
        return torch.where(now[..., None], taken, ground), left - now[:, None].float()

    def _boxes(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (b, n, 4) [left, top, right, bottom], which may reach beyond the picture, and their depths (b, n)."""
        assert self.mount is not None
        u, v, deep = on_picture(self.mount, self.aspect, *corners_of(rows), nearest_m=NEAREST_M)
        return around(u, v), deep.amin(-1)

    def _inside(self, boxes: Tensor, shown: Tensor) -> Tensor:
        """Which pixels lie in which box, (b, n, h, w)."""
        left, top, right, bottom = (edge[..., None, None] for edge in boxes.unbind(-1))
        inside = (self.u >= left) & (self.u <= right) & (self.v >= top) & (self.v <= bottom)
        return inside & shown[..., None, None]
