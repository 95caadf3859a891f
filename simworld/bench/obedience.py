"""Does a picture still obey? Films that go on under recorded actions, and how well those are read off the frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.bench.films import PROBE_FRAMES, thinned
from simworld.data.cache import FrameCache
from simworld.metrics.probe import Probe, ProbeConfig, fit_probe
from simworld.world_model import WorldModel

Film = NDArray[np.uint8]


def fit_control_probe(cache: FrameCache, config: ProbeConfig) -> Probe:
    """An inverse-dynamics probe: three frames to the action between the last two."""
    rows = thinned(np.flatnonzero(cache.steps_left >= PROBE_FRAMES - 1), 3)
    at = rows[:, None] + np.arange(PROBE_FRAMES)
    names = [f"action_{i}" for i in range(cache.spec.action.size)]
    groups = np.searchsorted(cache.first_row, rows, side="right")
    frames = next(iter(cache.frames.values()))[at]
    return fit_probe(frames, cache.actions[at[:, -2]], names, seed=1, groups=groups, config=config)


def some_actions(cache: FrameCache, films: int, steps: int, seed: int) -> NDArray[np.float32]:
    """Recorded actions (films, steps, a), each film's from one stretch of an episode."""
    rows = np.flatnonzero(cache.steps_left >= steps)
    chosen = np.random.default_rng(seed).choice(rows, films)
    return cache.actions[chosen[:, None] + np.arange(steps)]


def goes_on(model: WorldModel[Any], state: Any, actions: NDArray[np.float32]) -> Film:
    """The first camera's film (b, t, h, w, 3) of a state under actions (b, t, a)."""
    frames = []
    for t in range(actions.shape[1]):
        state, prediction = model.step(state, torch.from_numpy(actions[:, t]))
        frames.append(next(iter(prediction.frames.values())).numpy())
    return np.stack(frames, axis=1)


def actions_read(probe: Probe, film: Film, actions: NDArray[np.float32]) -> dict[str, float | None]:
    """R2 of the actions (b, t, a) that lead to each but the first frames of a film (b, t + 1, h, w, 3)."""
    steps = range(PROBE_FRAMES - 1, film.shape[1])
    seen = probe.predict(np.concatenate([film[:, i - PROBE_FRAMES + 1 : i + 1] for i in steps]))
    truth = np.concatenate([actions[:, i - 1] for i in steps])
    return {name: r_squared(truth[:, i], seen[:, i]) for i, name in enumerate(probe.names)}


def r_squared(truth: NDArray[Any], predicted: NDArray[Any]) -> float | None:
    """Share of the variance of `truth` (n,) that is explained; None where it has none."""
    spread = float(np.square(truth - truth.mean()).sum())
    return 1 - float(np.square(truth - predicted).sum()) / spread if spread > 0 else None
