"""Placement: is the vehicle ahead where the model was told, as a probe reads it off the imagined frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.bench.films import PROBE_FRAMES, imagine, thinned
from simworld.data.cache import FrameCache
from simworld.data.windows import WindowSampler
from simworld.metrics.probe import Probe, ProbeConfig, fit_probe
from simworld.metrics.statistics import mean_estimate
from simworld.scenario import ACTOR_CLASSES
from simworld.world_model import WorldModel

GAP = "gap_m"
VEHICLES = ("car", "van", "bus", "truck", "tank", "motorcycle")


@dataclass(frozen=True)
class PlacementConfig:
    """`films` windows of `context` real actions with a vehicle at `near_m` to `far_m` ahead `horizon` steps later.

    Ahead is whoever lies at most `beside_m` to the left or right.
    A pixel is 2 % of the distance at 13 m and 5 % at 30 m, so farther ones can not be placed to a metre.
    """

    films: int = 64
    context: int = 8
    horizon: int = 30
    near_m: float = 3.0
    far_m: float = 20.0
    beside_m: float = 2.0
    seed: int = 0
    probe: ProbeConfig = ProbeConfig(steps=1500)


def placement(
    model: WorldModel[Any], data: FrameCache, heldout: FrameCache, config: PlacementConfig | None = None
) -> dict[str, Any] | None:
    """Mean distance in m between the gap that a probe reads and the true one, with its interval: on frames imagined
    when told of the actors (`told_m`) and when not (`untold_m`), and on the real frames (`real_m`), which is as well
    as the probe can do. None where the data has no such windows.
    """
    config = config or PlacementConfig()
    if GAP not in data.spec.state_names or not model.max_actors:
        return None
    column = data.spec.state_names.index(GAP)
    rows = _windows(heldout, column, config)
    probe = _fit(data, column, config)
    if not len(rows) or probe is None or probe.fit is None:
        return None
    k, h = config.context, config.horizon
    batch = WindowSampler(heldout, steps=k + h, batch=len(rows), seed=0).gather(rows)
    camera = next(iter(batch.frames))
    truth = batch.state[:, k + h, column].numpy()
    real = batch.frames[camera].numpy()
    found: dict[str, Any] = {"num": len(rows), "probe_r2": probe.fit.held_out_r2[GAP]}
    for name, told in (("told_m", True), ("untold_m", False)):
        film = np.concatenate([real[:, : k + 1], imagine(model, batch, k, told=told)[camera]], axis=1)
        found[name] = _error(probe, film, truth)
    return found | {"real_m": _error(probe, real, truth)}


def _error(probe: Probe, film: NDArray[np.uint8], truth: NDArray[np.float32]) -> dict[str, float | None]:
    found = mean_estimate(np.abs(probe.predict(film[:, -PROBE_FRAMES:])[:, 0] - truth))
    return {"value": found.value, "low": found.low, "high": found.high}


def _near(cache: FrameCache, rows: NDArray[np.int64], column: int, config: PlacementConfig) -> NDArray[np.bool_]:
    gap = cache.state[rows, column]
    return (gap >= config.near_m) & (gap <= config.far_m)


def _behind_a_vehicle(cache: FrameCache, rows: NDArray[np.int64], config: PlacementConfig) -> NDArray[np.bool_]:
    """Whether who is next ahead in these rows is a vehicle, and no cyclist or pedestrian."""
    kind, x, y = (cache.actors[rows][..., i] for i in range(3))
    ahead = np.where((x > 0) & (np.abs(y) <= config.beside_m), x, np.inf)  # NaN, of nobody, is not
    first = ahead.argmin(axis=1)[:, None]
    kind = np.take_along_axis(kind, first, axis=1)[:, 0]
    found = np.isfinite(np.take_along_axis(ahead, first, axis=1)[:, 0])
    return found & np.isin(kind, [ACTOR_CLASSES.index(name) for name in VEHICLES])


def _windows(cache: FrameCache, column: int, config: PlacementConfig) -> NDArray[np.int64]:
    """Starts of windows, no two from one episode."""
    length = config.context + config.horizon
    rows = np.flatnonzero(cache.steps_left >= length - 1)
    rows = rows[_near(cache, rows + length, column, config)]
    rows = rows[_behind_a_vehicle(cache, rows + length, config)]
    rows = np.random.default_rng(config.seed).permutation(rows)
    _, first = np.unique(np.searchsorted(cache.first_row, rows, side="right"), return_index=True)
    return np.sort(rows[np.sort(first)][: config.films])


def _fit(cache: FrameCache, column: int, config: PlacementConfig) -> Probe | None:
    """A probe for near gaps alone."""
    rows = np.flatnonzero(cache.steps_left >= PROBE_FRAMES - 1)
    rows = thinned(rows[_near(cache, rows + PROBE_FRAMES - 1, column, config)])
    if not len(rows):
        return None
    at = rows[:, None] + np.arange(PROBE_FRAMES)
    camera = next(iter(cache.frames))
    groups = np.searchsorted(cache.first_row, rows, side="right")
    gap = cache.state[at[:, -1], column][:, None]
    return fit_probe(cache.frames[camera][at], gap, [GAP], seed=0, groups=groups, config=config.probe)
