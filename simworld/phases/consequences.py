"""The phase of consequences: what was recorded after windows in which the finished model is rolled on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.phases.common import Stage, picked
from simworld.phases.touch import TouchPhase

PRESENT = 10.0  # how much more the hazard of the present step counts than those of later ones, and the end of all


@dataclass
class ConsequencesPhase(Stage[CanvasWorldModel]):
    """The windows of the phase of touch, each as often as such are on record: of windows that are chosen for an event
    within reach, those that last longer have none, and what comes late would seem rarer than it is."""

    windows: TouchPhase
    name: str = "consequences"
    parts: tuple[str, ...] = ("consequences",)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        rolled, model = self.windows.rolled, self.model
        assert model.consequences is not None
        seen = rolled.part(picked(len(rolled.spotted), self.config.batch, self.seed, step, self.run, rolled.weight))
        held = model.consequences.follow(seen.belief, seen.actions, seen.state, seen.guesses, model.ego(seen.state))
        told = model.consequences.read(held)
        events = [s.name for s in model.spec.outcomes if s.kind == "event"]
        ends, losses = model.heads.end_losses(told, seen.targets), model.heads.outcome_losses(told, seen.targets)
        now = model.heads.outcome_losses({name: told[name][..., :1] for name in events}, seen.targets)
        soon = torch.stack([*now.values(), ends["terminated"]]).sum()
        total = torch.stack([*losses.values(), ends["reward"]]).sum() + PRESENT * soon
        return {"loss": total} | ends | losses

    def finish(self) -> None:
        """From now on it counts."""
        assert self.model.consequences is not None
        self.model.consequences.learned.fill_(1.0)
