"""Films of a held-out store: drawn, imagined from the true actions, and scored by pixels and by a state probe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.data.cache import FrameCache
from simworld.data.windows import Batch, WindowSampler
from simworld.metrics.probe import Probe, ProbeConfig, fit_probe
from simworld.metrics.video import psnr
from simworld.rolls import Opening
from simworld.world_model import WorldModel

PROBE_FRAMES = 3
PROBE_SAMPLES = 170_000  # that a probe is fitted on at most: they lie in memory


@dataclass(frozen=True)
class FidelityConfig:
    """`films` films of each seed, from `context` real actions on; horizons in frames; probed states by name."""

    films: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    context: int = 8
    horizons: tuple[int, ...] = (1, 10, 30, 50)
    probed: tuple[str, ...] = ("speed_mps", "lateral_m", "gap_m", "yaw_rate_radps")
    cap_gap_m: float = 79.0
    probe: ProbeConfig = ProbeConfig(steps=1500)


def draw_films(cache: FrameCache, config: FidelityConfig, seed: int) -> Batch:
    sampler = WindowSampler(cache, steps=config.context + max(config.horizons), batch=config.films, seed=seed)
    return sampler.gather(sampler.rows(0))


def imagine(model: WorldModel[Any], batch: Batch, context: int, *, told: bool = False) -> dict[str, NDArray[np.uint8]]:
    """Frames {camera: (b, t - context, h, w, 3)} that the model sees coming, given the true actions.

    `told`: the model is also given where the other actors will be.
    """
    opening = Opening(
        frames={c: f[:, : context + 1] for c, f in batch.frames.items()},
        actions=batch.actions[:, :context],
        ahead=batch.actions[:, context:],
        seed=torch.arange(len(batch.actions)),
        actors=batch.actors[:, 1:] if told else None,
    )
    frames = [prediction.frames for _, prediction in opening.imagined(model)]
    return {c: torch.stack([f[c] for f in frames], dim=1).numpy() for c in batch.frames}


def thinned(rows: NDArray[np.int64], every: int = 1) -> NDArray[np.int64]:
    """Every so manyth of the rows, or as many of them as a probe is fitted on at most."""
    return rows[:: max(every, math.ceil(len(rows) / PROBE_SAMPLES))]


def fit_state_probe(cache: FrameCache, names: Sequence[str], config: FidelityConfig) -> Probe:
    """A probe from three frames of the first camera to the named state, on frames of the training store."""
    camera = next(iter(cache.frames))
    rows = thinned(np.flatnonzero(cache.steps_left >= PROBE_FRAMES - 1), 3)
    at = rows[:, None] + np.arange(PROBE_FRAMES)
    columns = [cache.spec.state_names.index(n) for n in names]
    caps = {"gap_m": config.cap_gap_m} if "gap_m" in names else {}
    return fit_probe(
        cache.frames[camera][at],
        cache.state[at[:, -1]][:, columns],
        names,
        seed=0,
        groups=np.searchsorted(cache.first_row, rows, side="right"),
        caps=caps,
        config=config.probe,
    )


def score(
    batch: Batch,
    imagined: dict[str, NDArray[np.uint8]],
    probe: Probe | None,
    columns: list[int],
    config: FidelityConfig,
) -> dict[str, dict[int, float]]:
    """{"psnr" or a state's name: {horizon: mean over films}}."""
    k = config.context
    decibels = np.mean([psnr(f[:, k + 1 :].numpy(), imagined[c]).mean(0) for c, f in batch.frames.items()], axis=0)
    out = {"psnr": {h: float(decibels[h - 1]) for h in config.horizons}}
    if probe is None:
        return out
    camera = next(iter(batch.frames))
    film = np.concatenate([batch.frames[camera][:, : k + 1].numpy(), imagined[camera]], axis=1)
    errors: dict[str, dict[int, float]] = {n: {} for n in probe.names}
    for h in config.horizons:
        seen = film[:, k + h - PROBE_FRAMES + 1 : k + h + 1]
        truth = batch.state[:, k + h].numpy()[:, columns]
        for name, error in probe.mean_absolute_error(seen, truth).items():
            if error is not None:
                errors[name][h] = float(error)
    return out | errors


def table(scores: dict[str, list[dict[str, dict[int, float]]]]) -> dict[str, Any]:
    """Means over seeds as the report gives them, and their standard deviation under "spread"."""
    kinds = list(next(iter(scores.values()))[0])
    mean: dict[str, Any] = {"psnr": {}, "state_error": {k: {} for k in kinds if k != "psnr"}, "spread": {}}
    for name, runs in scores.items():
        for kind in kinds:
            values = {h: [run[kind][h] for run in runs if h in run[kind]] for h in runs[0][kind]}
            place = mean["psnr"] if kind == "psnr" else mean["state_error"][kind]
            place[name] = {str(h): round(float(np.mean(v)), 4) for h, v in values.items()}
            mean["spread"].setdefault(kind, {})[name] = {str(h): round(float(np.std(v)), 4) for h, v in values.items()}
    return mean
