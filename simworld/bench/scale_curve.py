"""How the error on held-out films falls with training compute: small sizes trained alike, and a power law."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import find_checkpoint, load_world_model
from simworld.data.cache import FrameCache
from simworld.data.files import read_json, write_json
from simworld.data.store import EpisodeStore
from simworld.fit import Run, fit
from simworld.nets.painter import PainterConfig
from simworld.optim import OptimConfig
from simworld.phases import CanvasPhase, PhaseConfig

Point = dict[str, Any]


@dataclass(frozen=True)
class CurveConfig:
    """`sizes` are trained at a constant rate and scored by their averaged weights at `marks`, shares of the time.

    Haegele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations": averages at a
    constant rate stand in for runs of every length, so that one run gives many points.
    """

    sizes: tuple[PainterConfig, ...] = (
        PainterConfig(widths=(32, 64), depths=(1, 2)),
        PainterConfig(widths=(64, 128), depths=(1, 4)),
        PainterConfig(widths=(96, 192), depths=(1, 4)),
    )
    marks: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    phase: PhaseConfig = PhaseConfig(steps=4000, batch=64, window=1)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(cooldown=0.0))
    heldout_frames: int = 512
    seed: int = 0
    precision: torch.dtype = torch.bfloat16


def train_curve(
    *,
    checkpoint: str,
    data: Path,
    heldout: Path,
    out: Path,
    train_min: float,
    config: CurveConfig,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train every size for `train_min` processor minutes; run again with the same arguments to resume.

    All sizes share the checkpoint's belief. They learn, and are judged by, the next frame after recorded ones, in
    pixels from -1 to 1.
    """
    shared = load_world_model(checkpoint)
    if not isinstance(shared, CanvasWorldModel):
        raise ValueError(f"{checkpoint} has no canvas; give a checkpoint of model=canvas")
    train, held = EpisodeStore(data).cache(), EpisodeStore(heldout).cache()
    recipe = [str(find_checkpoint(checkpoint)), train.path.name, held.path.name, train_min, repr(config)]
    out = out / f"curve_{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"
    points: list[Point] = []
    for painter in config.sizes:
        model = _fresh(shared, painter, config.seed)
        points += _train_one(model, train, held, out, 60 * train_min, config, report)
    found: dict[str, Any] = {"train_min": train_min, "points": points, "law": None}
    try:
        found["law"] = fit_power_law([p["train_flop"] for p in points], [p["heldout_error"] for p in points])
        report(f"held-out error = {found['law']['factor']:.3g} x FLOP^-{found['law']['exponent']:.3f}")
    except ValueError as error:  # the points are worth reporting all the same
        report(f"no scaling law: {error}")
    return found


def _fresh(shared: CanvasWorldModel, painter: PainterConfig, seed: int) -> CanvasWorldModel:
    """The belief of `shared` and an untrained canvas of another size."""
    canvas = dataclasses.replace(shared.config.canvas, painter=painter)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CanvasWorldModel(dataclasses.replace(shared.config, canvas=canvas), shared.spec)
    mine = model.state_dict()
    outcomes = {n: x for n, x in shared.state_dict().items() if n.startswith(("belief.", "heads."))}
    model.load_state_dict({n: x for n, x in outcomes.items() if x.shape == mine[n].shape}, strict=False)
    return model


def _train_one(
    model: CanvasWorldModel,
    train: FrameCache,
    held: FrameCache,
    out: Path,
    budget_s: float,
    config: CurveConfig,
    report: Callable[[str], None],
) -> list[Point]:
    """Points of one size; each mark is written down when it is passed, so that a resumed run has all of them."""
    widths, depths = model.config.canvas.painter.widths, model.config.canvas.painter.depths
    name = f"widths_{'_'.join(map(str, widths))}_depths_{'_'.join(map(str, depths))}"
    runs = [Run(out / folder, torch.device("cpu"), config.precision, report=report) for folder in (name, "held")]
    for run in runs:
        run.folder.mkdir(parents=True, exist_ok=True)
    phase, judge = (
        CanvasPhase(model, cache, config.phase, config.optim, config.seed, run)
        for cache, run in zip((train, held), runs, strict=True)
    )
    path = runs[0].folder / "points.json"
    points: list[Point] = read_json(path) if path.exists() else []
    flop_per_step = _flop_of_step(phase)
    parameters = sum(p.numel() for p in model.canvas.parameters())

    def at_mark(step: int, mark: float) -> None:
        error = heldout_error(judge, config)
        points.append({"size": name, "parameters": parameters, "share": mark, "steps": step,
                       "train_flop": flop_per_step * step, "heldout_error": round(error, 6)})  # fmt: skip
        write_json(path, points)
        report(f"{name}: held-out error {error:.4f} after {step} steps, {flop_per_step * step:.3g} FLOP")

    left = [mark for mark in config.marks if mark not in {p["share"] for p in points}]
    fit(phase, runs[0], budget_s=budget_s, marks=left, at_mark=at_mark)
    return points


def _flop_of_step(phase: CanvasPhase) -> int:
    """Counted operations of one training step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        phase.one_step(0)["loss"].backward()
    phase.model.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


@torch.no_grad()
def heldout_error(phase: CanvasPhase, config: CurveConfig) -> float:
    """Mean error of the next frame on fixed frames of the phase's data."""
    batches = max(1, config.heldout_frames // config.phase.batch)
    with phase.run.autocasting():
        return float(np.mean([float(phase.one_step(step)["frame"]) for step in range(batches)]))


def fit_power_law(compute: Sequence[float], error: Sequence[float]) -> dict[str, Any]:
    """error = factor x compute^-exponent through the frontier: the points that no cheaper one undercuts.

    By least squares of logarithms; `predicted_last` is what a fit without the frontier's dearest point says of it.
    Raises ValueError on fewer than three different points, or figures that are not above 0.
    """
    x, y = np.asarray(compute, np.float64), np.asarray(error, np.float64)
    if len(x) < 3 or (x <= 0).any() or (y <= 0).any():
        raise ValueError("a power law needs at least three points above 0; train longer")
    order = np.lexsort((y, x))
    best = np.minimum.accumulate(y[order])
    front = order[(y[order] <= best) & np.r_[True, np.diff(best) < 0]]
    if len(front) < 3:
        raise ValueError(f"only {len(front)} points lie on the frontier: error did not fall with compute; train longer")
    exponent, factor, r2 = _line(x[front], y[front])
    found: dict[str, Any] = {"exponent": round(exponent, 4), "factor": factor, "r2": round(r2, 4)}
    found["frontier"] = [int(i) for i in front]
    found["predicted_last"] = None
    if len(front) > 3:
        slope, start, _ = _line(x[front[:-1]], y[front[:-1]])
        found["predicted_last"] = {"error": float(y[front[-1]]), "predicted": float(start * x[front[-1]] ** -slope)}
    return found


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float, float]:
    """Exponent, factor and the share of the variance of log y that they explain."""
    slope, start = np.polyfit(np.log(x), np.log(y), 1)
    left = np.log(y) - (slope * np.log(x) + start)
    spread = float(np.var(np.log(y)))
    return float(-slope), float(np.exp(start)), 1 - float(np.var(left)) / spread if spread > 0 else 0.0
