"""Rolls: what a world model foretells from real contexts when the true coming actions are imagined forward."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.data.cache import FrameCache
from simworld.model.outcomes import QUANTILES, OutcomePrediction
from simworld.model.pooling import pooled
from simworld.world_model import Prediction, WorldModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Opening:
    """Where imagination begins and what is then done: b contexts of k actions, and h actions ahead.

    frames {camera: uint8 (b, k+1, h, w, 3)}, actions (b, k, a), ahead (b, h, a), seed int64 (b,);
    actors (b, k + h, n, 9) of every frame but the first, where the model shall be told of them
    present (b, n, 9), the actors at the present, where it shall not have to see who is there, but foresee what comes
    """

    frames: dict[str, Tensor]
    actions: Tensor
    ahead: Tensor
    seed: Tensor
    actors: Tensor | None = None
    present: Tensor | None = None

    @classmethod
    def of(
        cls,
        cache: FrameCache,
        rows: NDArray[np.int64],
        context: int,
        horizon: int,
        seeds: NDArray[np.int64] | None = None,
        *,
        told: bool = False,
    ) -> Opening:
        """Windows that start at `rows` (b,); past an episode's end its last action is held.

        Noise comes from `seeds`, or from the rows. Where it is `told`, the model knows who is there at the present.
        """
        at = rows[:, None] + np.arange(context + 1)
        left = cache.steps_left[rows + context]  # steps on record after the present one
        ahead = (rows + context)[:, None] + np.minimum(np.arange(horizon), left[:, None])
        return cls(
            frames={c: torch.from_numpy(f[at]) for c, f in cache.frames.items()},
            actions=torch.from_numpy(cache.actions[at[:, :-1]]),
            ahead=torch.from_numpy(cache.actions[ahead]),
            seed=torch.from_numpy(rows if seeds is None else seeds),
            present=torch.from_numpy(cache.actors[at[:, -1]]) if told else None,
        )

    def to(self, device: torch.device | str) -> Opening:
        """The same on another device."""
        frames = {c: f.to(device) for c, f in self.frames.items()}
        actors, present = (None if x is None else x.to(device) for x in (self.actors, self.present))
        return Opening(frames, self.actions.to(device), self.ahead.to(device), self.seed.to(device), actors, present)

    def imagined(self, model: WorldModel[Any]) -> Iterator[tuple[Any, Prediction]]:
        """Yield, step by step, the state that a step sets out from and what the model foretells of it."""
        k, actors = self.actions.shape[1], self.actors
        state = model.start(self.frames, self.actions, seed=self.seed, actors=None if actors is None else actors[:, :k])
        for t in range(self.ahead.shape[1]):
            before = state
            state, prediction = model.step(state, self.ahead[:, t], None if actors is None else actors[:, k + t])
            yield before, prediction

    def foreseen(self, model: WorldModel[Any]) -> Iterator[OutcomePrediction]:
        """Yield, step by step, what the model foretells when nobody asks for frames, and nobody tells of actors to
        come."""
        state = model.start(self.frames, self.actions, seed=self.seed)
        yield from model.foresee(state if self.present is None else model.aware(state, self.present), self.ahead)


@dataclass(frozen=True)
class Roll:
    """n windows of h imagined steps.

    p_now         (n, h) probability that the event happens at that step, as told at that step
    hazard_first  (n, h) the first step's own hazard over the steps to come; p_first its P(within)
    scalars       {name: (n,)} the median, and categories {name: (n, c)}: weighted by when the event is expected
    film          uint8 (n, h, height, width, 3) of the first camera, None unless asked for
    """

    p_now: Floats
    hazard_first: Floats
    scalars: dict[str, Floats]
    categories: dict[str, Floats]
    film: NDArray[np.uint8] | None = None

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
    *,
    seeds: NDArray[np.int64] | None = None,
    film: bool = False,
    told: bool = False,
    drawing: bool = True,
) -> Roll:
    """Roll the windows that start at `rows` (n,), `batch` at a time; noise comes from `seeds` (n,), else from rows.

    What comes is foreseen without `drawing` it where that is not wanted, or the model is `told` who is there at the
    present.
    """
    parts = []
    for i in range(0, len(rows), batch):
        part = slice(i, i + batch)
        opening = Opening.of(cache, rows[part], context, horizon, None if seeds is None else seeds[part], told=told)
        if told or not drawing:
            parts.append(_foretold(model, list(opening.foreseen(model)), event))
            continue
        every = [prediction for _, prediction in opening.imagined(model)]
        roll = _foretold(model, [prediction.outcomes for prediction in every], event)
        parts.append(replace(roll, film=_film(every)) if film else roll)

    def joined(pick: Any) -> Any:
        return np.concatenate([pick(part) for part in parts])

    return Roll(
        p_now=joined(lambda r: r.p_now),
        hazard_first=joined(lambda r: r.hazard_first),
        scalars={name: joined(lambda r, n=name: r.scalars[n]) for name in parts[0].scalars},
        categories={name: joined(lambda r, n=name: r.categories[n]) for name in parts[0].categories},
        film=joined(lambda r: r.film) if film else None,
    )


def _film(told: list[Prediction]) -> NDArray[np.uint8]:
    """The frames of the first camera, uint8 (n, h, height, width, 3)."""
    camera = next(iter(told[0].frames))
    return np.stack([p.frames[camera].numpy() for p in told], axis=1)


def _foretold(model: WorldModel[Any], told: list[OutcomePrediction], event: str) -> Roll:
    horizon = len(told)
    p_now = np.stack([p.hazard[event][:, 0].double().numpy() for p in told], axis=1)
    survives = np.cumprod(np.concatenate([np.ones((len(p_now), 1)), 1 - p_now[:, :-1]], axis=1), axis=1)
    weight = p_now * survives
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-12)
    given = [s for s in model.spec.outcomes if s.given == event]
    quantiles = {s.name: torch.stack([p.scalars[s.name] for p in told], 1) for s in given if s.kind == "scalar"}
    scalars = {
        name: pooled(values, torch.from_numpy(weight))[:, QUANTILES.index(0.5)].double().numpy()
        for name, values in quantiles.items()
    }
    categories = {
        s.name: np.einsum("nt,ntc->nc", weight, np.stack([p.categories[s.name].numpy() for p in told], axis=1))
        for s in given
        if s.kind == "category"
    }
    first = told[0].hazard[event].double().numpy()
    hazard_first = np.pad(first, ((0, 0), (0, max(0, horizon - first.shape[1]))))[:, :horizon]
    return Roll(p_now, hazard_first, scalars, categories)
