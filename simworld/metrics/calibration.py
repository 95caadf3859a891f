"""How far predicted outcomes can be trusted: ranking, calibration, anticipation and quantiles.

Labels are 0 or 1, scores and probabilities are numbers of the same length (n,). A number that the data can not give
raises ValueError with a sentence; `bootstrap` and `auroc_delong` turn that sentence into an `Estimate` without value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simworld.metrics.statistics import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OperatingPoint:
    """What a detector does when it fires at `score >= threshold`; the threshold is infinite when it must never fire."""

    recall: float
    false_positive_rate: float
    threshold: float


@dataclass(frozen=True)
class Reliability:
    """Points of a reliability diagram, one per bin (m,), in rising order of predicted probability."""

    p_mean: Floats
    frequency: Floats
    count: NDArray[np.int64]


@dataclass(frozen=True)
class Anticipation:
    """How well an event is seen coming `lead_s` before it: positives are moments at that lead, negatives calm ones."""

    lead_s: float
    average_precision: float
    recall: float
    false_alarm_rate: float
    threshold: float
    num_positive: int
    num_negative: int


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """P(score of a positive > score of a negative), ties counting half (Mann-Whitney)."""
    y, s = _binary(labels, scores, both_classes=True)
    num_positive = int(y.sum())
    num_negative = len(y) - num_positive
    return float((_mean_ranks(s)[y].sum() - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def auroc_delong(labels: ArrayLike, scores: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """AUROC with DeLong's interval (DeLong et al. 1988) for independent samples, clipped to [0, 1].

    Windows of one episode are not independent: use `bootstrap` with `groups` for those.
    """
    try:
        y, s = _binary(labels, scores, both_classes=True)
    except ValueError as error:
        return Estimate(None, reason=str(error))
    positive, negative = s[y], s[~y]
    m, n = len(positive), len(negative)
    if min(m, n) < 2:
        return Estimate(auroc(y, s), reason="an interval needs two positives and two negatives")
    # Structural components from mid-ranks (Sun and Xu 2014, "Fast implementation of DeLong's algorithm").
    ranks = _mean_ranks(np.concatenate([positive, negative]))
    v_positive = (ranks[:m] - _mean_ranks(positive)) / n
    v_negative = 1 - (ranks[m:] - _mean_ranks(negative)) / m
    value = float(v_positive.mean())
    half = _z(confidence) * np.sqrt(v_positive.var(ddof=1) / m + v_negative.var(ddof=1) / n)
    return Estimate(value, float(max(0.0, value - half)), float(min(1.0, value + half)))


def bootstrap(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    rng: np.random.Generator,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    num_resamples: int = 1000,
) -> Estimate:
    """`statistic(*arrays)` with a percentile interval over resampled rows, or over resampled `groups` of rows.

    arrays  each (n, ...), resampled together along the first axis
    groups  (n,) id of what is drawn as one piece, usually the episode: rows of one episode share their luck
    """
    data = [np.asarray(a) for a in arrays]
    try:
        value = float(statistic(*data))
    except ValueError as error:
        return Estimate(None, reason=str(error))
    n = len(data[0])
    ids = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].ravel()
    if len(ids) != n:
        raise ValueError(f"groups must name one id per row, got {len(ids)} for {n} rows")
    members = np.split(np.argsort(ids, kind="stable"), np.cumsum(np.bincount(ids))[:-1])
    draws = []
    for _ in range(num_resamples):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])
        try:
            draws.append(float(statistic(*[a[rows] for a in data])))
        except ValueError:  # a resample may lack one class
            continue
    if len(draws) < num_resamples / 2 or len(members) < 2:
        return Estimate(value, reason="too few events to resample")
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(value, float(low), float(high))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Sum over thresholds of precision times the gain in recall, not interpolated; it depends on the base rate."""
    y, s = _binary(labels, scores, both_classes=False)
    if not y.any():
        raise ValueError("average precision needs at least one positive")
    true_positives, false_positives, _ = _sweep(y, s)
    recall = true_positives / y.sum()
    precision = true_positives / (true_positives + false_positives)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def recall_at_fpr(labels: ArrayLike, scores: ArrayLike, max_false_positive_rate: float) -> OperatingPoint:
    """The most sensitive threshold whose false-positive rate does not exceed the bound (equal scores fire together)."""
    y, s = _binary(labels, scores, both_classes=True)
    true_positives, false_positives, thresholds = _sweep(y, s)
    rates = false_positives / (~y).sum()
    allowed = np.flatnonzero(rates <= max_false_positive_rate)
    if allowed.size == 0:
        return OperatingPoint(0.0, 0.0, float("inf"))
    best = allowed[-1]
    return OperatingPoint(float(true_positives[best] / y.sum()), float(rates[best]), float(thresholds[best]))


def brier(labels: ArrayLike, p: ArrayLike) -> float:
    """Mean squared error of a probability (Brier 1950); 0 is best, always saying the base rate b gives b (1 - b)."""
    y, q = _binary(labels, p, both_classes=False, probability=True)
    return float(np.mean((q - y) ** 2))


def reliability(labels: ArrayLike, p: ArrayLike, *, num_bins: int = 15, weight: ArrayLike | None = None) -> Reliability:
    """Predicted against observed frequency in bins of equal mass: p sorted, cut into num_bins pieces of equal count.

    weight (n,) says how often each occurs, where some were drawn more often than they do; counts are of those drawn.
    """
    y, q = _binary(labels, p, both_classes=False, probability=True)
    w = np.ones(len(q)) if weight is None else np.asarray(weight, np.float64)
    if w.shape != q.shape or not (w > 0).all():
        raise ValueError(f"weight must be positive and of shape {q.shape}, got {w.shape}")
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    order = np.argsort(q, kind="stable")
    # A bin boundary must not part equal predictions, or the order of the input would change the answer.
    cuts = np.unique(np.searchsorted(q[order], q[order][[piece[0] for piece in _pieces(len(q), num_bins)]]))
    bins = np.split(order, cuts[1:])
    return Reliability(
        p_mean=np.array([np.average(q[b], weights=w[b]) for b in bins]),
        frequency=np.array([np.average(y[b], weights=w[b]) for b in bins]),
        count=np.array([len(b) for b in bins], np.int64),
    )


def expected_calibration_error(labels: ArrayLike, p: ArrayLike, *, num_bins: int = 15) -> float:
    """Mean gap between predicted and observed frequency over equal-mass bins, weighted by their count."""
    r = reliability(labels, p, num_bins=num_bins)
    return float(np.sum(r.count * np.abs(r.p_mean - r.frequency)) / r.count.sum())


def anticipation(
    p_event: ArrayLike,
    time_to_event_s: ArrayLike,
    *,
    leads_s: tuple[float, ...] = (0.5, 1.0, 1.5),
    max_false_alarm_rate: float = 0.05,
    tolerance_s: float = 0.05,
    calm_s: float = 3.0,
) -> tuple[Anticipation, ...]:
    """Average precision, and recall at a bounded false-alarm rate, at fixed leads before the event.

    p_event          (n,) predicted probability, or any score, at n moments
    time_to_event_s  (n,) true time until the event, infinity where none follows
    A moment is positive for a lead when its time to event lies within `tolerance_s` of it, negative when no event
    follows within `calm_s`; other moments are left out. A lead without positives or negatives raises ValueError.
    """
    score, time_s = np.asarray(p_event, np.float64), np.asarray(time_to_event_s, np.float64)
    if score.shape != time_s.shape or score.ndim != 1:
        raise ValueError(f"p_event and time_to_event_s must share one shape (n,), got {score.shape} and {time_s.shape}")
    calm = time_s > calm_s
    found = []
    for lead_s in leads_s:
        near = np.abs(time_s - lead_s) <= tolerance_s + 1e-9
        if not near.any() or not calm.any():
            raise ValueError(f"anticipation at {lead_s} s needs moments at that lead and moments without an event")
        labels, scores = np.r_[np.ones(near.sum()), np.zeros(calm.sum())], np.r_[score[near], score[calm]]
        point = recall_at_fpr(labels, scores, max_false_alarm_rate)
        precision = average_precision(labels, scores)
        counts = int(near.sum()), int(calm.sum())
        found.append(Anticipation(lead_s, precision, point.recall, point.false_positive_rate, point.threshold, *counts))
    return tuple(found)


def pinball_loss(truth: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> float:
    """Mean quantile loss: level * (y - q) above, (1 - level) * (q - y) below.

    truth (n,), quantiles (n, m) at `levels` (m,).
    """
    y, q, levels = _quantile_arrays(truth, quantiles, levels)
    gap = y[:, None] - q
    return float(np.mean(np.maximum(levels * gap, (levels - 1) * gap)))


def quantile_coverage(truth: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> Floats:
    """Share of truths at or below each quantile, (m,); equals `levels` when calibrated. Shapes as in `pinball_loss`."""
    y, q, _ = _quantile_arrays(truth, quantiles, levels)
    return np.asarray((y[:, None] <= q).mean(0), np.float64)


def rank_correlation(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Spearman's correlation of two (n,) arrays, ties sharing their mean rank."""
    a, b = _pair(truth, predicted)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        raise ValueError("rank correlation needs at least three pairs and values that differ")
    return float(np.corrcoef(_mean_ranks(a), _mean_ranks(b))[0, 1])


def median_relative_error(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Median of |predicted - truth| / |truth| over pairs with truth other than 0."""
    a, b = _pair(truth, predicted)
    known = a != 0
    if not known.any():
        raise ValueError("relative error needs a truth other than 0")
    return float(np.median(np.abs(b[known] - a[known]) / np.abs(a[known])))


def _sweep(y: NDArray[np.bool_], s: Floats) -> tuple[Floats, Floats, Floats]:
    """Cumulative true and false positives at each distinct score, from the highest down, and those scores."""
    order = np.argsort(-s, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(s[order]) != 0, True])
    true_positives = np.cumsum(y[order])[last].astype(np.float64)
    return true_positives, last + 1 - true_positives, s[order][last]


def _mean_ranks(x: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[inverse.ravel()]


def _pieces(n: int, num_bins: int) -> list[NDArray[np.int64]]:
    return [piece for piece in np.array_split(np.arange(n), num_bins) if piece.size]


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise ValueError(f"two lists of one length are needed, got shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("values hold NaN or infinity")
    return x, y


def _binary(
    labels: ArrayLike, scores: ArrayLike, *, both_classes: bool, probability: bool = False
) -> tuple[NDArray[np.bool_], Floats]:
    y, s = _pair(labels, scores)
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    if probability and (s.min() < 0 or s.max() > 1):
        raise ValueError("probabilities must lie in [0, 1]")
    if both_classes and (y.min() == 1 or y.max() == 0):
        raise ValueError(f"both classes are needed, got {int(y.sum())} positives of {len(y)}")
    return y.astype(bool), s


def _quantile_arrays(truth: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    y, q, tau = (np.asarray(a, np.float64) for a in (truth, quantiles, levels))
    if y.ndim != 1 or q.shape != (len(y), tau.size) or y.size == 0:
        raise ValueError(f"quantiles must have shape (n, m) for n truths and m levels, got {q.shape}")
    return y, q, tau.reshape(-1)


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
