"""The worst mistakes as film strips: false alarms, misses and wrong severities, with P(event) under every frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.bench.foresight import Floats, OutcomesConfig, Windows
from simworld.bench.questions import Answers, Questions, true_values
from simworld.data.cache import FrameCache
from simworld.report.film import Frames, strip, write_png
from simworld.rolls import roll_windows
from simworld.world_model import WorldModel

NUM_STRIPS = 5
COLUMNS = 9

Note = Callable[[int], tuple[str, str]]  # what is written beside the real and the imagined film of a window
Kind = tuple[str, Windows, NDArray[Any], Note]  # a mistake, its windows, their indices with the worst first


def write_mistakes(
    model: WorldModel[Any], questions: Questions, answers: Answers, config: OutcomesConfig, out: Path
) -> dict[str, Path]:
    """Write one picture of strips per kind of mistake that was made; returns {kind: its path}."""
    found: dict[str, Path] = {}
    for kind, windows, order, note in _kinds(questions, answers, config):
        chosen = windows.part(order[:NUM_STRIPS])
        if not len(chosen.rows):
            continue
        strips = _strips(model, questions.cache, chosen, [note(int(i)) for i in order[:NUM_STRIPS]], config)
        found[kind] = out / f"mistakes_{kind}.png"
        write_png(found[kind], np.concatenate(strips, axis=0))
    return found


def _kinds(questions: Questions, answers: Answers, config: OutcomesConfig) -> list[Kind]:
    """Every kind of mistake that the answers can show."""
    drawn, dt_s, h = questions.drawn, questions.cache.spec.dt_s, config.horizon
    p = answers.drawn.p_within(h)[:, -1]
    happens = drawn.to_event < h

    def of_windows(i: int) -> tuple[str, str]:
        real = f"{config.event} at {(drawn.to_event[i] + 1) * dt_s:.1f} s" if happens[i] else f"no {config.event}"
        return real, f"P {p[i]:.2f} within {h * dt_s:.0f} s"

    alarms = np.flatnonzero(~happens)
    missed = np.flatnonzero(happens)
    kinds: list[Kind] = [
        ("false_alarms", drawn, alarms[np.argsort(-p[alarms], kind="stable")], of_windows),
        ("misses", drawn, missed[np.argsort(p[missed], kind="stable")], of_windows),
    ]
    if answers.impacts is None or not answers.impacts.scalars:
        return kinds
    name, told = list(answers.impacts.scalars.items())[-1]
    truth, said = true_values(questions, name, config), name.replace("_", " ")
    unit = next(o.unit for o in questions.cache.spec.outcomes if o.name == name)

    def of_impacts(i: int) -> tuple[str, str]:
        return f"{said} {truth[i]:.1f} {unit}", f"{said} {told[i]:.1f} {unit}"

    wrong: Floats = np.where(np.isfinite(truth), np.abs(told - truth), -1.0)
    worst = np.argsort(-wrong, kind="stable")
    return [*kinds, ("severity", questions.impacts, worst[wrong[worst] >= 0], of_impacts)]


def _strips(
    model: WorldModel[Any],
    cache: FrameCache,
    windows: Windows,
    notes: list[tuple[str, str]],
    config: OutcomesConfig,
) -> list[Frames]:
    """Imagine the windows once more, from the same noise, and lay real and imagined frames side by side."""
    k, h = config.context, config.horizon
    roll = roll_windows(model, cache, windows.rows, k, h, config.event, config.batch, film=True)
    assert roll.film is not None
    p = roll.p_within(h)
    real = next(iter(cache.frames.values()))
    steps = [int(s) for s in np.unique(np.linspace(0, h, COLUMNS).round())]
    strips = []
    for i, row in enumerate(windows.rows + k):
        end = row + 1 + min(h, int(cache.steps_left[row]) + 1)
        imagined = np.concatenate([real[row : row + 1], roll.film[i]])
        footers = [f"P {p[i, s - 1]:.2f}" if s else f"P({config.event}) by then" for s in steps]
        strips.append(
            strip(real[row:end], imagined, steps, dt_s=cache.spec.dt_s, notes=notes[i], footers=footers, scale=2)
        )
    return strips
