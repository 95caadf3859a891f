"""Foresight: the windows from which an event is to be foreseen, and how well it is: ranking, calibration, timing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.data.cache import FrameCache
from simworld.episode import EpisodeSpec
from simworld.metrics import calibration
from simworld.metrics.probe import ProbeConfig
from simworld.metrics.statistics import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class OutcomesConfig:
    """`context` real actions, then `horizon` imagined steps; `event_share` of the windows hold the event in them.

    trial_episodes, unseen_episodes,
    regardless_episodes               recorded in the simulator, where its env names such plans
    regardless_windows                windows of the last, whose actions were drawn
    trust_windows                     windows of each kind on which the signs of error are compared
    ordinary_windows                  windows of the training data whose features count as ordinary
    most_impacts                      real crashes that are imagined from 1 s before
    reference_windows                 windows, and reference_trials trials, that the slower reference imagines
    probed                            states of the probe, by which imagined frames are judged
    """

    context: int = 8
    horizon: int = 30
    event: str = "collision"
    event_share: float = 1 / 3
    batch: int = 32
    seed: int = 0
    num_resamples: int = 500
    probe: ProbeConfig = ProbeConfig(steps=600)
    probed: tuple[str, ...] = ("speed_mps", "lateral_m", "gap_m", "closing_mps")
    trial_episodes: int = 240
    unseen_episodes: int = 32
    regardless_episodes: int = 160
    regardless_windows: int = 800
    trust_windows: int = 256
    ordinary_windows: int = 384
    most_impacts: int = 400
    reference_windows: int = 64
    reference_trials: int = 20
    workers: int | None = None


@dataclass(frozen=True)
class Windows:
    """Rows (n,) at which windows start, their episodes, and steps from the present to the event (NEVER if none)."""

    rows: NDArray[np.int64]
    episode: NDArray[np.int64]
    to_event: NDArray[np.int64]

    def part(self, chosen: NDArray[Any]) -> Windows:
        """Some of the windows, by index or mask."""
        return Windows(self.rows[chosen], self.episode[chosen], self.to_event[chosen])


def main_event(spec: EpisodeSpec) -> str:
    """The event of which an env tells most: that to which most other outcomes are given, or else the first; ValueError
    where it declares none."""
    events = [o.name for o in spec.outcomes if o.kind == "event"]
    if not events:
        raise ValueError(f"{spec.env_id} declares no event, so that there is nothing to foresee")
    return max(events, key=lambda name: sum(o.given == name for o in spec.outcomes))


def draw_windows(cache: FrameCache, num: int, config: OutcomesConfig) -> tuple[Windows, float]:
    """Windows drawn without repeats, a share of them with the event ahead, and how often that is so in the store.

    Whether it comes must be on record: it does within the horizon, or the episode goes on that long without it. No
    event may lie in the context, where it would give itself away.
    """
    h = config.horizon
    usable = usable_windows(cache, config)
    rows, ahead = usable.rows, usable.to_event
    with_event = np.flatnonzero(ahead < h)
    without = np.flatnonzero(ahead >= h)
    if not len(with_event) or not len(without):
        raise ValueError(f"the store needs windows with and without {config.event!r}; record more episodes")
    rng = np.random.default_rng(config.seed)
    want = min(round(num * config.event_share), len(with_event))
    rest = min(num - want, len(without))
    chosen = np.sort(np.r_[rng.choice(with_event, want, replace=False), rng.choice(without, rest, replace=False)])
    return usable.part(chosen), len(with_event) / len(rows)


def usable_windows(cache: FrameCache, config: OutcomesConfig) -> Windows:
    """All windows of a store with a context free of the event, of which the whole horizon is known."""
    k, h = config.context, config.horizon
    to_event = cache.steps_to_event[config.event]
    rows = np.flatnonzero(cache.steps_left[: len(to_event) - k] >= k)
    ahead = to_event[rows + k]
    clean = to_event[rows] >= k
    usable = clean & ((ahead < h) | (cache.steps_left[rows + k] >= h - 1))
    return _windows(cache, rows[usable], ahead[usable])


def impact_windows(cache: FrameCache, config: OutcomesConfig, lead: int) -> Windows:
    """Windows of events that have a clean context, the present `lead` steps before the event's end."""
    to_event = cache.steps_to_event[config.event]
    happens = np.flatnonzero(to_event == 0)
    rows = happens - (lead - 1) - config.context
    inside = rows >= 0
    happens, rows = happens[inside], rows[inside]
    same = np.searchsorted(cache.first_row, rows, side="right") == np.searchsorted(
        cache.first_row, happens, side="right"
    )
    rows = rows[same & (to_event[rows] == config.context + lead - 1)]
    rows = np.sort(np.random.default_rng(config.seed).permutation(rows)[: config.most_impacts])
    return _windows(cache, rows, np.full(len(rows), lead - 1))


def _windows(cache: FrameCache, rows: NDArray[np.int64], to_event: NDArray[np.int64]) -> Windows:
    return Windows(rows, np.searchsorted(cache.first_row, rows, side="right") - 1, to_event)


def foreseen(
    drawn: Windows,
    p_within: Floats,
    p_now: Floats,
    base_rate: float,
    dt_s: float,
    config: OutcomesConfig,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Ranking, calibration and timing of p_within (n, horizon); p_now (n, horizon) is the hazard behind it."""
    second, whole = round(1 / dt_s), config.horizon
    soon, later = drawn.to_event < second, drawn.to_event < whole
    weight = how_often(later, base_rate)
    p = np.clip(p_within, 0, 1)
    due, timing = timing_errors_s(drawn, p_now, dt_s, config)
    measured = {
        "auroc_1s": (calibration.auroc, drawn.episode, soon, p[:, second - 1]),
        "auroc_3s": (calibration.auroc, drawn.episode, later, p[:, whole - 1]),
        "recall_at_5fpr_1s": (recall_at_5fpr, drawn.episode, soon, p[:, second - 1]),
        "recall_at_5fpr_3s": (recall_at_5fpr, drawn.episode, later, p[:, whole - 1]),
        "ece": (weighted_calibration_error, drawn.episode, later, p[:, whole - 1], weight),
        "ece_sample": (weighted_calibration_error, drawn.episode, later, p[:, whole - 1], np.ones(len(p))),
        "ttc_error_s": (_median, drawn.episode[due], np.abs(timing)),
    }
    return estimates(measured, config, rng)


def how_often(later: NDArray[np.bool_], base_rate: float) -> Floats:
    """How often windows (n,) with and without the event occur, over how often they were drawn."""
    share = later.mean()
    return np.where(later, base_rate / max(share, 1e-9), (1 - base_rate) / max(1 - share, 1e-9))


def timing_errors_s(
    drawn: Windows, p_now: Floats, dt_s: float, config: OutcomesConfig
) -> tuple[NDArray[np.bool_], Floats]:
    """Windows with the event inside 2 s (n,), and by how much it is expected too late in each of them, in s."""
    due = drawn.to_event < min(config.horizon, round(2 / dt_s))
    return due, time_to_event_s(p_now[due], dt_s) - (drawn.to_event[due] + 1) * dt_s


def time_to_event_s(hazard: Floats, dt_s: float) -> Floats:
    """Median time (n,) until the event from hazards (n, h), given that it comes within them; a step ends after dt."""
    survives = np.cumprod(np.concatenate([np.ones((len(hazard), 1)), 1 - hazard[:, :-1]], axis=1), axis=1)
    within = np.cumsum(hazard * survives, axis=1)
    return (np.argmax(within >= within[:, -1:] / 2, axis=1) + 1) * dt_s


def weighted_calibration_error(labels: Floats, p: Floats, weight: Floats, num_bins: int = 15) -> float:
    """Mean gap between predicted and observed frequency over bins of equal count, every window with its weight."""
    order = np.argsort(p, kind="stable")
    gaps = [abs(float(np.sum(weight[b] * (p[b] - labels[b])))) for b in np.array_split(order, num_bins) if len(b)]
    return float(np.sum(gaps) / weight.sum())


def recall_at_5fpr(labels: Floats, scores: Floats) -> float:
    """Share of positives found when one negative in twenty may fire."""
    return calibration.recall_at_fpr(labels, scores, 0.05).recall


def mean(values: Floats) -> float:
    """The mean; ValueError where there is nothing to average."""
    if not len(values):
        raise ValueError("no value known")
    return float(np.mean(values))


def _median(values: Floats) -> float:
    if not len(values):
        raise ValueError("no window with the event inside its last 2 s")
    return float(np.median(values))


def estimates(measured: dict[str, Any], config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """{name: value, name_interval: [low, high]} from {name: (statistic, groups, arrays ...)}; null with a reason."""
    out: dict[str, Any] = {}
    for name, (statistic, groups, *arrays) in measured.items():
        if len(groups):
            found = calibration.bootstrap(
                statistic, *arrays, rng=rng, groups=groups, num_resamples=config.num_resamples
            )
        else:
            found = Estimate(None, reason="no such window")
        out[name] = None if found.value is None else round(found.value, 5)
        known = found.low is not None and found.high is not None
        out[f"{name}_interval"] = [round(found.low or 0.0, 5), round(found.high or 0.0, 5)] if known else None
        if found.reason:
            out[f"{name}_reason"] = found.reason
    return out
