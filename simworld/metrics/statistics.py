"""Statistics of a policy evaluation: rates, correlations, rank violation and bias, each with its uncertainty.

Nothing here returns NaN: what can not be had is None, and `reason` says why in a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Rows = NDArray[np.float64]
MIN_POLICIES = 3  # two points always lie on a line


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Rate:
    """`num_events` of `num_trials`, with the Wilson score interval [low, high]; None when there were no trials."""

    value: float | None
    low: float | None
    high: float | None
    num_events: int
    num_trials: int


@dataclass(frozen=True)
class Estimate:
    """A number and its interval; None with a `reason` where it can not be had."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class RankStatistic:
    """How well one number per policy agrees between two worlds.

    fisher_z   interval from Fisher's transform (correlations only; needs 4 policies)
    bootstrap  percentile interval over resampled policies
    drop_one   the lowest and highest value when one policy is left out
    reason     why something is missing; empty when nothing is
    """

    value: float | None
    fisher_z: Interval | None
    bootstrap: Interval | None
    drop_one: Interval | None
    num_policies: int
    reason: str = ""


def wilson(num_events: int, num_trials: int, *, confidence: float = 0.95) -> Rate:
    """Rate of a yes/no outcome with Wilson's score interval (Wilson 1927), honest at 0 and at 1 too.

    Raises ValueError unless 0 <= num_events <= num_trials.
    """
    if not 0 <= num_events <= num_trials:
        raise ValueError(f"num_events must lie in 0..{num_trials}, got {num_events}")
    if num_trials == 0:
        return Rate(None, None, None, 0, 0)
    z = _z(confidence)
    p, n = num_events / num_trials, num_trials
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # The bound at a rate of 0 or 1 is exactly 0 or 1; rounding must not leave it beside.
    low = 0.0 if num_events == 0 else max(0.0, centre - half)
    high = 1.0 if num_events == num_trials else min(1.0, centre + half)
    return Rate(p, float(low), float(high), num_events, num_trials)


def rate_difference(real: Rate, imagined: Rate) -> Estimate:
    """Signed bias of one rate, imagined - real, with Newcombe's hybrid score interval (Newcombe 1998, method 10).

    The two worlds are taken as independent samples, which is the cautious choice when starts are shared.
    """
    if real.value is None or imagined.value is None:
        return Estimate(None, reason="one of the worlds has no episodes")
    assert real.low is not None and real.high is not None and imagined.low is not None and imagined.high is not None
    bias = imagined.value - real.value
    below = np.hypot(imagined.value - imagined.low, real.high - real.value)
    above = np.hypot(imagined.high - imagined.value, real.value - real.low)
    return Estimate(bias, float(bias - below), float(bias + above))


def mean_estimate(values: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Mean of `values` (n,) with Student's t interval; NaN entries are left out."""
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if x.size == 0:
        return Estimate(None, reason="no values")
    mean = float(x.mean())
    if x.size == 1:
        return Estimate(mean, reason="one value has no interval")
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size))
    return Estimate(mean, mean - half, mean + half)


def pearson(
    real: ArrayLike,
    imagined: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 2000,
) -> RankStatistic:
    """Pearson's r of one number per policy, real (p,) and imagined (p,); Fisher-z error 1 / sqrt(p - 3)."""
    return _rank_statistic(_pearson_rows, lambda r: 1.0, real, imagined, rng, confidence, num_resamples)


def spearman(
    real: ArrayLike,
    imagined: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 2000,
) -> RankStatistic:
    """Spearman's rank correlation, real (p,) and imagined (p,), ties sharing their mean rank.

    Fisher-z error sqrt((1 + r^2 / 2) / (p - 3)) (Bonett and Wright 2000).
    """
    return _rank_statistic(
        _spearman_rows, lambda r: float(np.sqrt(1 + r**2 / 2)), real, imagined, rng, confidence, num_resamples
    )


def mmrv(
    real: ArrayLike,
    imagined: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 2000,
) -> RankStatistic:
    """Mean maximum rank violation (SIMPLER, Li et al. 2024), real (p,) and imagined (p,), 0 is best.

    A pair is violated when "i is strictly better than j" is true in one world and false in the other; its cost is
    the gap on the REAL side. Every policy contributes the worst cost among its pairs, and the mean is returned.
    """
    return _rank_statistic(_mmrv_rows, None, real, imagined, rng, confidence, num_resamples)


def signed_bias(
    real: ArrayLike,
    imagined: ArrayLike,
    *,
    rng: np.random.Generator,
    confidence: float = 0.95,
    num_resamples: int = 2000,
) -> Estimate:
    """Mean over policies of imagined - real, from tables (p policies, n starts), NaN where a run is missing.

    The interval is a crossed bootstrap: policies and starts are resampled independently, because all policies share
    the same starts and so share the luck of them.
    """
    real_pn, imagined_pn = np.asarray(real, np.float64), np.asarray(imagined, np.float64)
    if real_pn.shape != imagined_pn.shape or real_pn.ndim != 2:
        raise ValueError(f"tables must share one shape (p, n), got {real_pn.shape} and {imagined_pn.shape}")
    p, n = real_pn.shape
    value = float(_mean_gaps(real_pn, imagined_pn, np.ones((1, p)), np.ones((1, n)))[0])
    if not np.isfinite(value):
        return Estimate(None, reason="no policy has episodes in both worlds")
    # How often each policy and each start is drawn; equal to resampling indices, without the loop.
    times_policy = rng.multinomial(p, np.full(p, 1 / p), num_resamples).astype(np.float64)
    times_start = rng.multinomial(n, np.full(n, 1 / n), num_resamples).astype(np.float64)
    interval = _percentiles(_mean_gaps(real_pn, imagined_pn, times_policy, times_start), confidence)
    if interval is None:
        return Estimate(value, reason="too few episodes to resample")
    return Estimate(value, interval.low, interval.high)


def _mean_gaps(real_pn: Rows, imagined_pn: Rows, times_policy_kp: Rows, times_start_kn: Rows) -> Rows:
    """Mean over policies of the difference of their means, once for each of k weightings; NaN where undefined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        real_pk, imagined_pk = (
            (np.nan_to_num(table) @ times_start_kn.T) / (np.isfinite(table) @ times_start_kn.T)
            for table in (real_pn, imagined_pn)
        )
        gap_kp = (imagined_pk - real_pk).T
        weight_kp = np.where(np.isfinite(gap_kp), times_policy_kp, 0.0)
        return (np.nan_to_num(gap_kp) * weight_kp).sum(1) / weight_kp.sum(1)


def _rank_statistic(
    statistic: Callable[[Rows, Rows], Rows],
    fisher_scale: Callable[[float], float] | None,
    real: ArrayLike,
    imagined: ArrayLike,
    rng: np.random.Generator,
    confidence: float,
    num_resamples: int,
) -> RankStatistic:
    """Value and uncertainty of `statistic`, a function of two (..., p) arrays that is NaN where undefined."""
    x, y = np.asarray(real, np.float64), np.asarray(imagined, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"real and imagined must be two lists of one length, got {x.shape} and {y.shape}")
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    p = len(x)
    if p < MIN_POLICIES:
        return RankStatistic(None, None, None, None, p, f"needs at least {MIN_POLICIES} policies, there are {p}")
    value = float(statistic(x, y))
    if not np.isfinite(value):
        world = "real" if np.ptp(x) == 0 else "imagined"
        return RankStatistic(None, None, None, None, p, f"all {p} policies score the same in the {world} world")
    pick = rng.integers(0, p, (num_resamples, p))
    bootstrap = _percentiles(statistic(x[pick], y[pick]), confidence)
    left_out = np.array([np.delete(np.arange(p), i) for i in range(p)])
    kept = statistic(x[left_out], y[left_out]) if p > MIN_POLICIES else np.empty(0)
    kept = kept[np.isfinite(kept)]
    drop_one = Interval(float(kept.min()), float(kept.max())) if kept.size else None
    fisher = _fisher(value, p, fisher_scale(value), confidence) if fisher_scale else None
    reason = "" if p > MIN_POLICIES else f"{p} policies are too few for the Fisher-z interval and for leaving one out"
    return RankStatistic(value, fisher, bootstrap, drop_one, p, reason)


def _fisher(r: float, p: int, scale: float, confidence: float) -> Interval | None:
    if p < 4:
        return None
    if abs(r) >= 1.0:
        return Interval(r, r)
    half = _z(confidence) * scale / np.sqrt(p - 3)
    return Interval(float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half)))


def _percentiles(draws: Rows, confidence: float) -> Interval | None:
    """Percentile interval of the finite draws; None when most resamples were undefined."""
    known = draws[np.isfinite(draws)]
    if known.size < len(draws) / 2:
        return None
    low, high = np.quantile(known, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return float(stats.norm.ppf(0.5 + confidence / 2))


def _pearson_rows(x: Rows, y: Rows) -> Rows:
    flat = (np.ptp(x, axis=-1) == 0) | (np.ptp(y, axis=-1) == 0)
    dx, dy = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (dx * dy).sum(-1) / np.sqrt((dx**2).sum(-1) * (dy**2).sum(-1))
    # Rounding may push a perfect r past 1, where Fisher's transform ends.
    return np.where(flat, np.nan, np.clip(np.where(np.abs(r) > 1 - 1e-12, np.sign(r), r), -1, 1))


def _spearman_rows(x: Rows, y: Rows) -> Rows:
    return _pearson_rows(stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1))


def _mmrv_rows(real: Rows, imagined: Rows) -> Rows:
    better_real = real[..., :, None] > real[..., None, :]
    better_imagined = imagined[..., :, None] > imagined[..., None, :]
    gap = np.abs(real[..., :, None] - real[..., None, :])
    return np.where(better_real != better_imagined, gap, 0.0).max(-1).mean(-1)
