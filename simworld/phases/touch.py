"""The phase of touch: what came of it, by who was spotted and by what the model holds to be the case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.futures import Futures, frames_ago
from simworld.model.actions import encode_actions
from simworld.model.outcomes import OutcomeTargets
from simworld.phases.common import Stage, drawn_once, picked

CONTEXT = 8  # real steps before each
PRESENT = 50.0  # how much more the hazard of the present step counts than those of later ones
WEIGHTS = {"event": 1.0, "category": 3.0, "scalar": 30.0}  # of the outcomes' losses


@dataclass(frozen=True)
class Rolled:
    """n windows of t steps: who is guessed to be there (n, t, g, 9) after each, the standardised state (n, t, s) as it
    is believed to be before each, and the truth (n, t)."""

    guesses: Tensor
    state: Tensor
    targets: OutcomeTargets

    def part(self, rows: Tensor) -> Rolled:
        return Rolled(self.guesses[rows], self.state[rows], self.targets.map(lambda x: x[rows]))


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
        parts = [self._roll(x) for x in drawn_once(self.cache, self.config, self.num_windows, self.seed + 2)]
        return Rolled(
            torch.cat([p.guesses for p in parts]),
            torch.cat([p.state for p in parts]),
            parts[0].targets.map(lambda *x: torch.cat(x), *(p.targets for p in parts[1:])),
        )

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

    @torch.no_grad()
    def _roll(self, rows: NDArray[np.int64]) -> Rolled:
        model, cache, device = self.model, self.cache, self.run.device
        at = frames_ago(cache, rows, range(CONTEXT, -1, -1))
        frames = self.frames_at(at)
        past = encode_actions(torch.from_numpy(cache.actions[at[:, :-1]]).to(device), model.spec.action)
        future = Futures.of(cache, rows, self.config.window)
        actions = encode_actions(future.actions(cache).to(device), model.spec.action)
        with self.run.autocasting():
            belief = model.belief.begin(frames, past).float()
            state = model.estimate(belief).float()
            guesses = model.spotted(frames, state).float()
            every, states = [], []
            for action in actions.unbind(1):
                guesses = model.coasted(guesses, state)
                every.append(guesses)
                states.append(state)
                belief = model.belief.roll(belief, action, None, guesses)
                state = model.estimate(belief).float()
        targets = future.targets(cache).map(lambda x: x.to(device))
        return Rolled(torch.stack(every, dim=1), torch.stack(states, dim=1), targets)
