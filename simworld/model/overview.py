"""The overview: who else is there, seen by cameras that stand still.

Where a camera never moves, the same pixel always shows the same piece of the room, and a network learns which: it lays
a grid over all places where anybody was ever recorded, and every cell of it says whether somebody stands there, where
exactly, how he moves and how large he is (in the manner of Redmon et al. 2016, "You Only Look Once"). Cells that speak
of the same one are gathered.

Letters: b batch, k frames, n actors, m cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import NUM_FIELDS, present
from simworld.model.gathering import each_one
from simworld.nets.convnet import ConvNet, ConvNetConfig
from simworld.scenario import ACTOR_CLASSES

AGO = (2, 1, 0)  # steps before it from which a look takes frames
GRID = 12  # cells on a side
WIDTH, HIDDEN, EACH = 64, 256, 16  # channels of the maps, of what all cells are told by, and of one cell
NUM_VALUES = 9  # place in the cell, cosine and sine of the heading, velocity, logarithms of length, width and mass
REACH = 0.75  # of a cell: who is that near to its middle is told of by it
ROUND = 0.1  # errors below which they are squared
COUNTS = (10.0, 0.3)  # how much values cost, and the class, beside whether anybody is there
SURE = 0.4  # the least probability of somebody that is believed
APART = 0.8  # cells: who is nearer to the surest than that is the same one


class Overview(nn.Module):
    """Frames so many steps `AGO` of every camera to up to `most` actors in the frame that actors are recorded in."""

    low: Tensor  # the grid's corners (2,), in m
    high: Tensor
    mean: Tensor  # of NUM_VALUES, of which the place is not counted
    spread: Tensor
    middles: Tensor  # of cells (m, 2), in cells

    def __init__(self, most: int, cameras: tuple[str, ...]) -> None:
        super().__init__()
        self.most = most
        eye = ConvNetConfig(len(AGO), GRID**2 * EACH, WIDTH, hidden=HIDDEN, norm="group", patch=2)
        self.eyes = nn.ModuleDict({camera: ConvNet(eye) for camera in cameras})
        self.told = nn.Linear(EACH, 1 + NUM_VALUES + len(ACTOR_CLASSES))
        self.register_buffer("low", torch.zeros(2))
        self.register_buffer("high", torch.ones(2))
        self.register_buffer("mean", torch.zeros(NUM_VALUES))
        self.register_buffer("spread", torch.ones(NUM_VALUES))
        across = torch.arange(GRID) + 0.5
        middles = torch.stack(torch.meshgrid(across, across, indexing="ij"), dim=-1).flatten(0, 1)
        self.register_buffer("middles", middles, persistent=False)

    @property
    def sees(self) -> tuple[int, ...]:
        """How many steps ago the frames are that `spot` takes."""
        return AGO

    @torch.no_grad()
    def measure(self, actors: Tensor) -> None:
        """Lay the grid over all places of recorded actors (..., 9), and learn the scale of what is told of them."""
        rows = actors[present(actors)].double()
        if not len(rows):
            return
        ends = torch.stack([rows[:, 1:3].amin(0), rows[:, 1:3].amax(0)])
        margin = 0.02 * (ends[1] - ends[0]) + 1e-3
        self.low.copy_(ends[0] - margin)
        self.high.copy_(ends[1] + margin)
        values = _values(rows)
        self.mean[2:].copy_(values.mean(0))
        self.spread[2:].copy_(values.std(0, correction=0).clamp(min=1e-3))

    def loss(self, frames: dict[str, Tensor], actors: Tensor) -> Tensor:
        """How wrong frames (b, k, h, w, 3) are read of the actors (b, n, 9) that are there in the last of them."""
        logit, told, kinds = self._read(frames)
        rows, there = torch.nan_to_num(actors), present(actors)
        apart = torch.linalg.vector_norm(self._in_cells(rows)[:, None] - self.middles[:, None], dim=-1)
        least, which = apart.masked_fill(~there[:, None], torch.inf).min(dim=2)
        his = rows.gather(1, which[..., None].expand(-1, -1, NUM_FIELDS))
        shown = least < REACH
        anybody = F.binary_cross_entropy_with_logits(logit, shown.float())
        values = torch.cat([self._in_cells(his) - self.middles, _values(his)], dim=-1)
        off = F.smooth_l1_loss(told, (values - self.mean) / self.spread, reduction="none", beta=ROUND).mean(-1)
        wrong = F.cross_entropy(kinds.movedim(-1, 1), his[..., 0].long(), reduction="none")
        each = COUNTS[0] * off + COUNTS[1] * wrong
        return anybody + (each * shown).mean()

    @torch.no_grad()
    def spot(self, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """The actors (b, most, 9) that are seen in frames (b, k, h, w, 3) so many steps ago as `sees` says, the surest
        first, NaN where there are no more. Nothing has to be known of the ego (b, ...)."""
        logit, told, kinds = self._read(frames)
        values = told * self.spread + self.mean
        place = self.middles + values[..., :2]
        values = torch.cat([place, values[..., 2:]], dim=-1)
        kinds = kinds.softmax(dim=-1)

        def same(at: Tensor) -> Tensor:
            return torch.linalg.vector_norm(place - place.gather(1, at[..., None].expand(-1, -1, 2)), dim=-1) < APART

        found = []
        for surest, weight in each_one(logit.sigmoid(), self.most, same):
            x, y, cos, sin, vx, vy, *body = (weight * values).sum(1).unbind(-1)
            where = self.low + torch.stack([x, y], dim=-1) / GRID * (self.high - self.low)
            kind = (weight * kinds).sum(1).argmax(-1).float()
            rows = [kind, *where.unbind(-1), torch.atan2(sin, cos), vx, vy, *(size.exp() for size in body)]
            found.append(torch.where(surest > SURE, torch.stack(rows, dim=-1), torch.nan))
        return torch.stack(found, dim=1)

    def _read(self, frames: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of every cell a logit (b, m) of whether anybody is there, NUM_VALUES (b, m, v), and logits of classes."""
        seen = torch.stack([eye(frames[camera]) for camera, eye in self.eyes.items()]).sum(0)
        told = self.told(F.silu(seen.unflatten(-1, (-1, EACH)))).float()
        logit, values, kinds = told.split([1, NUM_VALUES, len(ACTOR_CLASSES)], dim=-1)
        return logit[..., 0], values, kinds

    def _in_cells(self, rows: Tensor) -> Tensor:
        """Places (..., 2) of actors (..., 9), in cells."""
        return (rows[..., 1:3] - self.low) / (self.high - self.low) * GRID


def _values(rows: Tensor) -> Tensor:
    """What is told of actors (..., 9) beside their place and class (..., NUM_VALUES - 2)."""
    heading, vx, vy = rows[..., 3:6].unbind(-1)
    sizes = rows[..., 6:].clamp(min=1e-6).log()
    return torch.cat([torch.stack([heading.cos(), heading.sin(), vx, vy], dim=-1), sizes], dim=-1)
