"""What a finished belief holds to be the case when it is rolled on from many windows, beside what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.data.cache import FrameCache
from simworld.futures import Futures, frames_ago
from simworld.model.actions import encode_actions
from simworld.model.outcomes import OutcomeTargets
from simworld.phases.common import Stage, frames_at, in_parts, sampler_once
from simworld.progress import telling

CONTEXT = 8  # real steps before each


@dataclass(frozen=True)
class Rolled:
    """n windows of t steps: the belief (n, d) and who is spotted (n, g, 9) before the first, who is guessed to be there
    (n, t, g, 9) after each, the standardised state (n, t, s) before each, what the belief tells of it after each
    (n, t, s) and the encoded actions (n, t, a); and what was recorded: the state (n, s), in its own units, and who was
    met (n, m, 9) before the first, the actors (n, t, m, 9) after each, and what came of it (n, t); and how many times
    more often such windows are on record than here (n,)."""

    belief: Tensor
    spotted: Tensor
    guesses: Tensor
    state: Tensor
    told: Tensor
    actions: Tensor
    began: Tensor
    met: Tensor
    actors: Tensor
    targets: OutcomeTargets
    weight: Tensor

    def part(self, rows: Tensor) -> Rolled:
        """The windows `rows`."""
        return self.joined(lambda *x: x[0][rows])

    def carried(self, on: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """States (n, t + 1, s) before the first step and after each, as `on` carries them from one to the next by the
        action and by what the belief tells."""
        states = [self.state[:, 0]]
        for action, told in zip(self.actions.unbind(1), self.told.unbind(1), strict=True):
            states.append(on(states[-1], action, told))
        return torch.stack(states, dim=1)

    def joined(self, join: Callable[..., Tensor], *others: Rolled) -> Rolled:
        """`join` applied to every tensor and its twins in `others`."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            twins = [getattr(x, name) for x in others]
            values[name] = join(value, *twins) if isinstance(value, Tensor) else value.map(join, *twins)
        return Rolled(**values)


def rolled_once(stage: Stage[CanvasWorldModel], num: int, seed: int) -> Rolled:
    """`num` windows of a stage, as many of each of its caches, the same on every rank."""
    each = num // len(stage.caches)
    samplers = [(cache, sampler_once(cache, stage.config, each, seed)) for cache in stage.caches]
    parts = [(cache, rows, sampler.weights(rows)) for cache, sampler in samplers for rows in in_parts(sampler.rows(0))]
    first, *rest = [_rolled(stage, *part) for part in telling(parts, "rolling windows on", stage.run.tell)]
    return first.joined(lambda *x: torch.cat(x), *rest)


@torch.no_grad()
def _rolled(
    stage: Stage[CanvasWorldModel], cache: FrameCache, rows: NDArray[np.int64], weight: NDArray[np.float64]
) -> Rolled:
    model, device = stage.model, stage.run.device
    at = frames_ago(cache, rows, range(CONTEXT, -1, -1))
    frames = frames_at(cache, at, device)
    past = encode_actions(torch.from_numpy(cache.actions[at[:, :-1]]).to(device), model.spec.action)
    future = Futures.of(cache, rows, stage.config.window)
    actions = encode_actions(future.actions(cache).to(device), model.spec.action)
    with stage.run.autocasting():
        belief, state = (x.float() for x in model.begun(frames, past))
        seen = belief
        spotted = guesses = model.spotted(frames, state).float()
        every, states, told = [], [], []
        for action in actions.unbind(1):
            guesses = model.gone_on(guesses, state)
            every.append(guesses)
            states.append(state)
            belief = model.belief.roll(belief, action, None, guesses)
            told.append(model.estimate(belief).float())
            state = model.reckoned(state, action, told[-1])
    began, met = (torch.from_numpy(x[rows]).to(device) for x in (cache.state, cache.actors))
    return Rolled(
        belief=seen,
        spotted=spotted,
        guesses=torch.stack(every, dim=1),
        state=torch.stack(states, dim=1),
        told=torch.stack(told, dim=1),
        actions=actions,
        began=began,
        met=met,
        actors=future.actors(cache).to(device),
        targets=future.targets(cache).map(lambda x: x.to(device)),
        weight=torch.from_numpy(weight).to(device),
    )
