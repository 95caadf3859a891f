"""The lookout: who else is there, read off the real pictures of all cameras, cell by cell.

A belief is one vector of the whole scene and tells places badly. Every cell of a picture says instead of what it shows
the nearest of: how far away it is, in which direction, how it moves and what it is (in the manner of Redmon et al.
2016, "You Only Look Once"). Cells are many, and the same weights serve them all, so that little data teaches a lot.
Earlier pictures are carried to the newest one by the ego's motion first: what differs then has moved by itself.

Letters: b batch, k frames, n actors, h and w cells of a camera, m cells of all cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.actors import typical_bodies
from simworld.model.angles import turned, wrapped
from simworld.model.carrying import Carrier, Motion
from simworld.model.closeup import CloseUps
from simworld.model.gathering import each_one
from simworld.model.guesses import USUAL
from simworld.model.rays import rays_of
from simworld.model.remembering import remembered
from simworld.model.sampling import sampled
from simworld.model.tracks import Tracks
from simworld.nets.detector import CELL, Detector
from simworld.scenario import ACTOR_CLASSES

NUM_VALUES = 6  # logarithm of the distance, bearing, velocity along the ray and across, cosine and sine of the heading
COUNTS = (3.0, 1.0, 4.0, 4.0, 1.0, 1.0)  # how much the error of each costs
ROUND = (0.05, 0.05, 0.7, 0.7, 0.7, 0.7)  # below which it is squared: what is uncertain is told as its mean
LOG_MID, BEARING_RAD, NEAR_M = 2.5, 0.2, 15.0  # scales; at NEAR_M an actor counts half
# Velocities are told by what shows, m/s for every m of distance and of FROM_M beside it; they count in these units.
ALONG_MPS, ACROSS_MPS, FROM_M = 10.0, 5.0, 5.0
FARTHEST_M = 50.0
SURE = 0.3  # the least probability of somebody for whom a closer look is worth it
APART = (1.5, 0.15, 1.2, 0.03)  # what is one actor: so many m along the ray and per m of distance, and across it


@dataclass(frozen=True)
class LookoutConfig:
    """A look takes frames so many steps `ago` before it, through maps of `width` channels; `looks` are so many steps
    ago, and so are the frames of a close-up. Up to `most` actors are told of, and none is looked out for where that is
    0. A belief is told of those spotted and draws them, unless they are not `drawn`: then they are for foresight
    alone."""

    ago: tuple[int, ...] = (4, 2, 1, 0)
    looks: tuple[int, ...] = (8, 6, 4, 2, 0)
    close: tuple[int, ...] = (8, 4, 2, 1, 0)
    width: int = 64
    most: int = 0
    drawn: bool = True

    def __post_init__(self) -> None:
        if self.width < 1 or self.most < 0 or len(self.ago) < 2:
            raise ValueError(f"a lookout needs a width of at least 1 and two frames, got {self}")
        for steps in (self.ago, self.looks, self.close):
            if not steps or list(steps) != sorted(set(steps), reverse=True) or steps[-1] != 0:
                raise ValueError(f"a lookout sees different frames, the oldest first and the newest last, got {steps}")


class Lookout(nn.Module):
    """Spots actors in frames {camera: uint8 (b, k, h, w, 3)}; every camera's mount is known."""

    bodies: Tensor  # length, width and mass of every class
    counts: Tensor
    round: Tensor
    usual: Tensor  # speed and yaw rate

    def __init__(
        self, config: LookoutConfig, *, cameras: dict[str, tuple[int, int]], mounts: dict[str, Mount], dt_s: float
    ) -> None:
        super().__init__()
        self.config, self.mounts, self.dt_s = config, {c: mounts[c] for c in cameras}, dt_s
        self.carriers = nn.ModuleDict({c: Carrier(mounts[c], size) for c, size in cameras.items()})
        self.tracks = Tracks(config.looks, dt_s)
        self.closeups = CloseUps(self.mounts, config.close, dt_s)
        outputs = 1 + NUM_VALUES + len(ACTOR_CLASSES)
        self.net = Detector(len(config.ago), geometry=4, known=2, outputs=outputs, width=config.width)
        self.register_buffer("counts", torch.tensor(COUNTS), persistent=False)
        self.register_buffer("round", torch.tensor(ROUND), persistent=False)
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)
        self.register_buffer("bodies", typical_bodies(), persistent=False)
        for camera, (h, w) in cameras.items():
            self.register_buffer(f"rays_{camera}", rays_of(mounts[camera], h, w), persistent=False)

    def loss(self, frames: dict[str, Tensor], actors: Tensor, ego: Tensor) -> Tensor:
        """How wrong the cells are, in frames of `config.ago`, of actors (b, n, 9); the ego's speed in m/s and yaw rate
        in rad/s (b, 2) as they are known."""
        return torch.stack([self._loss(c, f, actors, ego) for c, f in frames.items()]).mean()

    def _loss(self, camera: str, frames: Tensor, actors: Tensor, ego: Tensor) -> Tensor:
        rows, there = self.shown(camera, actors)
        mount, bearing = self.mounts[camera], self._bearing(camera)
        x, y, heading = rows[..., 1] - mount.x_m, rows[..., 2] - mount.y_m, rows[..., 3] - mount.heading_rad
        distance = torch.hypot(x, y).clamp(min=0.5)
        there = there & (distance < FARTHEST_M)
        ray = torch.atan2(y, x)
        along, across = turned(rows[..., 4], rows[..., 5], -ray)
        values = torch.stack(
            [
                distance.log() - LOG_MID,
                wrapped(ray - mount.heading_rad - bearing) / BEARING_RAD,
                along / ALONG_MPS,
                across / ACROSS_MPS,
                heading.cos(),
                heading.sin(),
            ],
            dim=-1,
        )
        logit, told, kinds = self._told(camera, frames, ego)
        anybody = F.binary_cross_entropy_with_logits(logit, there.float())
        shown = torch.ones_like(told)
        shown[..., 2:4] = ((distance + FROM_M) / NEAR_M)[..., None]
        off = (told * shown - values).abs()
        each = self.counts * torch.where(off < self.round, off.square() / (2 * self.round), off - self.round / 2)
        wrong = F.cross_entropy(kinds.movedim(-1, 1), rows[..., 0].long(), reduction="none")
        counts = there / (1 + distance / NEAR_M)
        return anybody + ((3 * each.mean(-1) + wrong) * counts).mean()

    def shown(self, camera: str, actors: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest of the actors (b, n, 9) that each cell shows any of (b, h, w, 9), without NaN, and whether there
        is one."""
        carrier = self.carriers[camera]
        assert isinstance(carrier, Carrier)
        stage = carrier.stage(actors)
        depth = stage.depth.clamp(min=0.1).gather(1, stage.nearest.flatten(1)).view(stage.nearest.shape)
        near, at = F.max_pool2d(torch.where(stage.taken, 1 / depth, 0.0)[:, None], CELL, return_indices=True)
        who = stage.nearest.flatten(1).gather(1, at.flatten(1))
        rows = torch.nan_to_num(actors).gather(1, who[..., None].expand(-1, -1, actors.shape[-1]))
        return rows.unflatten(1, near.shape[2:]), near[:, 0] > 0

    @property
    def sees(self) -> tuple[int, ...]:
        """How many steps ago the frames are that `spot` takes, none of them before the first look's newest."""
        config, first = self.config, self.config.looks[0]
        ago = {min(look + steps, first) for look in config.looks for steps in config.ago}
        return tuple(sorted(ago | {min(steps, first) for steps in config.close}, reverse=True))

    @torch.no_grad()
    def spot(self, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """The actors (b, most, 9) that are seen in frames (b, k, h, w, 3) so many steps ago as `sees` says, the surest
        first, NaN where there are no more, by the ego's speed in m/s and yaw rate in rad/s (b, 2)."""
        at = self._at(self.config.close)
        return self.closeups(self.tracked(frames, ego), {c: f[:, at] for c, f in frames.items()}, ego)

    @torch.no_grad()
    def tracked(self, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """The same as all looks together tell it."""
        return self.tracks(self.recalled(frames, ego), ego)

    @torch.no_grad()
    def recalled(self, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """The same as each look tells it (b, looks, most, 9), in the frame that the ego had then; the last one with
        those who were spotted before it alone."""
        return remembered(self.look(frames, ego), self.tracks.spans_s, ego)

    @torch.no_grad()
    def look(self, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """The same as each look alone tells it (b, looks, most, 9), in the frame that the ego had then."""
        num = len(self.config.looks)
        at = self._at([look + steps for look in self.config.looks for steps in self.config.ago])
        each = {c: rearrange(f[:, at], "b (j k) h w c -> (b j) k h w c", j=num) for c, f in frames.items()}
        return self._found(each, ego.repeat_interleave(num, dim=0)).unflatten(0, (-1, num))

    def _at(self, ago: Sequence[int]) -> list[int]:
        """Where frames so many steps ago are among those that `spot` takes."""
        sees = self.sees
        return [sees.index(min(steps, self.config.looks[0])) for steps in ago]

    def _found(self, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """The same of frames of `config.ago`, as the cells alone tell."""
        cells = [self._cells(camera, f, ego) for camera, f in frames.items()]
        left, values, kinds = (torch.cat(parts, dim=1) for parts in zip(*cells, strict=True))
        place = values[..., :2]
        distance, bearing = torch.linalg.vector_norm(place, dim=-1), torch.atan2(place[..., 1], place[..., 0])

        def same(at: Tensor) -> Tensor:
            far, ray = distance.gather(1, at), bearing.gather(1, at)
            along, along_per_m, across, across_per_m = APART
            return ((distance - far).abs() < along + along_per_m * far) & (
                distance * wrapped(bearing - ray).abs() < across + across_per_m * far
            )

        found = []
        for surest, weight in each_one(left, self.config.most, same):
            x, y, vx, vy, cos, sin = (weight * values).sum(1).unbind(-1)
            kind = (weight * kinds).sum(1).argmax(-1)
            row = torch.stack([kind.float(), x, y, torch.atan2(sin, cos), vx, vy], dim=-1)
            found.append(torch.where(surest > SURE, torch.cat([row, self.bodies[kind]], dim=-1), torch.nan))
        return torch.stack(found, dim=1)

    def _cells(self, camera: str, frames: Tensor, ego: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How surely the cells show somebody (b, m), where he is, how he moves and the cosine and sine of his heading,
        all in the ego's frame (b, m, 6), and the probabilities of classes (b, m, 9)."""
        logit, told, kinds = self._told(camera, frames, ego)
        mount = self.mounts[camera]
        distance = (told[..., 0] + LOG_MID).exp().clamp(max=2 * FARTHEST_M)
        ray = self._bearing(camera) + told[..., 1] * BEARING_RAD + mount.heading_rad
        shown = (distance + FROM_M) / NEAR_M
        values = [
            mount.x_m + distance * ray.cos(),
            mount.y_m + distance * ray.sin(),
            *turned(told[..., 2] * shown * ALONG_MPS, told[..., 3] * shown * ACROSS_MPS, ray),
            *turned(told[..., 4], told[..., 5], torch.full_like(ray, mount.heading_rad)),
        ]
        return (
            logit.sigmoid().flatten(1),
            torch.stack(values, dim=-1).flatten(1, 2),
            kinds.softmax(dim=-1).flatten(1, 2),
        )

    def _told(self, camera: str, frames: Tensor, ego: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        told = self.net(self._carried(camera, frames, ego), self.get_buffer(f"rays_{camera}"), ego / self.usual)
        logit, values, kinds = told.split([1, NUM_VALUES, len(ACTOR_CLASSES)], dim=-1)
        return logit[..., 0], values, kinds

    @torch.no_grad()
    def _carried(self, camera: str, frames: Tensor, ego: Tensor) -> Tensor:
        """Frames (b, k, h, w, 3) of `config.ago` as float32, the earlier ones as they would show what stands on the
        ground from where the ego is now."""
        carrier = self.carriers[camera]
        assert isinstance(carrier, Carrier)
        speed, yaw_rate = ego.unbind(1)
        ways = [carrier.ground(Motion.of(speed, yaw_rate, ago * self.dt_s)) for ago in self.config.ago[:-1]]
        pictures = rearrange(frames[:, :-1].float(), "b k h w c -> (b k) c h w")
        places = rearrange(ways, "k b h w two -> (b k) h w two")
        return torch.cat(
            [rearrange(sampled(pictures, places), "(b k) c h w -> b k h w c", b=len(frames)), frames[:, -1:]], dim=1
        )

    def _bearing(self, camera: str) -> Tensor:
        """Direction (h, w) of the cells against the camera's heading, to the left."""
        return -self.get_buffer(f"rays_{camera}")[..., 0].atan()
