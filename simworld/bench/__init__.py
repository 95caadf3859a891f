"""The benches: each measures one claim and writes it into one report.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium

from simworld.bench.branches import bench_branches
from simworld.bench.endurance import bench_endurance
from simworld.bench.fidelity import bench_fidelity
from simworld.bench.outcomes import bench_outcomes
from simworld.bench.speed import bench_speed
from simworld.bench.steps import bench_steps
from simworld.data.files import read_json, write_json


@dataclass(frozen=True)
class Settings:
    """What every bench is given; each writes its report under ``out/PART``."""

    checkpoint: str | None
    budget_min: float | None
    data: Path
    heldout: Path
    out: Path
    make_simulator: Callable[[], gymnasium.Env[Any, Any]]
    report: Callable[[str], None] = print
    num: int = 100  # generated scenarios of the branches bench


def _fidelity(settings: Settings, out: Path) -> dict[str, Any]:
    checkpoint = settings.checkpoint or (None if settings.budget_min else "driving")
    return bench_fidelity(
        data=settings.data,
        heldout=settings.heldout,
        out=out,
        budget_min=settings.budget_min,
        checkpoint=checkpoint,
        report=settings.report,
    )


def _speed(settings: Settings, out: Path) -> dict[str, Any]:
    return bench_speed(
        checkpoint=settings.checkpoint or "driving",
        out=out,
        make_simulator=settings.make_simulator,
        report=settings.report,
    )


def _on_films(bench: Callable[..., dict[str, Any]], settings: Settings, out: Path) -> dict[str, Any]:
    """A bench that scores weights on held-out films, with a probe fitted on the training data."""
    return bench(
        checkpoint=settings.checkpoint or "driving",
        data=settings.data,
        heldout=settings.heldout,
        out=out,
        report=settings.report,
    )


def _branches(settings: Settings, out: Path) -> dict[str, Any]:
    return bench_branches(
        checkpoint=settings.checkpoint or "driving", out=out, num=settings.num, report=settings.report
    )


PARTS: dict[str, Callable[[Settings, Path], dict[str, Any]]] = {
    "fidelity": _fidelity,
    "speed": _speed,
    "steps": partial(_on_films, bench_steps),
    "endurance": partial(_on_films, bench_endurance),
    "outcomes": partial(_on_films, bench_outcomes),
    "branches": _branches,
}


def run(part: str, settings: Settings) -> None:
    """Run one bench, or all; ``out/report.json`` gathers what each found."""
    for name in PARTS if part == "all" else [part]:
        found = PARTS[name](settings, settings.out / name)
        path = settings.out / "report.json"
        known = read_json(path) if path.exists() else {}
        write_json(path, known | found)
        settings.report(f"{name}: {path}")
