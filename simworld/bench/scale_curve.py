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

from simworld.checkpoint import find_checkpoint, load_world_model
from simworld.data.cache import FrameCache
from simworld.data.files import read_json, write_json
from simworld.data.store import EpisodeStore
from simworld.fit import Run, fit
from simworld.latent_world_model import LatentWorldModel
from simworld.model.actions import encode_actions
from simworld.model.dynamics import draw_noise, past_frames
from simworld.nets.transformer import TransformerConfig
from simworld.optim import OptimConfig
from simworld.phases import DynamicsPhase, PhaseConfig, encode_all, stream

Point = dict[str, Any]


@dataclass(frozen=True)
class CurveConfig:
    """`sizes` are trained at a constant rate and scored by their averaged weights at `marks`, shares of the time.

    Haegele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations": averages at a
    constant rate stand in for runs of every length, so that one run gives many points.
    """

    sizes: tuple[TransformerConfig, ...] = (
        TransformerConfig(width=64, layers=4, heads=2),
        TransformerConfig(width=128, layers=4, heads=2),
        TransformerConfig(width=192, layers=4, heads=3),
    )
    marks: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    phase: PhaseConfig = PhaseConfig(steps=4000, batch=8, max_unroll=0)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(cooldown=0.0))
    heldout_windows: int = 64
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

    All sizes share the checkpoint's codec, and so one space in which their errors are comparable: the mean squared
    error of a standardised latent, predicted from noise alone.
    """
    shared = load_world_model(checkpoint)
    if not isinstance(shared, LatentWorldModel):
        raise ValueError(f"{checkpoint} has no codec to share; give a checkpoint of model=latent")
    train, held = EpisodeStore(data).cache(), EpisodeStore(heldout).cache()
    recipe = [str(find_checkpoint(checkpoint)), train.path.name, held.path.name, train_min, repr(config)]
    out = out / f"curve_{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]}"
    points: list[Point] = []
    for transformer in config.sizes:
        model = _fresh(shared, transformer, config.seed)
        points += _train_one(model, train, held, out, 60 * train_min, config, report)
    found: dict[str, Any] = {"train_min": train_min, "points": points, "law": None}
    try:
        found["law"] = fit_power_law([p["train_flop"] for p in points], [p["heldout_error"] for p in points])
        report(f"held-out error = {found['law']['factor']:.3g} x FLOP^-{found['law']['exponent']:.3f}")
    except ValueError as error:  # the points are worth reporting all the same
        report(f"no scaling law: {error}")
    return found


def _fresh(shared: LatentWorldModel, transformer: TransformerConfig, seed: int) -> LatentWorldModel:
    """An untrained model of another size around the codec of `shared`; it learns nothing but frames."""
    dynamics = dataclasses.replace(shared.config.dynamics, transformer=transformer, max_actors=0)
    config = dataclasses.replace(shared.config, dynamics=dynamics)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LatentWorldModel(config, shared.spec)
    model.codec.load_state_dict(shared.codec.state_dict())
    return model


def _train_one(
    model: LatentWorldModel,
    train: FrameCache,
    held: FrameCache,
    out: Path,
    budget_s: float,
    config: CurveConfig,
    report: Callable[[str], None],
) -> list[Point]:
    """Points of one size; each mark is written down when it is passed, so that a resumed run has all of them."""
    t = model.config.dynamics.transformer
    name = f"width_{t.width}_layers_{t.layers}"
    runs = [
        Run(out / folder, torch.device("cpu"), config.precision, report=report) for folder in (name, "train", "held")
    ]
    for run in runs:
        run.folder.mkdir(parents=True, exist_ok=True)
    latents, seen = (encode_all(model, cache, run) for cache, run in ((train, runs[1]), (held, runs[2])))
    phase = DynamicsPhase(model, train, latents, config.phase, config.optim, config.seed, runs[0])
    judge = DynamicsPhase(model, held, seen, config.phase, config.optim, config.seed, runs[2])
    path = runs[0].folder / "points.json"
    points: list[Point] = read_json(path) if path.exists() else []
    flop_per_step = _flop_of_step(phase)
    parameters = sum(p.numel() for p in model.dynamics.parameters())

    def at_mark(step: int, mark: float) -> None:
        error = heldout_error(judge, config)
        points.append({"size": name, "parameters": parameters, "share": mark, "steps": step,
                       "train_flop": flop_per_step * step, "heldout_error": round(error, 6)})  # fmt: skip
        write_json(path, points)
        report(f"{name}: held-out error {error:.4f} after {step} steps, {flop_per_step * step:.3g} FLOP")

    left = [mark for mark in config.marks if mark not in {p["share"] for p in points}]
    fit(phase, runs[0], budget_s=budget_s, marks=left, at_mark=at_mark)
    return points


def _flop_of_step(phase: DynamicsPhase) -> int:
    """Counted operations of one training step, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        phase.loss(0, 0.0)["loss"].backward()
    phase.model.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


@torch.no_grad()
def heldout_error(phase: DynamicsPhase, config: CurveConfig) -> float:
    """Mean squared error of frames predicted from noise alone, on fixed windows of the phase's data."""
    model, total, batches = phase.model, 0.0, max(1, config.heldout_windows // config.phase.batch)
    for step in range(batches):
        latents, actions, seen, *_ = phase.window(step)
        noise = draw_noise({c: z[:, 1:] for c, z in latents.items()}, stream(0, step, phase.sampler, phase.run.device))
        past, level = past_frames(latents, model.config.dynamics.num_past), torch.zeros(actions.shape[:2])
        with torch.autocast("cpu", config.precision, enabled=config.precision != torch.float32):
            encoded = encode_actions(actions, model.spec.action)
            believed = model.belief.follow(seen, encoded)
            clean = model.dynamics(noise, past, encoded, level, level, believed=believed).clean
        total += float(np.mean([float((clean[c] - z[:, 1:]).square().mean()) for c, z in latents.items()]))
    return total / batches


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
