"""Carrying: what the last picture becomes when the camera moves on, by geometry alone, before anything is learned.

Asphalt and its marks lie on flat ground, so that a picture shows where they will appear once the ego has moved. Along a
road little changes: moved across it and turned, a picture from the start still shows lines, edges and verges where they
are minutes later, as sharp as on the first day. Neither is the truth of every pixel: the painter chooses among several
such pictures, pixel by pixel, and paints over what none of them shows (Finn et al. 2016, "Unsupervised Learning for
Physical Interaction through Video Prediction", whose transformations are learned).

Letters: b batch, n actors, h and w pixels. Picture coordinates run from -1 to 1, u to the right and v downward.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.actors import present
from simworld.model.angles import turned
from simworld.model.painting import around, corners_of, on_picture, seen_from
from simworld.model.sampling import sampled
from simworld.model.sprites import Stage

SPEED, YAW_RATE = "speed_mps", "yaw_rate_radps"  # the states that say how the ego moves
HEADING, CURVATURE = "heading_error_rad", "curvature_1pm"  # how it is turned against the road, and how that bends
LATERAL, LANE = "lateral_m", "lane_width_m"  # where in its lane it is
FAR_M = 500.0  # the sky, and ground beyond
UPRIGHT_M = 12.0  # how far away the plane is on which upright things by the road are taken to stand
NEAREST_M = 0.3
NUM_CARRIED = 4  # the last one by the ground, by the upright plane; the first across the road; the last as it was


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

    @classmethod
    def across(cls, crossed: Tensor) -> Motion:
        """From one place across a road to another, in whatever time: (b, 2 or more), m to the left and turn in rad."""
        return cls(torch.zeros_like(crossed[:, 0]), crossed[:, 0], crossed[:, 1], 0.0)

    def before(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Where points (b, ...) of the ego's new frame lie in the one it had before."""
        forward, left, turn = (m.view(-1, *[1] * (x.dim() - 1)) for m in self[:3])
        x, y = turned(x, y, turn)
        return x + forward, y + left


class Carrier(nn.Module):
    """Carries the pictures of one camera; without a mount it can only leave them where they were."""

    u: Tensor  # where pixels are in the picture, (w,) and (h,)
    v: Tensor
    points: Tensor  # where each pixel's ray meets ground and upright plane, (4, 2 h w): x, y, z of the ego's, and 1
    camera: Tensor  # (5, 12), see `_camera`

    def __init__(self, mount: Mount | None, size: tuple[int, int]) -> None:
        super().__init__()
        self.mount, self.size = mount, size
        for name, n in (("v", size[0]), ("u", size[1])):
            self.register_buffer(name, (torch.arange(n) + 0.5) / n * 2 - 1, persistent=False)
        if mount is None:
            return
        self.aspect = size[1] / size[0]
        x, y, z, deep = self._rays(mount)
        ground = torch.where(z < -mount.z_m / FAR_M, -mount.z_m / z.clamp(max=-1e-6), torch.tensor(FAR_M))
        reach = torch.stack([ground, UPRIGHT_M / deep.clamp(min=0.1)])
        points = torch.stack(
            [mount.x_m + reach * x, mount.y_m + reach * y, mount.z_m + reach * z, torch.ones_like(reach)]
        )
        self.register_buffer("points", points.flatten(1), persistent=False)
        self.register_buffer("camera", self._camera(mount), persistent=False)
        self.along = tuple(self.camera[0, [0, 4, 8]].tolist())

    def _rays(self, mount: Mount) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Direction (x, y, z) of every pixel in the ego's frame, and how far it goes along the camera's heading."""
        half = mount.half_height
        v, u = torch.meshgrid(self.v, self.u, indexing="ij")
        right, up = u * half * self.aspect, -v * half
        rise, level = math.sin(mount.pitch_rad), math.cos(mount.pitch_rad)
        forward, z = level - up * rise, rise + up * level
        cos, sin = math.cos(mount.heading_rad), math.sin(mount.heading_rad)
        return forward * cos + right * sin, forward * sin - right * cos, z, forward

    def _camera(self, mount: Mount) -> Tensor:
        """The matrix (3, 4) that takes points (x, y, z, 1) of the ego's new frame to the picture before, as (u, v, 1)
        times their depth. It is a sum of parts (5, 12) that go with the turn's cosine and sine, the way forward and to
        the left, and nothing."""
        origin_and_axes = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
        right, up, deep = seen_from(mount, *origin_and_axes)
        half = mount.half_height
        seen = torch.stack([right / (half * self.aspect), -up / half, deep])  # of the origin, and of a metre from it
        at, (along, aside, above) = seen[:, 0], (seen[:, i] - seen[:, 0] for i in (1, 2, 3))
        no = torch.zeros(3)
        parts = ([along, aside, no, no], [aside, -along, no, no], [no, no, no, along], [no, no, no, aside])
        return torch.stack([torch.stack(p, dim=1).flatten() for p in (*parts, [no, no, above, at])])

    def ways(self, motion: Motion | None, across: Motion | None) -> Tensor | None:
        """Where every pixel was seen: in the last picture, by the ground and by the upright plane, and in the first by
        the ground, (3, b, h, w, 2); None where nobody can know."""
        if self.mount is None or motion is None:
            return None
        h, w = self.size
        if across is None:
            v, u = torch.meshgrid(self.v, self.u, indexing="ij")
            first = torch.stack([u, v], dim=-1).expand(1, len(motion.turn_rad), -1, -1, -1)
        else:
            first = self._in_picture(self._along_the_road(self._seen(across, self.points[:, : h * w])))
        return torch.cat([self._in_picture(self._seen(motion, self.points)), first])

    def ground(self, motion: Motion) -> Tensor:
        """Where the ground of every pixel was seen before the motion, (b, h, w, 2); the mount must be known."""
        h, w = self.size
        return self._in_picture(self._seen(motion, self.points[:, : h * w]))[0]

    def _seen(self, motion: Motion, points: Tensor) -> Tensor:
        """Points (4, n) as the camera had them before the motion, (b, 3, n): (u, v, 1) times their depth."""
        turn = motion.turn_rad
        moved = torch.stack([turn.cos(), turn.sin(), motion.forward_m, motion.left_m, torch.ones_like(turn)], dim=1)
        return (moved @ self.camera).view(-1, 3, 4) @ points

    def _along_the_road(self, seen: Tensor) -> Tensor:
        """The same, but what lay beside or below the picture is looked for farther along the road, where it is the
        same road, so far ahead that the picture shows it."""
        right, down, deep = self.along  # what a metre changes
        if deep <= down or deep <= abs(right):
            return seen  # a camera that looks aside or back
        u, v, depth = (seen * seen.new_tensor([1 + 1 / self.size[1], 1 + 1 / self.size[0], 1.0])[:, None]).unbind(1)
        ahead = torch.maximum((u.abs() - depth) / (deep - abs(right)), (v - depth) / (deep - down)).clamp(0, FAR_M)
        return torch.stack([seen[:, i] + ahead * a for i, a in enumerate((right, down, deep))], dim=1)

    def _in_picture(self, seen: Tensor) -> Tensor:
        """(b, 3, k h w) to places in the picture (k, b, h, w, 2)."""
        h, w = self.size
        return rearrange(seen[:, :2] / seen[:, 2:].clamp(min=NEAREST_M), "b two (k h w) -> k b h w two", h=h, w=w)

    def forward(self, last: Tensor, first: Tensor, ways: Tensor | None) -> Tensor:
        """Pictures float32 (b, 3, h, w) to (b, NUM_CARRIED, 3, h, w)."""
        if ways is None:
            return torch.stack([last, last, first, last], dim=1)
        moved = sampled(torch.cat([last, last, first]), ways.flatten(0, 1), mode="bicubic").clamp(-1, 1)
        return torch.stack([*moved.chunk(3), last], dim=1)

    def uncovered(self, covered: Tensor, now: Stage, ways: Tensor | None) -> Tensor:
        """(b, 1, h, w): 1 where the ground's picture shows pixels that were covered (b, h, w) before and are not now,
        -1 where an actor is now."""
        before = covered[:, None].float()
        if ways is not None:
            before = sampled(before, ways[0], padding="zeros")
        return torch.where(now.taken[:, None], -1.0, before)

    def stages(self, now: Tensor, before: Tensor) -> tuple[Stage, Tensor]:
        """Where actors `now` (b, n, 9) appear, and which pixels (b, h, w) lay in the box of any `before` (b, n, 9); the
        camera's mount must be known. Small operations are what this costs, so both are looked up at once."""
        boxes, depth, rows, columns = self._boxes(torch.cat([now, before]))
        b = len(now)
        covered = torch.einsum("bnh,bnw->bhw", rows[b:], columns[b:]) > 0
        return self._stage(boxes[:b], depth[:b], rows[:b], columns[:b]), covered

    def stage(self, actors: Tensor) -> Stage:
        """Where actors (b, n, 9) appear; the camera's mount must be known."""
        return self._stage(*self._boxes(actors))

    @staticmethod
    def _stage(boxes: Tensor, depth: Tensor, rows: Tensor, columns: Tensor) -> Stage:
        n = depth.shape[1]
        number = torch.arange(n, device=depth.device)
        nearer = (depth[:, None] < depth[..., None]) | (
            (depth[:, None] == depth[..., None]) & (number < number[:, None])
        )
        code = (n - nearer.sum(-1)) * n + number  # the nearer the larger; sorting a few numbers is far slower
        most = ((rows * code[..., None])[..., None] * columns[..., None, :]).amax(dim=1)  # as is argmax
        nearest = most.long() % n
        return Stage(boxes, depth, nearest, most > 0)

    def _boxes(self, actors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Boxes (b, n, 4) [left, top, right, bottom] of actors (b, n, 9), which may reach beyond the picture; their
        depths (b, n); and the rows (b, n, h) and columns (b, n, w) of pixels that lie in each, as 1 and 0."""
        assert self.mount is not None
        there = present(actors)
        corners = corners_of(torch.where(there[..., None], actors.float(), 0.0))
        u, v, deep = on_picture(self.mount, self.aspect, *corners, nearest_m=NEAREST_M)
        boxes, depth = around(u, v), deep.amin(-1)
        left, top, right, bottom = (edge[..., None] for edge in boxes.unbind(-1))
        columns = (self.u >= left) & (self.u <= right) & (there & (depth > NEAREST_M))[..., None]
        rows = (self.v >= top) & (self.v <= bottom)
        return boxes, depth, rows.float(), columns.float()
