"""Calibration: after training, hazards are bent so that what is imagined happens as often as it did in the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from simworld.data.cache import NEVER, FrameCache
from simworld.model.outcomes import OutcomePrediction
from simworld.progress import telling
from simworld.rolls import Opening
from simworld.world_model import WorldModel

TERMINATED = "terminated"


@dataclass(frozen=True)
class CalibrationConfig:
    """`windows` of the data, half of them with an event ahead, each `context` real actions long.

    doubt_scale, doubt_bias: spread of what scale (as a logarithm) and bias are believed to be before any data.
    """

    windows: int = 4096
    context: int = 8
    batch: int = 32
    doubt_scale: float = 0.7
    doubt_bias: float = 2.0


@torch.no_grad()
def calibrate_events(
    model: WorldModel[Any],
    caches: Sequence[FrameCache],
    *,
    seed: int,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    config: CalibrationConfig | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Set the heads' scale and bias of every event (and of the episode's end) from windows of data, best of such that
    the model did not learn from: of several caches, as many of each.

    Training shows events more often than they are, and heads know films that they were trained on; imagined frames
    mislead them besides. The logits of the present step are fitted over whole imagined rolls, those of later steps at
    the first, by weighted likelihood (Platt 1999). An event that no window has keeps its hazards.
    """
    config = config or CalibrationConfig()
    heads, horizon = model.heads, model.heads.config.horizon
    heads.hazard_scale.fill_(1.0)
    heads.hazard_bias.fill_(0.0)
    names = [*(s.name for s in heads.specs if s.kind == "event"), TERMINATED]
    asked = [a for cache in caches if (a := _asked(cache, names, horizon, config, seed)) is not None]
    if not asked:
        return
    logits = [_imagined(model, a, horizon, device, autocast, config, report) for a in asked]
    known, weight = (np.concatenate([getattr(a, what) for a in asked]) for what in ("known", "weight"))
    for i, name in enumerate(names):
        ahead = np.concatenate([a.ahead[name] for a in asked])
        for later in (False, True):
            told = torch.cat([of[name][later] for of in logits])
            fitted = _fit(told, ahead, known, weight, later=later, config=config)
            if fitted is not None:
                heads.hazard_scale[i, int(later)], heads.hazard_bias[i, int(later)] = fitted


@dataclass(frozen=True)
class _Asked:
    """n windows of a cache: the rows at which they start, how much each weighs, how many steps after the present one
    are known, and how many steps `ahead` each event is."""

    cache: FrameCache
    rows: NDArray[np.int64]
    weight: NDArray[np.float64]
    known: NDArray[np.int64]
    ahead: dict[str, NDArray[np.int64]]


def _asked(cache: FrameCache, names: list[str], horizon: int, config: CalibrationConfig, seed: int) -> _Asked | None:
    """Windows of a cache; None where it has none."""
    to_event = {name: _to_event(cache, name) for name in names}
    rows, weight = _draw(cache, to_event, horizon, config, seed)
    if not len(rows):
        return None
    present = rows + config.context
    known = np.minimum(cache.steps_left[present], horizon - 1)
    return _Asked(cache, rows, weight, known, {name: steps[present] for name, steps in to_event.items()})


def _to_event(cache: FrameCache, name: str) -> NDArray[np.int64]:
    """Steps to the next event of every row; the end of an episode counts where it was no mere end of the record."""
    if name != TERMINATED:
        return cache.steps_to_event[name]
    left = np.maximum(cache.steps_left, 0)
    ends = cache.terminated[np.arange(len(left)) + left]
    return np.where(ends, left, NEVER)


def _draw(
    cache: FrameCache,
    to_event: dict[str, NDArray[np.int64]],
    horizon: int,
    config: CalibrationConfig,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows at which windows start, and weights that undo the choice of half of them for an event."""
    k = config.context
    soonest = np.min(list(to_event.values()), axis=0)
    rows = np.flatnonzero((cache.steps_left >= k) & (soonest >= k))
    soon = soonest[rows + k] < horizon
    rng = np.random.default_rng([seed, 7])
    chosen, weight = [], []
    for of in (np.flatnonzero(soon), np.flatnonzero(~soon)):
        num = min(config.windows // 2, len(of))
        chosen.append(rng.choice(of, num, replace=False))
        weight.append(np.full(num, len(of) / max(num, 1)))
    weights = np.concatenate(weight)
    return rows[np.concatenate(chosen)], weights / max(weights.mean(), 1e-12) if len(weights) else weights


def _imagined(
    model: WorldModel[Any],
    asked: _Asked,
    horizon: int,
    device: torch.device | str,
    autocast: torch.dtype | None,
    config: CalibrationConfig,
    report: Callable[[str], None],
) -> dict[str, tuple[Tensor, Tensor]]:
    """{event: logits (n, horizon) of the present at every imagined step, and of all bins at the first step}."""
    now: dict[str, list[Tensor]] = {}
    first: dict[str, list[Tensor]] = {}
    for i in telling(range(0, len(asked.rows), config.batch), "calibrating hazards", report):
        opening = Opening.of(asked.cache, asked.rows[i : i + config.batch], config.context, horizon).to(device)
        kind = torch.device(device).type
        with torch.autocast(kind, autocast or torch.bfloat16, enabled=autocast is not None):
            told = [_logits(outcomes) for outcomes in opening.foreseen(model)]
        for name in told[0]:
            now.setdefault(name, []).append(torch.stack([t[name][:, 0] for t in told], dim=1))
            first.setdefault(name, []).append(told[0][name])
    return {name: (torch.cat(now[name]), torch.cat(first[name])) for name in now}


def _logits(outcomes: OutcomePrediction) -> dict[str, Tensor]:
    p = outcomes.hazard | {TERMINATED: outcomes.p_terminated[:, None]}
    return {name: torch.logit(value.double().cpu(), eps=1e-7) for name, value in p.items()}


def _fit(
    told: Tensor,
    ahead: NDArray[np.int64],
    known: NDArray[np.int64],
    weight: NDArray[np.float64],
    *,
    later: bool,
    config: CalibrationConfig,
) -> tuple[float, float] | None:
    """(scale, bias) of logits (n, h) for which events `ahead` steps away are likeliest; None without any event."""
    bins = torch.arange(told.shape[1])
    to_event = torch.from_numpy(ahead)[:, None]
    at_risk = (bins <= to_event) & (bins <= torch.from_numpy(known)[:, None]) & (bins >= int(later))
    happens = ((bins == to_event) & at_risk)[at_risk].double()
    if not bool(happens.any()):
        return None
    logits = told[at_risk]
    weights = torch.from_numpy(weight)[:, None].expand(told.shape)[at_risk]
    with torch.enable_grad():
        free = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([free], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            bent = logits * free[0].exp() + free[1]
            each = F.binary_cross_entropy_with_logits(bent, happens, weights, reduction="sum")
            doubt = (free[0] / config.doubt_scale) ** 2 + (free[1] / config.doubt_bias) ** 2
            total = each + doubt / 2
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(loss)  # type: ignore[no-untyped-call]
    scale, bias = float(free.detach()[0].exp()), float(free.detach()[1])
    return (scale, bias) if np.isfinite([scale, bias]).all() else None
