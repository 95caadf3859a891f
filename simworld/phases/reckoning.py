"""The phase of reckoning: how the state really went on where the finished belief was rolled on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.phases.common import Stage, picked
from simworld.phases.rolled import Rolled, rolled_once

MOVED = 2.0  # how much it counts how the ego's own motion has changed since the start, by which others are placed
ROUND = 0.02  # errors of that below which they are squared


@dataclass
class ReckoningPhase(Stage[CanvasWorldModel]):
    """From what a belief held at the start to what was recorded, through every step of a window."""

    num_windows: int
    name: str = "reckoning"
    parts: tuple[str, ...] = ("reckoning",)

    @cached_property
    def rolled(self) -> Rolled:
        """The same on every rank, rolled on when they are first asked for."""
        return rolled_once(self, self.num_windows, self.seed + 6)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        seen = self.rolled.part(picked(len(self.rolled.spotted), self.config.batch, self.seed, step, self.run))
        reckoning, heads = self.model.reckoning, self.model.heads
        assert reckoning is not None
        states, true = seen.carried(reckoning.reckoned)[:, 1:], heads.standard_state(seen.targets.state)
        counts = seen.targets.steps_left > 0  # the last step may be a crash's, which is no doing of an action
        moves = self.model.canvas.motion_at or self.model.places.at
        moved = (states - seen.state[:, :1])[..., moves]
        off = moved - (true - heads.standard_state(seen.began)[:, None])[..., moves]
        known = torch.where(counts[..., None] & off.isfinite(), off, 0.0)
        losses = {
            "state": (heads.state_error(states, true) * counts).mean(),
            "moved": F.smooth_l1_loss(known, torch.zeros_like(known), beta=ROUND, reduction="none").sum(-1).mean(),
        }
        return {"loss": losses["state"] + MOVED * losses["moved"]} | losses

    def finish(self) -> None:
        """From now on it counts."""
        assert self.model.reckoning is not None
        self.model.reckoning.learned.fill_(1.0)
