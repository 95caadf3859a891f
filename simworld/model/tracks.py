"""Tracks: where somebody is and how he moves, by all looks in which he was spotted.

What a look tells of a place is off by some share of the distance, and of a velocity by far more; a second of looks
tells both better. Which of those spotted in an earlier look is the same one is no choice of its own: each counts by how
likely he is, and what they say together is read at once (soft assignment, as in attention), learned from the record.

Letters: b batch, j looks, n spotted now, m spotted in a look.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import meant, present
from simworld.model.angles import turned_rows
from simworld.model.carrying import Motion
from simworld.model.guesses import USUAL, coasted
from simworld.model.precision import exactly
from simworld.scenario import ACTOR_CLASSES

PAIR, READ, HEADS, NOTES = 64, 256, 4, 32  # widths, assignments, and numbers that a pair notes
NUM_PAIR, NUM_MOVED, NUM_OWN = 21, 5, 8  # features
OFF_M, OFF_PER_M = 1.0, 0.12  # errors come in units of so many m or m/s, and more with every m of distance
LED = 0.7  # how much of the told velocity leads to where he was before
NEARER, NOBODY = 4.0, -6.0  # how fast likelihood falls with distance, and how likely nobody is, before it is learned
ROUND = (0.5, 0.2)  # errors of velocity and of place below which they are squared
LIKE = 10.0  # m/s, by which velocities are scaled


class Tracks(nn.Module):
    """Those spotted so many steps `ago`, the last now, to those spotted now, better placed; until it learns, as they
    are."""

    ago: Tensor
    usual: Tensor

    def __init__(self, ago: tuple[int, ...], dt_s: float) -> None:
        super().__init__()
        self.spans_s = tuple(steps * dt_s for steps in ago)
        self.register_buffer("ago", torch.tensor(self.spans_s), persistent=False)
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)
        self.pair = nn.Sequential(nn.Linear(NUM_PAIR, PAIR), nn.SiLU(), nn.Linear(PAIR, HEADS + NOTES))
        told = len(ago) * (NOTES + HEADS * NUM_MOVED) + len(ACTOR_CLASSES) + NUM_OWN + 2
        last = nn.Linear(READ, 4)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.read = nn.Sequential(nn.Linear(told, READ), nn.SiLU(), nn.Linear(READ, READ), nn.SiLU(), last)

    def forward(self, looks: Tensor, ego: Tensor) -> Tensor:
        """looks (b, j, n, 9), NaN where nobody was spotted, each in the frame that the ego had then, and the ego's
        speed in m/s and yaw rate in rad/s (b, 2), to (b, n, 9)."""
        with exactly(looks.device):
            looks, ego = looks.float(), ego.float()
            now = looks[:, -1]
            there, at = present(looks), torch.nan_to_num(now)
            distance, ray = torch.linalg.vector_norm(at[..., 1:3], dim=-1), torch.atan2(at[..., 2], at[..., 1])
            unit = (OFF_M + OFF_PER_M * distance)[..., None]
            own = turned_rows(at[..., 4:6], -ray) / LIKE
            said = self._said(self._stood(torch.nan_to_num(looks), ego), there, at, ray, own, unit)
            kind = F.one_hot(at[..., 0].long(), len(ACTOR_CLASSES)).float()
            seen_from = [distance.log1p() / 3, (-distance / 10).exp(), ray.cos(), ray.sin()]
            seen_from += [(at[..., 3] - ray).cos(), (at[..., 3] - ray).sin()]
            seen_from += (ego / self.usual)[:, None].expand(-1, at.shape[1], -1).unbind(-1)
            off = self.read(torch.cat([said, kind, torch.stack(seen_from, dim=-1), own], dim=-1)) * unit
            velocity = at[..., 4:6] + 2 * turned_rows(off[..., :2], ray)
            place = at[..., 1:3] + 0.5 * turned_rows(off[..., 2:], ray)
            better = torch.cat([at[..., :1], place, at[..., 3:4], velocity, at[..., 6:]], dim=-1)
            return torch.where(there[:, -1, :, None], better, torch.nan)

    def loss(self, looks: Tensor, ego: Tensor, actors: Tensor) -> Tensor:
        """How far places and velocities are off those of the recorded actors (b, n, 9) who are spotted now."""
        told, distance = torch.nan_to_num(self(looks, ego)), torch.linalg.vector_norm(looks[:, -1, :, 1:3], dim=-1)
        true, known = meant(looks[:, -1], actors)
        off = ((told - true) / (OFF_M + OFF_PER_M * distance)[..., None])[known]
        velocity, place = (
            F.smooth_l1_loss(x, torch.zeros_like(x), beta=below, reduction="sum")
            for x, below in zip((off[:, 4:6], off[:, 1:3]), ROUND, strict=True)
        )
        return (velocity + 2 * place) / max(1, 2 * len(off))

    def _stood(self, looks: Tensor, ego: Tensor) -> Tensor:
        """The looks as if all had stood still since, in the ego's frame of now, with their velocities."""
        stood = []
        for rows, span_s in zip(looks.unbind(1), self.spans_s, strict=True):
            gone = coasted(rows, Motion.of(ego[:, 0], ego[:, 1], span_s))
            stood.append(torch.cat([gone[..., :1], gone[..., 1:3] - span_s * gone[..., 4:6], gone[..., 3:]], dim=-1))
        return torch.stack(stood, dim=1)

    def _said(self, stood: Tensor, there: Tensor, at: Tensor, ray: Tensor, own: Tensor, unit: Tensor) -> Tensor:
        """What all looks (b, j, m, 9), in which somebody was `there` (b, j, m), say of those spotted now (b, n, s)."""
        turn, size = -ray[:, None, :, None], unit[:, None, :, None]
        away = turned_rows(stood[:, :, None, :, 1:3] - at[:, None, :, None, 1:3], turn)
        ago = self.ago.view(1, -1, 1, 1, 1)
        mine = own[:, None, :, None].expand_as(away)
        missed = away + LED * LIKE * ago * mine  # the place to which the told velocity leads
        theirs = turned_rows(stood[:, :, None, :, 4:6], turn) / LIKE
        heading = stood[:, :, None, :, 3] + turn
        far = torch.linalg.vector_norm(missed, dim=-1, keepdim=True)
        one = torch.ones_like(far)
        pair = [away / size, missed / size, (-far).exp(), (-far / size).exp(), (-0.4 * far / size).exp(), far.log1p()]
        pair += [theirs, mine, (stood[:, :, None, :, :1] == at[:, None, :, None, :1]).float()]
        pair += [heading.cos()[..., None], heading.sin()[..., None], ago * one, size * one / 4]
        pair += [away / (ago + 0.1) / LIKE, missed / (ago + 0.1) / LIKE]
        likely, notes = self.pair(torch.cat(pair, dim=-1)).split([HEADS, NOTES], dim=-1)
        likely = (likely - NEARER * far / size).masked_fill(~there[:, :, None, :, None], -1e4)
        weight = F.pad(likely, (0, 0, 0, 1), value=NOBODY).softmax(dim=-2)[..., :-1, :]
        moved = torch.cat([away / size, theirs, one], dim=-1)
        noted = (weight.mean(-1, keepdim=True) * notes).sum(-2)
        moved = torch.einsum("bjnmh,bjnmc->bjnhc", weight, moved).flatten(-2)
        return torch.cat([noted, moved], dim=-1).transpose(1, 2).flatten(2)
