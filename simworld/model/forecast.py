"""Forecast: how others go on, who follow the road, keep off each other and the ego, brake, and cross.

Whoever is seen goes on as fast as he was for a moment only: in a second he brakes for the one ahead, in two the road
has bent, in three the one who waits by the road has set off. A small network tells of each how his velocity and heading
change in a step, by how he goes against the road and against everybody else, of whom he heeds some more than others
(attention over pairs, as in Vaswani et al. 2017; over road users in the manner of Gao et al. 2020, "VectorNet").
It is asked anew at every step, so that what the ego does changes what they do.

Letters: b batch, n actors, m whom they may heed: the others, and the ego last.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import present
from simworld.model.angles import turned
from simworld.model.carrying import CURVATURE, HEADING, LANE, LATERAL
from simworld.model.precision import exactly
from simworld.scenario import ACTOR_CLASSES, BODIES

EGO = "car"
NUM_OWN, NUM_PAIR = len(ACTOR_CLASSES) + 16, len(ACTOR_CLASSES) + 14
HEADS = 4
FASTER_MPS2, TURNING_RADPS = 3.0, 0.3  # by which changes are told
FARTHEST_M = 40.0  # as far as the road is taken to bend as it does where the ego is
MOST_CURVED = 0.05  # 1/m


class Forecast(nn.Module):
    """Actors (b, n, 9), NaN where nobody is, by the ego's state in its own units (b, s) and its speed in m/s and yaw
    rate in rad/s (b, 2), as they move in the coming step; until it learns, as they have moved."""

    body: Tensor  # the ego as an actor (9,), standing

    def __init__(self, state_names: tuple[str, ...], dt_s: float, width: int) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"a forecast's width must be a multiple of {HEADS}, got {width}")
        self.names, self.dt_s = state_names, dt_s
        self.own = nn.Linear(NUM_OWN + len(state_names), width)
        self.pair = nn.Sequential(nn.Linear(NUM_PAIR, width), nn.SiLU(), nn.Linear(width, width + HEADS))
        self.heeded = nn.Linear(width, width, bias=False)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 3)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        ego = BODIES[EGO]
        body = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ego.length_m, ego.width_m, ego.mass_kg])
        self.register_buffer("body", body, persistent=False)

    def forward(self, actors: Tensor, state: Tensor, standard: Tensor, ego: Tensor) -> Tensor:
        """`standard` is the state (b, s) in units of its spread."""
        there = present(actors)
        with exactly(actors.device):
            rows = torch.nan_to_num(actors.float())
            told = standard.float()[:, None].expand(-1, rows.shape[1], -1)
            hidden = F.silu(
                self.own(torch.cat([self._own(rows, state.float(), ego), told], dim=-1))
                + self.heeded(self._heeded(rows, there, ego))
            )
            along, across, turn = self.out(hidden + F.silu(self.hidden(hidden))).unbind(-1)
            heading, step = rows[..., 3], self.dt_s * FASTER_MPS2
            vx, vy = turned(step * along, step * across, heading)
            moved = [rows[..., 4] + vx, rows[..., 5] + vy]
            moved = [heading + self.dt_s * TURNING_RADPS * turn, *moved]
            after = torch.cat([rows[..., :3], torch.stack(moved, dim=-1), rows[..., 6:]], dim=-1)
        return torch.where(there[..., None], after, torch.nan)

    def _own(self, rows: Tensor, state: Tensor, ego: Tensor) -> Tensor:
        """How actors lie on the road and go along it (b, n, NUM_OWN)."""
        x, y, heading, vx, vy = (rows[..., i] for i in range(1, 6))
        bend = self._told(state, CURVATURE).clamp(-MOST_CURVED, MOST_CURVED)
        askew, lateral = self._told(state, HEADING), self._told(state, LATERAL)
        ahead, aside = turned(x, y, askew.expand_as(x))
        ahead = ahead.clamp(-FARTHEST_M, FARTHEST_M)
        aside = aside - bend * ahead.square() / 2
        road = bend * ahead - askew  # its direction there
        along, across = turned(vx, vy, -road)
        own = turned(vx, vy, -heading)
        off = heading - road
        in_lane = (lateral + aside) / self._told(state, LANE).clamp(min=2.5) * 2 * math.pi
        speed = ego[:, :1]
        numbers = [
            along / 10, across / 3, own[0] / 10, own[1] / 3, off.cos(), off.sin(), (2 * off).sin(), in_lane.sin(),
            in_lane.cos(), ahead / 20, aside / 5, (-ahead.abs() / 10).exp(), (-aside.abs() / 2).exp(),
            (along - speed) / 10, (ahead / speed.clamp(min=2)).clamp(-5, 10) / 5,
            (aside.abs() / (along.square() + across.square() + 0.25).sqrt()).clamp(max=10) / 5,
        ]  # fmt: skip
        kind = F.one_hot(rows[..., 0].long(), len(ACTOR_CLASSES))
        return torch.cat([kind.to(x.dtype), torch.stack(numbers, dim=-1)], dim=-1)

    def _heeded(self, rows: Tensor, there: Tensor, ego: Tensor) -> Tensor:
        """What actors make of all others (b, n, width)."""
        b, n = there.shape
        own = torch.cat([self.body[:4].expand(b, 4), ego[:, :1].float(), self.body[5:].expand(b, 4)], dim=-1)
        all_rows = torch.cat([rows, own[:, None]], dim=1)
        kind = F.one_hot(rows[..., 0].long(), len(ACTOR_CLASSES)).to(rows.dtype)
        marks = torch.cat([F.pad(kind, (0, 1)), F.pad(rows.new_ones(b, 1, 1), (len(ACTOR_CLASSES), 0))], dim=1)
        mine, theirs = rows[:, :, None], all_rows[:, None]
        back = -mine[..., 3]
        apart = theirs - mine
        away = turned(apart[..., 1], apart[..., 2], back)
        faster = turned(apart[..., 4], apart[..., 5], back)
        gap, beside = (
            away[i].abs() - (theirs[..., size] + mine[..., size]) / 2 for i, size in ((0, 6), (1, 7))
        )  # from skin to skin, if both face one way
        free, in_path = gap.clamp(min=0), (-beside.clamp(min=0)).exp()
        turn = apart[..., 3]
        numbers = [
            away[0] / 20, away[1] / 4, away[0].sign() * (-away[0].abs() / 15).exp(), (-away[1].abs() / 1.5).exp(),
            gap.clamp(-5, 50) / 20, beside.clamp(-3, 10) / 3, faster[0] / 10, faster[1] / 3, turn.cos(), turn.sin(),
            in_path * (-free / 10).exp(), (faster[0] / gap.clamp(min=1)).clamp(-3, 3), 1 / (1 + free),
        ]  # fmt: skip
        pair = torch.cat([marks[:, None].expand(-1, n, -1, -1), torch.stack(numbers, dim=-1)], dim=-1)
        said, likely = self.pair(pair).tensor_split([self.heeded.in_features], dim=-1)
        oneself = F.pad(torch.eye(n, dtype=torch.bool, device=there.device), (0, 1))
        unheeded = oneself | ~F.pad(there, (0, 1), value=True)[:, None]
        weight = likely.masked_fill(unheeded[..., None], -1e4).softmax(dim=2)
        return torch.einsum("bnmh,bnmhc->bnhc", weight, said.unflatten(-1, (HEADS, -1))).flatten(-2)

    def _told(self, state: Tensor, name: str) -> Tensor:
        """The number of that name (b, 1) of states (b, s), 0 where they have none."""
        return state[:, self.names.index(name), None] if name in self.names else torch.zeros_like(state[:, :1])
