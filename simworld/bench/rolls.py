"""Rolls: what a world model foretells from real contexts when the true coming actions are imagined forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.data.cache import FrameCache
from simworld.metrics.video import mse
from simworld.model.outcomes import QUANTILES
from simworld.world_model import Prediction, WorldModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Roll:
    """n windows of h imagined steps.

    p_now         (n, h) probability that the event happens at that step, as told at that step
    hazard_first  (n, h) the first step's own hazard over the steps to come; p_first its P(within)
    scalars       {name: (n,)} and categories {name: (n, c)}: weighted by when the event is expected
    trust         (n, h)
    pixel_error   (n, h) mean squared error in grey levels, NaN where the real episode has ended
    """

    p_now: Floats
    hazard_first: Floats
    scalars: dict[str, Floats]
    categories: dict[str, Floats]
    trust: Floats
    pixel_error: Floats

    def p_within(self, steps: int) -> Floats:
        """P(event within 1 .. steps), (n, steps), from what each imagined step told."""
        return np.asarray(1 - np.cumprod(1 - self.p_now[:, :steps], axis=1), np.float64)

    @property
    def p_first(self) -> Floats:
        return np.asarray(1 - np.cumprod(1 - self.hazard_first, axis=1), np.float64)


def roll_windows(
    model: WorldModel[Any],
    cache: FrameCache,
    rows: NDArray[np.int64],
    context: int,
    horizon: int,
    event: str,
    batch: int,
) -> Roll:
    """Roll the windows that start at `rows` (n,), `batch` at a time; the noise of a window comes from its row."""
    parts = [_roll(model, cache, rows[i : i + batch], context, horizon, event) for i in range(0, len(rows), batch)]

    def joined(pick: Any) -> Any:
        return np.concatenate([pick(part) for part in parts])

    return Roll(
        p_now=joined(lambda r: r.p_now),
        hazard_first=joined(lambda r: r.hazard_first),
        scalars={name: joined(lambda r, n=name: r.scalars[n]) for name in parts[0].scalars},
        categories={name: joined(lambda r, n=name: r.categories[n]) for name in parts[0].categories},
        trust=joined(lambda r: r.trust),
        pixel_error=joined(lambda r: r.pixel_error),
    )


def _roll(
    model: WorldModel[Any], cache: FrameCache, rows: NDArray[np.int64], context: int, horizon: int, event: str
) -> Roll:
    at = rows[:, None] + np.arange(context + 1)
    left = cache.steps_left[rows + context]  # steps on record after the present one
    ahead = (rows + context)[:, None] + np.minimum(np.arange(horizon), left[:, None])
    actions = torch.from_numpy(cache.actions[ahead])
    state = model.start(
        {c: torch.from_numpy(f[at]) for c, f in cache.frames.items()},
        torch.from_numpy(cache.actions[at[:, :-1]]),
        seed=torch.from_numpy(rows),
    )
    camera, film = next(iter(cache.frames.items()))
    told: list[Prediction] = []
    errors = []
    for t in range(horizon):
        state, prediction = model.step(state, actions[:, t])
        real = film[np.minimum(rows + context + t + 1, len(film) - 1)]
        errors.append(np.where(t <= left, mse(real, prediction.frames[camera].numpy()), np.nan))
        told.append(prediction)
    return _told(model, told, np.stack(errors, axis=1), event, horizon)


def _told(
    model: WorldModel[Any], told: list[Prediction], pixel_error: Floats, event: str, horizon: int
) -> Roll:  # fmt: skip
    p_now = np.stack([p.outcomes.hazard[event][:, 0].double().numpy() for p in told], axis=1)
    survives = np.cumprod(np.concatenate([np.ones((len(p_now), 1)), 1 - p_now[:, :-1]], axis=1), axis=1)
    weight = p_now * survives
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-12)
    given = [s for s in model.spec.outcomes if s.given == event]
    median = QUANTILES.index(0.5)
    scalars = {
        s.name: (weight * np.stack([p.outcomes.scalars[s.name][:, median].numpy() for p in told], axis=1)).sum(1)
        for s in given
        if s.kind == "scalar"
    }
    categories = {
        s.name: np.einsum("nt,ntc->nc", weight, np.stack([p.outcomes.categories[s.name].numpy() for p in told], axis=1))
        for s in given
        if s.kind == "category"
    }
    first = told[0].outcomes.hazard[event].double().numpy()
    hazard_first = np.pad(first, ((0, 0), (0, max(0, horizon - first.shape[1]))))[:, :horizon]
    trust = np.stack([p.trust.double().numpy() for p in told], axis=1)
    return Roll(p_now, hazard_first, scalars, categories, trust, pixel_error)
