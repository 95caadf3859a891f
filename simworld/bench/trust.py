"""Signs of a wrong frame: the head's expected error, disagreement of two noises, rare features, their mean rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from simworld.bench.films import PROBE_FRAMES
from simworld.bench.foresight import Floats, OutcomesConfig, Windows, estimates
from simworld.data.cache import FrameCache
from simworld.metrics import calibration
from simworld.metrics.probe import Probe
from simworld.metrics.video import mse
from simworld.rolls import Opening
from simworld.world_model import WorldModel

OTHER_NOISE = 1 << 40  # added to a stream's seed
WORST_SHARE = 0.2
CANDIDATES = ("head", "disagreement", "density", "mean_rank")
NUM_RESAMPLES = 100  # of many large samples


@dataclass(frozen=True)
class Density:
    """A normal distribution in the main directions of features of ordinary steps."""

    mean: Floats
    whiten: Floats

    @classmethod
    def fit(cls, features: Floats, directions: int = 32) -> Density:
        """To features (m, d) of steps whose past was real."""
        mean = features.mean(0)
        _, spread, basis = np.linalg.svd(features - mean, full_matrices=False)
        kept = min(directions, int((spread > 1e-6 * spread[0]).sum()))
        return cls(mean, basis[:kept].T * (np.sqrt(len(features)) / spread[:kept]))

    def distance(self, features: Floats) -> Floats:
        """Mahalanobis distance (...) of features (..., d) in those directions."""
        return np.asarray(np.linalg.norm((features - self.mean) @ self.whiten, axis=-1), np.float64)


@dataclass(frozen=True)
class Signs:
    """Of n windows of h imagined steps: how suspicious every sign is (n, h), and how wrong the step really was.

    probe_error is over the probed states in units of their spread, pixel_error in grey levels; NaN where no truth is.
    """

    episode: NDArray[np.int64]
    by_name: dict[str, Floats]
    probe_error: Floats | None
    pixel_error: Floats

    @property
    def error(self) -> Floats:
        return self.pixel_error if self.probe_error is None else self.probe_error

    def beside(self, other: Signs) -> Signs:
        """Both sets as one."""

        def both(a: Floats, b: Floats) -> Floats:
            return np.concatenate([a, b])

        probe = None
        if self.probe_error is not None and other.probe_error is not None:
            probe = both(self.probe_error, other.probe_error)
        return Signs(
            np.concatenate([self.episode, other.episode + self.episode.max() + 1]),
            {name: both(a, other.by_name[name]) for name, a in self.by_name.items()},
            probe,
            both(self.pixel_error, other.pixel_error),
        )


@contextmanager
def features_read(model: WorldModel[Any]) -> Iterator[list[Tensor]]:
    """Collects the features (b, d) that the model's outcome heads read, call by call."""
    seen: list[Tensor] = []
    hook = model.heads.register_forward_pre_hook(lambda module, given: seen.append(given[0].detach()))
    try:
        yield seen
    finally:
        hook.remove()


def ordinary(model: WorldModel[Any], cache: FrameCache, rows: NDArray[np.int64], config: OutcomesConfig) -> Density:
    """The density of features at the first imagined step of windows of the training data."""
    with features_read(model) as seen:
        for i in range(0, len(rows), config.batch):
            opening = Opening.of(cache, rows[i : i + config.batch], config.context, 1)
            for _ in opening.imagined(model):
                pass
    return Density.fit(torch.cat(seen).double().numpy())


def signs_of(
    model: WorldModel[Any],
    cache: FrameCache,
    windows: Windows,
    probe: Probe | None,
    density: Density,
    config: OutcomesConfig,
) -> Signs:
    """Imagine the windows; every step is also taken with other noise from the same state."""
    numbers = np.arange(len(windows.rows))
    batches = [windows.part(numbers[i : i + config.batch]) for i in range(0, len(numbers), config.batch)]
    parts = [_signs(model, cache, batch, probe, density, config) for batch in batches]
    return Signs(
        windows.episode,
        {name: np.concatenate([p.by_name[name] for p in parts]) for name in parts[0].by_name},
        None if probe is None else np.concatenate([p.probe_error for p in parts if p.probe_error is not None]),
        np.concatenate([p.pixel_error for p in parts]),
    )


def _signs(
    model: WorldModel[Any],
    cache: FrameCache,
    windows: Windows,
    probe: Probe | None,
    density: Density,
    config: OutcomesConfig,
) -> Signs:
    opening = Opening.of(cache, windows.rows, config.context, config.horizon)
    camera = next(iter(cache.frames))
    frames, trust, features, apart = [], [], [], []
    with features_read(model) as seen:
        for t, (before, prediction) in enumerate(opening.imagined(model)):
            features.append(seen[-1].double().numpy())
            other = dataclasses.replace(before, seed=before.seed + OTHER_NOISE)
            _, again = model.step(other, opening.ahead[:, t])
            frames.append(prediction.frames[camera].numpy())
            apart.append(mse(frames[-1], again.frames[camera].numpy()))
            trust.append(prediction.trust.double().numpy())
            seen.clear()
    film = np.stack(frames, axis=1)
    shape = film.shape[:2]
    signs = {
        "head": 1 - np.stack(trust, axis=1),
        "disagreement": np.stack(apart, axis=1),
        "density": density.distance(np.stack(features, axis=1)),
        "steps_imagined": np.broadcast_to(np.arange(shape[1], dtype=np.float64), shape),
    }
    real, left = _real(cache, windows, config)
    known = np.arange(shape[1]) <= left[:, None]
    pixels = np.where(known, np.stack([mse(real[:, t], film[:, t]) for t in range(shape[1])], axis=1), np.nan)
    return Signs(
        windows.episode,
        signs,
        None if probe is None else _probe_error(probe, cache, windows, film, known, config),
        pixels,
    )


def _real(cache: FrameCache, windows: Windows, config: OutcomesConfig) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Real frames (n, h, height, width, 3) beside the imagined ones, and how many steps after the present are real."""
    film, present = next(iter(cache.frames.values())), windows.rows + config.context
    ahead = present[:, None] + 1 + np.arange(config.horizon)
    return film[np.minimum(ahead, len(film) - 1)], cache.steps_left[present]


def _probe_error(
    probe: Probe,
    cache: FrameCache,
    windows: Windows,
    film: NDArray[np.uint8],
    known: NDArray[np.bool_],
    config: OutcomesConfig,
) -> Floats:
    """Mean over states of |read off imagined frames - true| in units of the state's spread, (n, h)."""
    present = windows.rows + config.context
    past = present[:, None] + np.arange(2 - PROBE_FRAMES, 1)
    whole = np.concatenate([next(iter(cache.frames.values()))[past], film], axis=1)
    columns = [cache.spec.state_names.index(name) for name in probe.names]
    errors = []
    for t in range(film.shape[1]):
        truth = cache.state[np.minimum(present + t + 1, len(cache.state) - 1)][:, columns]
        error = np.abs(probe.predict(whole[:, t : t + PROBE_FRAMES]) - truth) / probe.std
        capped = truth >= np.array([probe.caps.get(name, np.inf) for name in probe.names])
        counted = ~capped & np.isfinite(truth)
        total = np.where(counted, error, 0).sum(1) / np.maximum(counted.sum(1), 1)
        errors.append(np.where(counted.any(1), total, np.nan))
    return np.where(known, np.stack(errors, axis=1), np.nan)


def compare(signs: Signs, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """AUROC of every sign for the worst fifth of the steps, with intervals over episodes.

    `NAME_at_equal_age` asks among steps equally far from the present, where a sign that only grows with time is
    blind; `NAME_of_pixels` takes the worst fifth by pixel error.
    """
    few = dataclasses.replace(config, num_resamples=min(config.num_resamples, NUM_RESAMPLES))
    aged = Signs(
        signs.episode,
        {name: _rank_by_step(value, signs.error) for name, value in signs.by_name.items()},
        None,
        _rank_by_step(signs.error, signs.error),
    )
    found = _aurocs(signs, signs.error, "", few, rng) | _aurocs(aged, aged.pixel_error, "_at_equal_age", few, rng)
    return found | (_aurocs(signs, signs.pixel_error, "_of_pixels", few, rng) if signs.probe_error is not None else {})


def _aurocs(
    signs: Signs, error: Floats, suffix: str, config: OutcomesConfig, rng: np.random.Generator
) -> dict[str, Any]:
    known = np.isfinite(error)
    bad = error[known] >= np.quantile(error[known], 1 - WORST_SHARE)
    episode = np.broadcast_to(signs.episode[:, None], known.shape)[known]
    scores = {name: value[known] for name, value in signs.by_name.items()}
    scores["mean_rank"] = np.mean([rankdata(scores[n]) for n in CANDIDATES[:-1]], axis=0)
    return estimates({f"{n}{suffix}": (calibration.auroc, episode, bad, s) for n, s in scores.items()}, config, rng)


def _rank_by_step(value: Floats, error: Floats) -> Floats:
    """Every column's values as ranks within (0, 1], NaN where `error` is unknown."""
    ranks = np.full(value.shape, np.nan)
    for t in range(value.shape[1]):
        known = np.isfinite(error[:, t])
        if known.any():
            ranks[known, t] = rankdata(value[known, t]) / known.sum()
    return ranks
