"""Close-ups: everybody who was spotted is looked at once more, in all frames of the last second at once.

Cells tell how far away somebody is, and tracks how that changed, but a change of place shows in pictures long before
numbers tell it. So a board is put up where he was spotted, upright and across the line of sight, which goes as fast as
he is thought to go, and what every frame shows of it is laid side by side: whoever moves as he was told to stays where
he is on the board, and who does not drifts or grows (regions of interest, as in Girshick 2015, "Fast R-CNN", but of
several frames, and in the world instead of the picture). As boards are put up somewhat wrong in any case, several are,
each wrong in another way, and read as they are and in a mirror: what they tell is wrong in as many ways, and their mean
less so (test-time augmentation, as in Krizhevsky et al. 2012, "ImageNet Classification"). And who was thought to go
far too slowly is soon off his board, so there are two looks, the second by what the first one told (iterative
refinement, as in Teed and Deng 2020, "RAFT"). Whether anybody is there at all shows best of all this closely, so that
many may be spotted whom a glance alone would not be believed.

Letters: b batch, k frames, n actors, m those of all films who are there, p points of a board, h and w pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.actors import present, typical_bodies
from simworld.model.angles import turned, turned_rows
from simworld.model.carrying import NEAREST_M, Motion
from simworld.model.guesses import USUAL
from simworld.model.painting import on_picture
from simworld.model.pixels import to_model
from simworld.model.precision import exactly
from simworld.model.sampling import sampled
from simworld.nets.closeup import CloseUpNet
from simworld.scenario import ACTOR_CLASSES

BOARD = (16, 32)  # pixels
PIXEL_M, PIXEL_PER_M = 0.25, 0.025  # their size: at least so much, and so much for every m of distance
HIGH_M = 0.8  # the middle of a board above the ground
BESIDE = 9.0  # where no picture has anything
NUM_NOTES = len(ACTOR_CLASSES) + 12
# Velocity and place along the ray and across, cosine and sine of the heading; class; whether anybody is there.
NUM_TOLD = 7 + len(ACTOR_CLASSES)
FASTER, FARTHER = 8.0, 4.0  # pixels a second, and pixels, by which velocities and places are told
SURE, THERE = 4.0, 2.0  # the logits of the class that was told, and of somebody being there, until it learns
LEAST = 0.5  # the least probability of somebody that is believed
LIKE_MPS = 10.0
# By how much boards are put up elsewhere, in pixels along x and y, and go faster, in pixels a second: 0 in the mean.
SHAKES = ((0, 0, 0, 0), (0.7, 0.7, 1, -1), (-0.7, 0.7, -1, 1), (0.7, -0.7, -1, -1), (-0.7, -0.7, 1, 1))
BOARDS_UP = 1, 5  # of everybody, in one look after the other: the second is put up by what the first one told
ASIDE = (1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0, 1.0, 1.0)  # what a mirror turns of an actor
UNIT = 4.0  # errors come in units of so many pixels, and pixels a second
ROUND = (0.1, 0.05, 0.3)  # errors of velocity, place and heading below which they are squared
COUNTS = (2.0, 2.0, 0.3, 0.3)  # how much those cost, and the class
FALSE = 1.0  # how much it costs that nobody is there, or somebody is
NEAR_M = 15.0  # where an actor counts half


class CloseUp(NamedTuple):
    """Those who are spotted (m, 9), how the ego moves (m, 2), and what frames show of their boards: pictures
    (m, k, 3, h, w) from -1 to 1, and how much of a pixel they show (m, k, 1, h, w)."""

    rows: Tensor
    ego: Tensor
    pictures: Tensor
    shown: Tensor

    def mirrored(self) -> CloseUp:
        """As a mirror shows them."""
        rows = self.rows * self.rows.new_tensor(ASIDE)
        ego = self.ego * self.ego.new_tensor([1.0, -1.0])
        return CloseUp(rows, ego, self.pictures.flip(-1), self.shown.flip(-1))


class Better(NamedTuple):
    """Places and velocities (m, 2), cosine and sine of headings (m, 2), logits of classes (m, c), and of anybody being
    there (m,)."""

    place: Tensor
    velocity: Tensor
    heading: Tensor
    kinds: Tensor
    there: Tensor

    def mirrored(self) -> Better:
        """As a mirror shows them."""
        aside = self.place.new_tensor([1.0, -1.0])
        return Better(self.place * aside, self.velocity * aside, self.heading * aside, self.kinds, self.there)


class CloseUps(nn.Module):
    """Spotted actors and frames of so many steps `ago`, the last now, to actors better known; until it learns, as they
    are. Every camera's mount is known."""

    usual: Tensor
    bodies: Tensor  # length, width and mass of every class
    points: Tensor  # of a board to the right and up, in pixels, (2, p)
    shakes: Tensor  # by which actors are put up elsewhere, in pixels, (s, 9)

    def __init__(self, mounts: dict[str, Mount], ago: tuple[int, ...], dt_s: float) -> None:
        super().__init__()
        self.mounts, self.spans_s = mounts, tuple(steps * dt_s for steps in ago)
        self.net = CloseUpNet(len(ago), BOARD, notes=NUM_NOTES, outputs=NUM_TOLD)
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)
        self.register_buffer("bodies", typical_bodies(), persistent=False)
        shakes = torch.tensor([[0, x, y, 0, vx, vy, 0, 0, 0] for x, y, vx, vy in SHAKES])
        self.register_buffer("shakes", shakes, persistent=False)
        v, u = (torch.arange(size) + 0.5 - size / 2 for size in BOARD)
        up, right = torch.meshgrid(-v, u, indexing="ij")
        self.register_buffer("points", torch.stack([right.flatten(), up.flatten()]), persistent=False)

    def forward(self, spotted: Tensor, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """spotted (b, n, 9), NaN where nobody is, frames {camera: uint8 (b, k, h, w, 3)} and the ego's speed in m/s and
        yaw rate in rad/s (b, 2), to (b, n, 9), of whom those are left who are believed to be there."""
        sure = torch.ones_like(spotted[..., 0])
        for num in BOARDS_UP:
            spotted, sure = self.look(spotted, frames, ego, num)
        return spotted.masked_fill((sure < LEAST)[..., None], torch.nan)

    def look(self, spotted: Tensor, frames: dict[str, Tensor], ego: Tensor, num: int) -> tuple[Tensor, Tensor]:
        """All of them by one look at `num` boards of everybody, and how surely each is there (b, n)."""
        told = self._mean([self.taken(view, frames, ego) for view in self._views(spotted, num)])
        kind = told.kinds.argmax(-1)
        heading = torch.atan2(told.heading[:, 1], told.heading[:, 0])
        better = torch.full_like(spotted, torch.nan)
        there = present(spotted)
        better[there] = torch.cat(
            [kind[:, None].float(), told.place, heading[:, None], told.velocity, self.bodies[kind]], dim=-1
        )
        sure = torch.zeros_like(spotted[..., 0])
        sure[there] = told.there.sigmoid().to(sure.dtype)
        return better, sure

    def loss(self, seen: CloseUp, true: Tensor, known: Tensor) -> Tensor:
        """How far off the truth (m, 9) they are, of those of whom it is `known` (m,), and that nobody is told to be
        there where it is not."""
        told, unit = self.told(seen), UNIT * pixel_m(seen.rows)[:, None]
        heading = torch.stack([true[:, 3].cos(), true[:, 3].sin()], dim=-1)
        off = [(told.velocity - true[:, 4:6]) / unit, (told.place - true[:, 1:3]) / unit, told.heading - heading]
        parts = [
            F.smooth_l1_loss(x, torch.zeros_like(x), beta=below, reduction="none").sum(-1)
            for x, below in zip(off, ROUND, strict=True)
        ]
        parts.append(F.cross_entropy(told.kinds, true[:, 0].long(), reduction="none"))
        each = torch.stack([count * part for count, part in zip(COUNTS, parts, strict=True)]).sum(0)
        counts = known / (1 + torch.linalg.vector_norm(true[:, 1:3], dim=-1) / NEAR_M)
        off_the_truth = (each * counts).sum() / counts.sum().clamp(min=1e-6)
        near = 1 / (1 + torch.linalg.vector_norm(seen.rows[:, 1:3], dim=-1) / NEAR_M)
        wrong = F.binary_cross_entropy_with_logits(told.there, known.float(), reduction="none")
        return off_the_truth + FALSE * (wrong * near).sum() / near.sum().clamp(min=1e-6)

    @torch.no_grad()
    def taken(self, spotted: Tensor, frames: dict[str, Tensor], ego: Tensor) -> CloseUp:
        """The close-ups of all who are there."""
        there, rows = present(spotted), torch.nan_to_num(spotted)
        with exactly(ego.device):
            pictures = self._pictures(rows, frames, ego.float())[there]
        moving = ego[:, None].expand(-1, spotted.shape[1], -1)[there]
        shown = pictures[:, :, 3:]
        return CloseUp(rows[there], moving, pictures[:, :, :3] / shown.clamp(min=1.0), shown.clamp(max=1.0))

    def told(self, seen: CloseUp) -> Better:
        """What they are, by their close-ups."""
        rows, ray, pixel = seen.rows, _ray(seen.rows), pixel_m(seen.rows)[:, None]
        out = self.net(seen.pictures, seen.shown, self._notes(seen))
        faster, farther, turn, kinds, there = out.split([2, 2, 2, len(ACTOR_CLASSES), 1], dim=-1)
        heading = torch.stack([rows[:, 3].cos(), rows[:, 3].sin()], dim=-1)
        return Better(
            rows[:, 1:3] + FARTHER * pixel * turned_rows(farther, ray),
            rows[:, 4:6] + FASTER * pixel * turned_rows(faster, ray),
            heading + turned_rows(turn, ray),
            SURE * F.one_hot(rows[:, 0].long(), len(ACTOR_CLASSES)) + kinds,
            THERE + there[:, 0],
        )

    def _views(self, spotted: Tensor, num: int) -> list[Tensor]:
        """Spotted actors (b, n, 9) a little elsewhere, and a little faster or slower, in `num` ways."""
        pixel = pixel_m(spotted)[..., None]
        return [spotted + pixel * shake for shake in self.shakes[:num]]

    def _mean(self, views: list[CloseUp]) -> Better:
        """What all close-ups of the same actors tell, as they are and in a mirror."""
        told = [self.told(seen) for seen in views] + [self.told(seen.mirrored()).mirrored() for seen in views]
        return Better(*(torch.stack(each).mean(0) for each in zip(*told, strict=True)))

    def _notes(self, seen: CloseUp) -> Tensor:
        """What is known of them beside the pictures (m, NUM_NOTES)."""
        rows, ray = seen.rows, _ray(seen.rows)
        far, pixel, turn = torch.linalg.vector_norm(rows[:, 1:3], dim=-1), pixel_m(rows), rows[:, 3] - ray
        numbers = [far.log1p() / 3, (-far / 10).exp(), ray.cos(), ray.sin(), turn.cos(), turn.sin(), pixel, pixel.log()]
        numbers += [v / LIKE_MPS for v in turned(rows[:, 4], rows[:, 5], -ray)]
        kind = F.one_hot(rows[:, 0].long(), len(ACTOR_CLASSES))
        return torch.cat([kind, torch.stack(numbers, dim=-1), seen.ego / self.usual], dim=-1)

    def _pictures(self, rows: Tensor, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """What all cameras show of the boards of rows (b, n, 9) without NaN, (b, n, k, 4, h, w): colours, and how many
        of them show it; where several do, the sum."""
        points = self._boards(rows, ego)
        seen = torch.zeros((), device=rows.device)
        for camera, film in frames.items():
            h, w = film.shape[2:4]
            u, v, deep = on_picture(self.mounts[camera], w / h, *points, nearest_m=NEAREST_M)
            at = torch.stack([torch.where(deep > NEAREST_M, u, BESIDE), v], dim=-1)
            pictures = F.pad(to_model(film), (0, 0, 0, 0, 0, 1), value=1.0).flatten(0, 1)
            places = rearrange(at, "b k (n h w) two -> (b k) (n h) w two", h=BOARD[0], w=BOARD[1])
            seen = seen + sampled(pictures, places, padding="zeros")
        return rearrange(seen, "(b k) c (n h) w -> b n k c h w", b=len(rows), n=rows.shape[1])

    def _boards(self, rows: Tensor, ego: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the points of boards were when the frames were taken, x, y and z (b, k, n p), each in the frame that
        the ego had then."""
        pixel, ray = pixel_m(rows)[..., None], _ray(rows)[..., None]
        right, up = self.points
        x, y, vx, vy = (rows[..., i, None] for i in (1, 2, 4, 5))
        x, y = x + pixel * right * ray.sin(), y - pixel * right * ray.cos()
        was = []
        for span_s in self.spans_s:
            motion = Motion.of(ego[:, 0], ego[:, 1], span_s)
            was.append(motion.before((x - vx * span_s).flatten(1), (y - vy * span_s).flatten(1)))
        xs, ys = (torch.stack(each, dim=1) for each in zip(*was, strict=True))
        return xs, ys, (HIGH_M + pixel * up).flatten(1)[:, None].expand_as(xs)


def pixel_m(rows: Tensor) -> Tensor:
    """The size (...) of a pixel of the boards of actors (..., 9)."""
    return (PIXEL_PER_M * torch.linalg.vector_norm(rows[..., 1:3], dim=-1)).clamp(min=PIXEL_M)


def as_thought(actors: Tensor, ego: Tensor, moved: Tensor) -> Tensor:
    """Recorded actors (b, n, 9) with velocities as who thinks that the ego moves as `ego` (b, 2), speed in m/s and yaw
    rate in rad/s, and sees them move against it as it did, `moved` (b, 2): errors of its own motion are theirs too."""
    faster, turning = (ego - moved)[:, None].unbind(-1)
    kind, x, y, heading, vx, vy = actors[..., :6].unbind(-1)
    rows = torch.stack([kind, x, y, heading, vx + faster - turning * y, vy + turning * x], dim=-1)
    return torch.cat([rows, actors[..., 6:]], dim=-1)


def _ray(rows: Tensor) -> Tensor:
    """The direction (...) from the ego to actors (..., 9)."""
    return torch.atan2(rows[..., 2], rows[..., 1])
