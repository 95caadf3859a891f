"""bench outcomes: is a collision foreseen, when, how hard and with what, and does trust find the bad steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.bench import plots
from simworld.bench.films import PROBE_FRAMES, FidelityConfig, fit_state_probe
from simworld.bench.rolls import Roll, roll_windows
from simworld.checkpoint import load_world_model
from simworld.data.cache import FrameCache
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.metrics import calibration
from simworld.metrics.probe import ProbeConfig
from simworld.metrics.statistics import Estimate

Floats = NDArray[np.float64]
LEFT_OUT = ("mass_law_error", "twin_sign_accuracy", "twin_recall_at_5fpr", "reference_with_classifier")


@dataclass(frozen=True)
class OutcomesConfig:
    """`context` real actions, then `horizon` imagined steps; `event_share` of the windows hold the event in them."""

    context: int = 8
    horizon: int = 30
    event: str = "collision"
    event_share: float = 1 / 3
    batch: int = 32
    seed: int = 0
    num_resamples: int = 500
    probe: ProbeConfig = ProbeConfig(steps=600)


@dataclass(frozen=True)
class Windows:
    """Rows (n,) at which windows start, their episodes, and steps from the present to the event (NEVER if none)."""

    rows: NDArray[np.int64]
    episode: NDArray[np.int64]
    to_event: NDArray[np.int64]


def bench_outcomes(
    *,
    checkpoint: str,
    data: Path,
    heldout: Path,
    out: Path,
    windows: int = 1000,
    config: OutcomesConfig | None = None,
    dtype: torch.dtype = torch.bfloat16,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write ``out/report.json`` with `outcomes`; returns its content.

    From real frames the true coming actions are imagined forward; past the end of an episode the last one is held.
    Beside each number stands its interval (bootstrap over episodes); what can not be had is null with a reason.
    `ece` weighs the windows as often as they occur in `heldout`, `ece_sample` as they were drawn.
    """
    config = config or OutcomesConfig()
    cache = EpisodeStore(heldout).cache()
    if config.event not in cache.steps_to_event:
        raise ValueError(f"{heldout} declares no event {config.event!r}; it has {sorted(cache.steps_to_event)}")
    model = load_world_model(checkpoint, dtype=dtype)
    drawn, base_rate = draw_windows(cache, windows, config)
    report(f"imagining {len(drawn.rows)} windows, {np.sum(drawn.to_event < config.horizon)} of them with the event")
    roll = roll_windows(model, cache, drawn.rows, config.context, config.horizon, config.event, config.batch)
    rng = np.random.default_rng(config.seed)
    found = foreseen(drawn, roll.p_within(config.horizon), roll.p_now, base_rate, cache.spec.dt_s, config, rng)
    first = foreseen(drawn, roll.p_first, roll.hazard_first, base_rate, cache.spec.dt_s, config, rng)
    impacts = impact_windows(cache, config, lead=round(1 / cache.spec.dt_s))
    if len(impacts.rows):
        report(f"imagining {len(impacts.rows)} crashes from 1 s before")
        before = roll_windows(model, cache, impacts.rows, config.context, config.horizon, config.event, config.batch)
        found |= _severity(impacts, before, cache, config, rng, out)
    found |= _trust(roll, drawn, config, rng)
    found["from_first_step"] = first
    found["baselines"] = {"base_rate": _constant(drawn, base_rate, cache.spec.dt_s, config, rng)}
    rule = _ttc_rule(EpisodeStore(data).cache(), cache, drawn, base_rate, config, rng, report)
    found["baselines"] |= {"ttc_rule": rule} if rule else {}
    found |= {"num_windows": len(drawn.rows), "num_with_event": int(np.sum(drawn.to_event < config.horizon))}
    found |= {"num_impacts": len(impacts.rows), "base_rate": base_rate, "left_out": list(LEFT_OUT)}
    write_json(out / "report.json", {"outcomes": found})
    labels = drawn.to_event < config.horizon
    shown = {"imagined": roll.p_within(config.horizon)[:, -1], "first step": roll.p_first[:, -1]}
    plots.reliability_diagram(labels, shown, out / "reliability.png")
    plots.precision_recall(labels, shown, out / "precision_recall.png")
    return {"outcomes": found}


def draw_windows(cache: FrameCache, num: int, config: OutcomesConfig) -> tuple[Windows, float]:
    """Windows drawn without repeats, a share of them with the event ahead, and how often that is so in the store.

    Whether it comes must be on record: it does within the horizon, or the episode goes on that long without it. No
    event may lie in the context, where it would give itself away.
    """
    k, h = config.context, config.horizon
    to_event = cache.steps_to_event[config.event]
    rows = np.flatnonzero(cache.steps_left[: len(to_event) - k] >= k)
    ahead = to_event[rows + k]
    clean = to_event[rows] >= k
    usable = clean & ((ahead < h) | (cache.steps_left[rows + k] >= h - 1))
    rows, ahead = rows[usable], ahead[usable]
    with_event = np.flatnonzero(ahead < h)
    without = np.flatnonzero(ahead >= h)
    if not len(with_event) or not len(without):
        raise ValueError(f"the store needs windows with and without {config.event!r}; record more episodes")
    rng = np.random.default_rng(config.seed)
    want = min(round(num * config.event_share), len(with_event))
    rest = min(num - want, len(without))
    chosen = np.sort(np.r_[rng.choice(with_event, want, replace=False), rng.choice(without, rest, replace=False)])
    return _windows(cache, rows[chosen], ahead[chosen]), len(with_event) / len(rows)


def impact_windows(cache: FrameCache, config: OutcomesConfig, lead: int) -> Windows:
    """One window for every event that has a clean context, its present `lead` steps before the event's end."""
    to_event = cache.steps_to_event[config.event]
    happens = np.flatnonzero(to_event == 0)
    rows = happens - (lead - 1) - config.context
    inside = rows >= 0
    happens, rows = happens[inside], rows[inside]
    same = np.searchsorted(cache.first_row, rows, side="right") == np.searchsorted(
        cache.first_row, happens, side="right"
    )
    rows = rows[same & (to_event[rows] == config.context + lead - 1)]
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
    share = later.mean()
    weight = np.where(later, base_rate / max(share, 1e-9), (1 - base_rate) / max(1 - share, 1e-9))
    p = np.clip(p_within, 0, 1)
    due = drawn.to_event < min(whole, round(2 / dt_s))
    guess = time_to_event_s(p_now, dt_s)[due]
    timing = np.abs(guess - (drawn.to_event[due] + 1) * dt_s)
    measured = {
        "auroc_1s": (calibration.auroc, drawn.episode, soon, p[:, second - 1]),
        "auroc_3s": (calibration.auroc, drawn.episode, later, p[:, whole - 1]),
        "recall_at_5fpr_1s": (_recall, drawn.episode, soon, p[:, second - 1]),
        "recall_at_5fpr_3s": (_recall, drawn.episode, later, p[:, whole - 1]),
        "ece": (weighted_calibration_error, drawn.episode, later, p[:, whole - 1], weight),
        "ece_sample": (weighted_calibration_error, drawn.episode, later, p[:, whole - 1], np.ones(len(p))),
        "ttc_error_s": (_median, drawn.episode[due], timing),
    }
    return _estimates(measured, config, rng)


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


def _recall(labels: Floats, scores: Floats) -> float:
    return calibration.recall_at_fpr(labels, scores, 0.05).recall


def _median(values: Floats) -> float:
    if not len(values):
        raise ValueError("no window with the event inside its last 2 s")
    return float(np.median(values))


def _mean(values: Floats) -> float:
    if not len(values):
        raise ValueError("no value known")
    return float(np.mean(values))


def _estimates(measured: dict[str, Any], config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
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


def _severity(
    impacts: Windows, roll: Roll, cache: FrameCache, config: OutcomesConfig, rng: np.random.Generator, out: Path
) -> dict[str, Any]:
    """Delta-v, partner and side of real crashes, as told 1 s before: means weighted by when the impact is expected."""
    at = impacts.rows + config.context + impacts.to_event
    measured: dict[str, Any] = {}
    for name, value in roll.scalars.items():
        truth = cache.outcomes[name][at].astype(np.float64)
        known = np.isfinite(truth)
        pair = impacts.episode[known], truth[known], value[known]
        measured[f"{name}_relative_error"] = (calibration.median_relative_error, *pair)
        measured[f"{name}_rank_correlation"] = (calibration.rank_correlation, *pair)
        plots.severity_scatter(truth[known], value[known], out / f"severity_{name}.png", label=name.replace("_", " "))
    for name, p in roll.categories.items():
        truth = cache.outcomes[name][at]
        known = np.isfinite(truth)
        measured[f"{name}_accuracy"] = (_mean, impacts.episode[known], (p.argmax(1) == truth)[known].astype(float))
    return _estimates(measured, config, rng)


def _trust(roll: Roll, drawn: Windows, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Does low trust find the worst fifth of the imagined steps by pixel error? Steps with a real twin only."""
    known = np.isfinite(roll.pixel_error)
    bad = roll.pixel_error[known] >= np.quantile(roll.pixel_error[known], 0.8)
    episode = np.broadcast_to(drawn.episode[:, None], known.shape)[known]
    return _estimates({"trust_auroc": (calibration.auroc, episode, bad, 1 - roll.trust[known])}, config, rng) | {
        "trust_error": "pixels"
    }


def _constant(
    drawn: Windows, base_rate: float, dt_s: float, config: OutcomesConfig, rng: np.random.Generator
) -> dict[str, Any]:
    hazard = np.full((len(drawn.rows), config.horizon), 1 - (1 - base_rate) ** (1 / config.horizon))
    return foreseen(drawn, 1 - np.cumprod(1 - hazard, axis=1), hazard, base_rate, dt_s, config, rng)


def _ttc_rule(
    train: FrameCache,
    cache: FrameCache,
    drawn: Windows,
    base_rate: float,
    config: OutcomesConfig,
    rng: np.random.Generator,
    report: Callable[[str], None],
) -> dict[str, Any] | None:
    """Gap over closing speed, both read by a probe off the last real frames; not a probability, so without ece."""
    names = ("gap_m", "closing_mps")
    if not set(names) <= set(cache.spec.state_names):
        return None
    report("fitting the state probe of the time-to-collision rule")
    probe = fit_state_probe(train, names, FidelityConfig(probe=config.probe))
    present = drawn.rows + config.context
    seen = cache.frames[next(iter(cache.frames))][present[:, None] + np.arange(1 - PROBE_FRAMES, 1)]
    gap_m, closing_mps = probe.predict(seen).astype(np.float64).T
    dt_s, whole = cache.spec.dt_s, config.horizon
    ttc_s = np.maximum(gap_m, 0) / np.maximum(closing_mps, 0.1)
    urgency = np.repeat(1 / (1 + ttc_s)[:, None], whole, axis=1)  # the same order as 1 / ttc, within [0, 1]
    due_step = np.clip(np.ceil(ttc_s / dt_s) - 1, 0, whole - 1)
    hazard = (np.arange(whole) == due_step[:, None]).astype(np.float64)
    found = foreseen(drawn, urgency, hazard, base_rate, dt_s, config, rng)
    return {name: value for name, value in found.items() if not name.startswith("ece")}
