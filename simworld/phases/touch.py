"""The phase of touch: what came of it, by who was spotted and by what the model holds to be the case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.phases.common import Stage, picked
from simworld.phases.rolled import Rolled, rolled_once

PRESENT = 50.0  # how much more the hazard of the present step counts than those of later ones
WEIGHTS = {"event": 1.0, "category": 3.0, "scalar": 30.0}  # of the outcomes' losses


@dataclass
class TouchPhase(Stage[CanvasWorldModel]):
    """Guesses and states as the finished belief rolls them on from many windows, half of them with an event ahead.

    It learns from what it will be told in use: where the belief errs, it learns how far that is to be believed.
    """

    num_windows: int
    name: str = "touch"
    parts: tuple[str, ...] = ("touch",)

    @cached_property
    def rolled(self) -> Rolled:
        """The same on every rank, rolled on when they are first asked for."""
        return rolled_once(self, self.num_windows, self.seed + 2)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        seen = self.rolled.part(picked(self.num_windows, self.config.batch, self.seed, step, self.run))
        touch, heads = self.model.touch, self.model.heads
        assert touch is not None
        age_s = self.model.spec.dt_s * torch.arange(1, seen.state.shape[1] + 1, device=self.run.device)
        told = touch(seen.guesses, seen.state, self.model.ego(seen.state), age_s.expand(seen.state.shape[:2]))
        losses = heads.outcome_losses(told, seen.targets, whole=True)
        present = {s.name: told[s.name][..., :1] for s in touch.specs if s.kind == "event"}
        now = heads.outcome_losses(present, seen.targets)
        total = torch.stack([WEIGHTS[s.kind] * losses[s.name] for s in touch.specs]).sum()
        return {"loss": total + PRESENT * torch.stack(list(now.values())).sum()} | losses

    def finish(self) -> None:
        """From now on it counts."""
        assert self.model.touch is not None
        self.model.touch.learned.fill_(1.0)
