"""bench fidelity: how near imagined frames stay to the real ones, beside the reference and the frozen frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.bench.control import shuffled_actions, steering
from simworld.bench.films import FidelityConfig, draw_films, fit_state_probe, imagine, score, table
from simworld.checkpoint import load_world_model
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.data.windows import Batch
from simworld.metrics.video import copy_last
from simworld.recipe import TrainConfig
from simworld.report.film import write_png
from simworld.train import train
from simworld.world_model import WorldModel


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

    "simworld_told" are the films of a model that is also given where the other actors will be.
    With `budget_min` the default model and the reference are trained from scratch, one after the other, for the
    same processor time on `data`; with `checkpoint` given weights are scored, the reference only if `out` has one.
    """
    config = config or FidelityConfig()
    models = _models(data, out, budget_min, checkpoint, train_config or TrainConfig(), report)
    report("fitting the state probe on real frames")
    cache, train = (EpisodeStore(path).cache(models["simworld"].spec.cameras) for path in (heldout, data))
    names = [n for n in config.probed if n in cache.spec.state_names]
    probe = fit_state_probe(train, names, config) if names else None
    columns = [cache.spec.state_names.index(n) for n in names]
    scores: dict[str, list[dict[str, dict[int, float]]]] = {}
    for seed in config.seeds:
        batch = draw_films(cache, config, seed)
        for name, model in _runs(models, batch):
            report(f"seed {seed}: imagining {config.films} films with {name}")
            imagined = imagine(model, batch, config.context, told=name.endswith("_told"))
            scores.setdefault(name, []).append(score(batch, imagined, probe, columns, config))
            if seed == config.seeds[0]:
                _write_strips(out / f"films_{name}.png", batch, imagined, config.context)
        still = {c: copy_last(f[:, config.context].numpy(), max(config.horizons)) for c, f in batch.frames.items()}
        scores.setdefault("copy_last", []).append(score(batch, still, probe, columns, config))
    fidelity = table(scores) | {
        "films": config.films * len(config.seeds),
        "probe": None if probe is None or probe.fit is None else dataclasses.asdict(probe.fit),
        **shuffled_actions(models["simworld"], cache, config),
        "steering": steering(models["simworld"], cache, probe, config),
        "budget_cpu_min": budget_min,
    }
    write_json(out / "report.json", {"fidelity": fidelity})
    return {"fidelity": fidelity}


def _runs(models: dict[str, WorldModel[Any]], batch: Batch) -> list[tuple[str, WorldModel[Any]]]:
    """Every model, and beside it the same one told of the actors, if it can be."""
    told = [(f"{name}_told", model) for name, model in models.items() if model.max_actors and batch.actors.shape[2]]
    return [*models.items(), *told]


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
            # what expects the error changes no frame
            trust = dataclasses.replace(config.trust, steps=0)
            recipe = dataclasses.replace(config, model=kind, budget_min=budget_min, trust=trust)
            folders[name] = train(recipe, data=data, out=out / name, report=report)
    return {name: load_world_model(folder, dtype=torch.bfloat16) for name, folder in folders.items()}


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
