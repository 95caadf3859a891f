"""Does a picture still obey? Films that go on under recorded actions, and how well those are read off the frames.

A pedal shows in how fast the ego is before and after, and in a tenth of a second that is less than anybody can see. So
actions are read as their mean over a stretch, off two frames at its beginning and two at its end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.bench.films import thinned
from simworld.data.cache import FrameCache
from simworld.metrics.probe import Probe, ProbeConfig, fit_probe
from simworld.world_model import WorldModel

Film = NDArray[np.uint8]


def fit_control_probe(cache: FrameCache, steps: int, config: ProbeConfig) -> Probe:
    """An inverse-dynamics probe: the frames `at_ends` of so many steps to their mean action."""
    rows = thinned(np.flatnonzero(cache.steps_left >= steps), 3)
    names = [f"action_{i}" for i in range(cache.spec.action.size)]
    groups = np.searchsorted(cache.first_row, rows, side="right")
    frames = next(iter(cache.frames.values()))[rows[:, None] + at_ends(steps)]
    actions = cache.actions[rows[:, None] + np.arange(steps)].mean(1)
    return fit_probe(frames, actions, names, seed=1, groups=groups, config=config)


def at_ends(steps: int) -> NDArray[np.int64]:
    """Which frames of `steps` steps are looked at: the first two and the last two."""
    return np.array([0, 1, steps - 1, steps])


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


def actions_read(probe: Probe, film: Film, actions: NDArray[np.float32], steps: int) -> dict[str, float | None]:
    """R2 of the mean actions of every `steps` steps of a film (b, t + 1, h, w, 3) under actions (b, t, a)."""
    firsts = range(film.shape[1] - steps)
    seen = probe.predict(np.concatenate([film[:, i + at_ends(steps)] for i in firsts]))
    truth = np.concatenate([actions[:, i : i + steps].mean(1) for i in firsts])
    return {name: r_squared(truth[:, i], seen[:, i]) for i, name in enumerate(probe.names)}


def r_squared(truth: NDArray[Any], predicted: NDArray[Any]) -> float | None:
    """Share of the variance of `truth` (n,) that is explained; None where it has none."""
    spread = float(np.square(truth - truth.mean()).sum())
    return 1 - float(np.square(truth - predicted).sum()) / spread if spread > 0 else None
