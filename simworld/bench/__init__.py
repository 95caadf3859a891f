"""The benches: each measures one claim and writes it into one report.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from simworld.bench.branches import bench_branches
from simworld.bench.endurance import bench_endurance
from simworld.bench.fidelity import bench_fidelity
from simworld.bench.outcomes import bench_outcomes
from simworld.bench.scale import bench_scale
from simworld.bench.speed import bench_speed
from simworld.bench.steps import bench_steps
from simworld.bench.trials import Simulator
from simworld.checkpoint import find_checkpoint
from simworld.data.files import read_json, write_json
from simworld.latent_world_model import LatentConfig
from simworld.policy import Policy


@dataclass(frozen=True)
class Settings:
    """What every bench is given; each writes its report under ``out/PART``."""

    checkpoint: str | None
    budget_min: float | None
    data: Path
    heldout: Path
    out: Path
    simulator: Simulator
    make_policy: Callable[..., Policy] | None = None  # from a policy's name and an ActionSpec
    sizes: dict[str, LatentConfig] = field(default_factory=dict)
    train_min: float | None = None
    reference: str | None = None
    report: Callable[[str], None] = print
    num: int = 100  # generated scenarios of the branches bench
    compiled: bool = False  # whether the speed bench tries compiled models too


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
        make_simulator=settings.simulator.make,
        compiled=settings.compiled,
        report=settings.report,
    )


def _on_films(bench: Callable[..., dict[str, Any]], settings: Settings, out: Path) -> dict[str, Any]:
    """A bench that scores weights on held-out films, with what it needs of the training data."""
    return bench(
        checkpoint=settings.checkpoint or "driving",
        data=settings.data,
        heldout=settings.heldout,
        out=out,
        report=settings.report,
    )


def _outcomes(settings: Settings, out: Path) -> dict[str, Any]:
    bench = partial(bench_outcomes, simulator=settings.simulator, reference=settings.reference)
    return _on_films(bench, settings, out)


def _endurance(settings: Settings, out: Path) -> dict[str, Any]:
    """Driven by the last, the best, of the camera drivers that lie beside the weights, if there are any."""
    drivers = sorted((find_checkpoint(settings.checkpoint or "driving") / "drivers").glob("*/config.json"))
    make = settings.make_policy
    if not drivers or make is None:
        return _on_films(bench_endurance, settings, out)
    name = f"cloned:{drivers[-1].parent}"
    driven = partial(
        bench_endurance,
        make_policy=lambda spec: make(name, spec.action, dt_s=spec.dt_s),
        make_real=settings.simulator.make,
    )
    return _on_films(driven, settings, out)


def _scale(settings: Settings, out: Path) -> dict[str, Any]:
    return _on_films(partial(bench_scale, sizes=settings.sizes, train_min=settings.train_min), settings, out)


def _branches(settings: Settings, out: Path) -> dict[str, Any]:
    stores = {"data": settings.data, "heldout": settings.heldout}
    there = {name: path for name, path in stores.items() if path.is_dir()}
    return bench_branches(
        checkpoint=settings.checkpoint or "driving", out=out, num=settings.num, report=settings.report, **there
    )


PARTS: dict[str, Callable[[Settings, Path], dict[str, Any]]] = {
    "fidelity": _fidelity,
    "speed": _speed,
    "steps": partial(_on_films, bench_steps),
    "endurance": _endurance,
    "outcomes": _outcomes,
    "scale": _scale,
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
