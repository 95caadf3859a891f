"""The phase of the forecast: where those went who were spotted, as the ego goes on in the model's belief."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.model.actors import distances, meant
from simworld.model.carrying import Motion
from simworld.model.guesses import coasted
from simworld.phases.common import Stage, picked
from simworld.phases.reckoning import ReckoningPhase
from simworld.phases.rolled import Rolled

JUMP_M = 1.5  # who is as near as this to where another would be a step later is the same
ROUND = (0.3, 0.5)  # errors of places in m and of velocities in m/s below which they are squared
COUNTS = (1.0, 0.2, 0.5)  # how much those of place, velocity and heading cost
NEAR_M = 10.0  # where an actor counts half


@dataclass
class ForecastPhase(Stage[CanvasWorldModel]):
    """The windows of the phase of reckoning; every step is told from what was told of the one before."""

    windows: ReckoningPhase
    name: str = "forecast"
    parts: tuple[str, ...] = ("forecast",)

    @cached_property
    def went(self) -> tuple[Tensor, Tensor, Tensor]:
        """The states (n, t, s) before each step; who was spotted is where after each (n, t, g, 9), and of whom that is
        known (n, t, g): the same on every rank, when first asked for."""
        seen = self.windows.rolled
        with torch.no_grad():
            states = seen.carried(self.model.reckoned)[:, :-1]
        return states, *followed(seen, self.model)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        chosen = picked(len(self.windows.rolled.spotted), self.config.batch, self.seed, step, self.run)
        states, true, known = (x[chosen] for x in self.went)
        guesses, told = self.windows.rolled.spotted[chosen], []
        for state in states.unbind(1):
            guesses = self.model.gone_on(guesses, state)
            told.append(guesses)
        every = torch.stack(told, dim=1)
        known = known & every.isfinite().all(-1)
        off = torch.where(known[..., None], every - true, 0.0)
        place, velocity = (
            F.smooth_l1_loss(x, torch.zeros_like(x), beta=below, reduction="none").sum(-1)
            for x, below in zip((off[..., 1:3], off[..., 4:6]), ROUND, strict=True)
        )
        parts = place, velocity, 1 - off[..., 3].cos()
        each = torch.stack([count * part for count, part in zip(COUNTS, parts, strict=True)]).sum(0)
        counts = known / (1 + torch.linalg.vector_norm(true[..., 1:3], dim=-1) / NEAR_M)
        return {"loss": (each * counts).sum() / counts.sum().clamp(min=1e-6)}


def followed(seen: Rolled, model: CanvasWorldModel) -> tuple[Tensor, Tensor]:
    """Where those spotted in windows are after each step (n, t, g, 9), without NaN, and while that is known (n, t, g):
    rows of the record are those nearest now, so each is followed from step to step."""
    ego = torch.cat([seen.began[:, None], seen.targets.state[:, :-1]], dim=1)[..., model.canvas.motion_at].nan_to_num()
    where, known = meant(seen.spotted, seen.met)
    went, knows = [], []
    for t in range(ego.shape[1]):
        coming = coasted(where, Motion.of(ego[:, t, 0], ego[:, t, 1], model.spec.dt_s))
        there = torch.where((seen.targets.steps_left[:, t] > 0)[:, None, None], seen.actors[:, t], torch.nan)
        apart = distances(coming, there).masked_fill(coming[:, :, None, 0] != there[:, None, :, 0], torch.inf)
        least, which = apart.min(dim=2)
        known = known & (least < JUMP_M)
        found = torch.nan_to_num(there).gather(1, which[..., None].expand(-1, -1, there.shape[-1]))
        where = torch.where(known[..., None], found, coming)
        went.append(where)
        knows.append(known)
    return torch.stack(went, dim=1), torch.stack(knows, dim=1)
