"""Strict JSON and CSV of an evaluation: every number a reader needs to do the statistics again."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simworld.data import files
from simworld.episode import Episode
from simworld.metrics.compare import Comparison, after_prefix, episode_return, happened, succeeded


def plain(value: Any) -> Any:
    """Dataclasses, numpy values and tuples as what JSON knows; NaN and infinity, which it does not, as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as strict JSON, in the order of its fields."""
    text = json.dumps(plain(value), indent=2, allow_nan=False)
    files.write_bytes(path, (text + "\n").encode())


def event_step(episode: Episode, event: str) -> int | None:
    """The first step, from 0, at which a yes/no outcome occurs."""
    steps = np.flatnonzero(np.nan_to_num(episode.outcomes[event]) > 0.5)
    return int(steps[0]) if steps.size else None


def write_episodes_csv(path: Path, worlds: Mapping[str, Sequence[Episode]], events: Sequence[str], dt_s: float) -> None:
    """One row per episode and world; `<event>_s` is when it first happened, empty if it did not."""
    header = ["world", "policy", "seed", "success", "steps", "return", "terminated"]
    header += [column for e in events for column in (e, f"{e}_s")]
    rows = []
    for world, episodes in worlds.items():
        for episode in map(after_prefix, episodes):
            about = episode.provenance
            row: list[Any] = [world, about["policy"], about["seed"], int(succeeded(episode)), episode.num_steps]
            row += [f"{episode_return(episode):.6g}", int(bool(episode.terminated.any()))]
            for event in events:
                step = event_step(episode, event)
                row += [int(happened(episode, event)), "" if step is None else f"{(step + 1) * dt_s:.6g}"]
            rows.append(row)
    _write_csv(path, header, rows)


def write_policies_csv(path: Path, comparison: Comparison) -> None:
    """One row per policy and outcome: both rates with their intervals, counts and the signed bias."""
    header = ["policy", "outcome"]
    header += [f"{w}_{c}" for w in ("real", "imagined") for c in ("rate", "low", "high", "events", "episodes")]
    header += ["bias", "bias_low", "bias_high", "same_outcome", "real_return", "imagined_return"]
    rows = []
    for policy in comparison.policies:
        for name, pair in policy.rates.items():
            row: list[Any] = [policy.policy, name]
            for rate in (pair.real, pair.imagined):
                row += [_number(rate.value), _number(rate.low), _number(rate.high), rate.num_events, rate.num_trials]
            row += [_number(v) for v in (pair.bias.value, pair.bias.low, pair.bias.high, pair.same_outcome.value)]
            row += [_number(policy.real_return.value), _number(policy.imagined_return.value)]
            rows.append(row)
    _write_csv(path, header, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    files.write_bytes(path, text.getvalue().encode())
