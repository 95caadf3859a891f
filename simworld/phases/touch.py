"""The phase of touch: what came of it, by who was spotted and by what the model holds to be the case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.episode import OutcomeSpec
from simworld.model.mind import Each, Mind
from simworld.model.outcomes import OutcomeTargets, quantile_error
from simworld.model.severity import spread
from simworld.phases.common import Stage, picked
from simworld.phases.rolled import Rolled, rolled_once

PRESENT = 50.0  # how much more the hazard of the present step counts than those of later ones
WEIGHTS = {"event": 1.0, "category": 3.0, "scalar": 30.0}  # of the outcomes' losses
NEAR_STEPS = 3.0  # an impact that much farther off counts e times less for how hard it is
FAR = 0.03  # what counts less than this is left out


@dataclass
class TouchPhase(Stage[CanvasWorldModel]):
    """Guesses and states as the finished belief rolls them on from many windows, half of them with an event ahead.

    It learns from what it will be told in use: where the belief errs, it learns how far that is to be believed. Every
    mind learns from windows in an order of its own.
    """

    num_windows: int
    name: str = "touch"
    parts: tuple[str, ...] = ("touch",)

    @cached_property
    def rolled(self) -> Rolled:
        """The same on every rank, rolled on when they are first asked for."""
        return rolled_once(self, self.num_windows, self.seed + 2)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        assert self.model.touch is not None
        every = [self._loss(mind, step, self.seed + i) for i, mind in enumerate(self.model.touch.minds)]
        return {name: torch.stack([losses[name] for losses in every]).mean() for name in every[0]}

    def _loss(self, mind: Mind, step: int, seed: int) -> dict[str, Tensor]:
        seen = self.rolled.part(picked(len(self.rolled.spotted), self.config.batch, seed, step, self.run))
        heads = self.model.heads
        age_s = self.model.spec.dt_s * torch.arange(1, seen.state.shape[1] + 1, device=self.run.device)
        each = mind.each(seen.guesses, seen.state, self.model.ego(seen.state), age_s.expand(seen.state.shape[:2]))
        told = mind.joined(each)
        losses = heads.outcome_losses(told, seen.targets)
        present = {s.name: told[s.name][..., :1] for s in mind.specs if s.kind == "event"}
        now = heads.outcome_losses(present, seen.targets)
        losses |= {s.name: hardness_loss(mind, s, each, seen.targets) for s in mind.specs if s.kind == "scalar"}
        total = torch.stack([WEIGHTS[s.kind] * losses[s.name] for s in mind.specs]).sum()
        return {"loss": total + PRESENT * torch.stack(list(now.values())).sum()} | losses

    def finish(self) -> None:
        """From now on all of it counts."""
        assert self.model.touch is not None
        for mind in self.model.touch.minds:
            mind.learned.fill_(1.0)


def hardness_loss(mind: Mind, spec: OutcomeSpec, each: Each, targets: OutcomeTargets) -> Tensor:
    """How far candidates are off a scalar of the next event: the sooner it is, the more that counts, and each counts as
    likely as it was he, now that it is known what was met. How an event goes on that has begun does not count."""
    assert spec.given is not None
    ahead = targets.steps_to_event[spec.given]
    goes_on = F.pad((ahead[:, 1:] == 0) & (ahead[:, :-1] == 0), (1, 0))
    soon = (-ahead / NEAR_STEPS).exp()
    value = targets.value_at_event[spec.name]
    counts = (soon > FAR) & value.isfinite() & (targets.steps_left >= 0) & ~goes_on
    blame = each.likely[spec.given][counts].detach()
    for other in (s for s in mind.specs if s.kind == "category" and s.given == spec.given):
        what = targets.value_at_event[other.name][counts]
        says = each.told[other.name][counts].detach().log_softmax(dim=-1)
        his = says.movedim(-1, 0)[what.nan_to_num().long(), torch.arange(len(what), device=what.device)]
        blame = blame + torch.where(what.isfinite()[:, None], his, 0.0)
    off = quantile_error(each.told[spec.name][counts], spread(value[counts] / spec.scale)[:, None])
    return (soon[counts][:, None] * blame.softmax(dim=-1) * off).sum() / counts.numel()
