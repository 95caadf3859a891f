"""bench fidelity: how near imagined frames stay to the real ones, beside the reference and the frozen frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.bench.films import FidelityConfig, draw_films, fit_state_probe, imagine, score, table
from simworld.checkpoint import load_world_model
from simworld.data.cache import FrameCache
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.data.windows import Batch
from simworld.metrics.video import copy_last
from simworld.model.noise import NoiseStream
from simworld.phases import targets_of
from simworld.report.film import write_png
from simworld.train import TrainConfig, train
from simworld.world_model import LatentWorldModel, WorldModel


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
    probe = fit_state_probe(EpisodeStore(data).cache(), names, config) if names else None
    columns = [cache.spec.state_names.index(n) for n in names]
    scores: dict[str, list[dict[str, dict[int, float]]]] = {}
    for seed in config.seeds:
        batch = draw_films(cache, config, seed)
        for name, model in models.items():
            report(f"seed {seed}: imagining {config.films} films with {name}")
            imagined = imagine(model, batch, config.context)
            scores.setdefault(name, []).append(score(batch, imagined, probe, columns, config))
            if seed == config.seeds[0]:
                _write_strips(out / f"films_{name}.png", batch, imagined, config.context)
        still = {c: copy_last(f[:, config.context].numpy(), max(config.horizons)) for c, f in batch.frames.items()}
        scores.setdefault("copy_last", []).append(score(batch, still, probe, columns, config))
    fidelity = table(scores) | {
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


@torch.no_grad()
def action_shuffle_ratio(model: WorldModel[Any], cache: FrameCache, config: FidelityConfig) -> dict[str, float] | None:
    """How much the frame error grows when films get each other's actions: of one step, and at 10 imagined frames."""
    if not isinstance(model, LatentWorldModel):
        return None
    batch = draw_films(cache, config, seed=101)
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
