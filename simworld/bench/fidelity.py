"""bench fidelity: how near imagined frames stay to the real ones, beside the reference and the frozen frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.checkpoint import load_world_model
from simworld.data.cache import FrameCache
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.data.windows import Batch, WindowSampler
from simworld.metrics.probe import Probe, ProbeConfig, fit_probe
from simworld.metrics.video import copy_last, psnr
from simworld.model.noise import NoiseStream
from simworld.phases import targets_of
from simworld.report.film import write_png
from simworld.train import TrainConfig, train
from simworld.world_model import LatentWorldModel, WorldModel

PROBE_FRAMES = 3


@dataclass(frozen=True)
class FidelityConfig:
    """`films` films of each seed, from `context` real actions on; horizons in frames; probed states by name."""

    films: int = 64
    seeds: tuple[int, ...] = (0, 1, 2)
    context: int = 8
    horizons: tuple[int, ...] = (1, 10, 30, 50)
    probed: tuple[str, ...] = ("speed_mps", "lateral_m", "gap_m")
    cap_gap_m: float = 79.0
    probe: ProbeConfig = ProbeConfig(steps=600)


def bench_fidelity(
    *,
    data: Path,
    heldout: Path,
    out: Path,
    budget_min: float | None = None,
    checkpoint: str | None = None,
    config: FidelityConfig | None = None,
    train_config: TrainConfig | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write ``out/report.json`` with `fidelity`; returns its content.

    With `budget_min` the default model and the reference are trained from scratch, one after the other, for the
    same processor time on `data`; with `checkpoint` given weights are scored, the reference only if `out` has one.
    """
    config = config or FidelityConfig()
    models = _models(data, out, budget_min, checkpoint, train_config or TrainConfig(), report)
    report("fitting the state probe on real frames")
    cache = EpisodeStore(heldout).cache()
    names = [n for n in config.probed if n in cache.spec.state_names]
    probe = _fit_state_probe(EpisodeStore(data).cache(), names, config) if names else None
    columns = [cache.spec.state_names.index(n) for n in names]
    scores: dict[str, list[dict[str, dict[int, float]]]] = {}
    for seed in config.seeds:
        batch = _films(cache, config, seed)
        for name, model in models.items():
            report(f"seed {seed}: imagining {config.films} films with {name}")
            imagined = imagine(model, batch, config.context)
            scores.setdefault(name, []).append(_score(batch, imagined, probe, columns, config))
            if seed == config.seeds[0]:
                _write_strips(out / f"films_{name}.png", batch, imagined, config.context)
        still = {c: copy_last(f[:, config.context].numpy(), max(config.horizons)) for c, f in batch.frames.items()}
        scores.setdefault("copy_last", []).append(_score(batch, still, probe, columns, config))
    fidelity = _table(scores) | {
        "films": config.films * len(config.seeds),
        "probe": None if probe is None or probe.fit is None else dataclasses.asdict(probe.fit),
        "action_shuffle_ratio": action_shuffle_ratio(models["simworld"], cache, config),
        "budget_cpu_min": budget_min,
    }
    write_json(out / "report.json", {"fidelity": fidelity})
    return {"fidelity": fidelity}


def _models(
    data: Path,
    out: Path,
    budget_min: float | None,
    checkpoint: str | None,
    config: TrainConfig,
    report: Callable[[str], None],
) -> dict[str, WorldModel[Any]]:
    if (budget_min is None) == (checkpoint is None):
        raise ValueError("give either budget_min=MINUTES to train from scratch, or checkpoint=NAME to score weights")
    folders: dict[str, Path | str] = {}
    if checkpoint is not None:
        folders["simworld"] = checkpoint
        if (out / "reference/model/config.json").exists():
            folders["reference"] = out / "reference/model"
    else:
        for name, kind in (("simworld", config.model), ("reference", "unet")):
            recipe = dataclasses.replace(config, model=kind, budget_min=budget_min)
            folders[name] = train(recipe, data=data, out=out / name, report=report)
    return {name: load_world_model(folder, dtype=torch.bfloat16) for name, folder in folders.items()}


def _films(cache: FrameCache, config: FidelityConfig, seed: int) -> Batch:
    sampler = WindowSampler(cache, steps=config.context + max(config.horizons), batch=config.films, seed=seed)
    return sampler.gather(sampler.rows(0))


def imagine(model: WorldModel[Any], batch: Batch, context: int) -> dict[str, NDArray[np.uint8]]:
    """Frames {camera: (b, t - context, h, w, 3)} that the model sees coming, given the true actions."""
    seed = torch.arange(len(batch.actions))
    state = model.start(
        {c: f[:, : context + 1] for c, f in batch.frames.items()}, batch.actions[:, :context], seed=seed
    )
    frames: dict[str, list[Tensor]] = {c: [] for c in batch.frames}
    for t in range(context, batch.actions.shape[1]):
        state, prediction = model.step(state, batch.actions[:, t])
        for camera, frame in prediction.frames.items():
            frames[camera].append(frame)
    return {c: torch.stack(f, dim=1).numpy() for c, f in frames.items()}


def _fit_state_probe(cache: FrameCache, names: Sequence[str], config: FidelityConfig) -> Probe:
    """A probe from three frames of the first camera to the named state, on frames of the training store."""
    camera = next(iter(cache.frames))
    rows = np.flatnonzero(cache.steps_left >= PROBE_FRAMES - 1)[::3]
    at = rows[:, None] + np.arange(PROBE_FRAMES)
    columns = [cache.spec.state_names.index(n) for n in names]
    caps = {"gap_m": config.cap_gap_m} if "gap_m" in names else {}
    return fit_probe(
        cache.frames[camera][at],
        cache.state[at[:, -1]][:, columns],
        names,
        seed=0,
        groups=np.searchsorted(cache.first_row, rows, side="right"),
        caps=caps,
        config=config.probe,
    )


def _score(
    batch: Batch,
    imagined: dict[str, NDArray[np.uint8]],
    probe: Probe | None,
    columns: list[int],
    config: FidelityConfig,
) -> dict[str, dict[int, float]]:
    """{"psnr" or a state's name: {horizon: mean over films}}."""
    k = config.context
    decibels = np.mean([psnr(f[:, k + 1 :].numpy(), imagined[c]).mean(0) for c, f in batch.frames.items()], axis=0)
    out = {"psnr": {h: float(decibels[h - 1]) for h in config.horizons}}
    if probe is None:
        return out
    camera = next(iter(batch.frames))
    film = np.concatenate([batch.frames[camera][:, : k + 1].numpy(), imagined[camera]], axis=1)
    errors: dict[str, dict[int, float]] = {n: {} for n in probe.names}
    for h in config.horizons:
        seen = film[:, k + h - PROBE_FRAMES + 1 : k + h + 1]
        truth = batch.state[:, k + h].numpy()[:, columns]
        for name, error in probe.mean_absolute_error(seen, truth).items():
            if error is not None:
                errors[name][h] = float(error)
    return out | errors


def _table(scores: dict[str, list[dict[str, dict[int, float]]]]) -> dict[str, Any]:
    """Means over seeds as the report gives them, and their standard deviation under "spread"."""
    kinds = list(next(iter(scores.values()))[0])
    mean: dict[str, Any] = {"psnr": {}, "state_error": {k: {} for k in kinds if k != "psnr"}, "spread": {}}
    for name, runs in scores.items():
        for kind in kinds:
            values = {h: [run[kind][h] for run in runs if h in run[kind]] for h in runs[0][kind]}
            place = mean["psnr"] if kind == "psnr" else mean["state_error"][kind]
            place[name] = {str(h): round(float(np.mean(v)), 4) for h, v in values.items()}
            mean["spread"].setdefault(kind, {})[name] = {str(h): round(float(np.std(v)), 4) for h, v in values.items()}
    return mean


@torch.no_grad()
def action_shuffle_ratio(model: WorldModel[Any], cache: FrameCache, config: FidelityConfig) -> dict[str, float] | None:
    """How much the frame error grows when films get each other's actions: of one step, and at 10 imagined frames."""
    if not isinstance(model, LatentWorldModel):
        return None
    batch = _films(cache, config, seed=101)
    shuffled = dataclasses.replace(batch, actions=batch.actions.roll(1, dims=0))
    errors = {}
    for name, given in (("true", batch), ("shuffled", shuffled)):
        noise = NoiseStream(torch.arange(config.films), torch.zeros(config.films, dtype=torch.int64))
        latents = model.encode({c: f[:, :17] for c, f in given.frames.items()})
        cut = targets_of(given, torch.device("cpu")).steps(slice(16))
        with torch.autocast("cpu", torch.bfloat16):
            one = float(model.loss(latents, given.actions[:, :16], cut, noise)["frame"])
        far = imagine(
            model, dataclasses.replace(given, actions=given.actions[:, : config.context + 10]), config.context
        )
        camera = next(iter(far))
        real = batch.frames[camera][:, config.context + 10].numpy().astype(np.float32)
        errors[name] = one, float(np.square(real - far[camera][:, -1]).mean())
    ratios = [b / a for a, b in zip(errors["true"], errors["shuffled"], strict=True)]
    return {"one_step_loss": round(ratios[0], 3), "frame_10_error": round(ratios[1], 3)}


def _write_strips(path: Path, batch: Batch, imagined: dict[str, NDArray[np.uint8]], context: int) -> None:
    """Eight films, real above imagined, at 0.1, 0.5, 1, 2, 3 and 5 s."""
    camera = next(iter(imagined))
    steps = [s for s in (0, 4, 9, 19, 29, 49) if s < imagined[camera].shape[1]]
    real = batch.frames[camera][:, context + 1 :].numpy()
    rows = []
    for i in range(min(8, len(real))):
        rows += [np.concatenate([film[i, s] for s in steps], axis=1) for film in (real, imagined[camera])]
    picture = np.concatenate(rows, axis=0).repeat(2, axis=0).repeat(2, axis=1)
    write_png(path, picture)
