"""train(): from a store of episodes to a world model, resumable, on one process or many."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from simworld.believing import BelievingWorldModel
from simworld.canvas_state import CanvasWorldConfig
from simworld.checkpoint import build_world_model, save_world_model
from simworld.curriculum import train_believing, train_reference
from simworld.data.cache import FrameCache
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.fit import Run
from simworld.inherit import inherit, look_as
from simworld.latent_world_model import LatentConfig
from simworld.memory import keep_freed_memory
from simworld.recipe import TrainConfig, claim
from simworld.reference_world_model import ReferenceWorldConfig, ReferenceWorldModel
from simworld.start_films import StartFilms

NUM_STARTS, CONTEXT = 32, 8  # start films put beside the weights


def train(
    config: TrainConfig,
    *,
    data: Path,
    out: Path,
    starts: Path | None = None,
    report: Callable[[str], None] = print,
    on_metrics: Callable[[dict[str, float]], None] | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train on the store at `data`; returns ``out/model``, a checkpoint. Run again to resume.

    `starts` names a store, best a held-out one, from which start films are put beside the weights.
    Under torchrun every process calls this with the same arguments. Raises ValueError where `out` holds
    another run, or the data does not fit the model.
    """
    if config.device == "cpu":
        keep_freed_memory()
    own_group = _join_ranks(config.device)
    try:
        cache = EpisodeStore(data).cache(config.cameras)
        run = Run(
            folder=out,
            device=torch.device(config.device),
            autocast=torch.bfloat16 if config.precision == "bfloat16" else None,
            save_every_s=config.save_every_s,
            report=report,
            on_metrics=on_metrics,
            stop_after=stop_after,
            sharding=config.sharding,
            recompute=config.recompute,
        )
        claim(out, config, cache, run)
        if (out / "model/config.json").exists():  # written last of all: the run is over
            return out / "model"
        # drawn first: a store that holds no start is refused before the training, not after it
        films = StartFilms.from_store(
            starts or data, num=NUM_STARTS, context=CONTEXT, seed=config.seed, cameras=cache.spec.cameras
        )
        return _train(config, cache, run, films)
    finally:
        if own_group:
            dist.destroy_process_group()


def _train(config: TrainConfig, cache: FrameCache, run: Run, films: StartFilms) -> Path:
    started_s = time.monotonic()
    model_config = _model_config(config, cache)
    with torch.random.fork_rng(devices=[]):  # fresh weights are a function of the seed alone
        torch.manual_seed(config.seed)
        model = build_world_model(config.model, model_config, cache.spec)
    if config.init is not None:
        inherit(model, config.init, run.tell)
    if config.lookout_init is not None:
        look_as(model, config.lookout_init, run.tell)
    model.to(run.device)
    if isinstance(model, BelievingWorldModel):
        cpu_s = train_believing(model, config, cache, run, _interventions(config, cache))
    else:
        assert isinstance(model, ReferenceWorldModel)
        cpu_s = train_reference(model, config, cache, run)
    folder = run.folder / "model"
    if run.rank == 0:
        done = {
            "cpu_min": round(sum(cpu_s.values()) / 60, 2),
            "cpu_min_by_phase": {name: round(s / 60, 2) for name, s in cpu_s.items()},
            "wall_min_of_last_start": round((time.monotonic() - started_s) / 60, 2),
            "parameters": sum(p.numel() for p in model.parameters()),
            "frames": len(cache.actions),
            "losses": _last_losses(run.folder / "metrics.jsonl"),
        }
        write_json(run.folder / "report.json", {"training": done})
        films.save(folder)
        save_world_model(model, folder, training=done | {"seed": config.seed, "data": str(cache.spec.env_id)})
    run.barrier()
    return folder


def _interventions(config: TrainConfig, cache: FrameCache) -> tuple[FrameCache, ...]:
    """The store of drawn actions, if any, as the same cameras saw it; ValueError where it is of another env."""
    if config.interventions is None:
        return ()
    drawn = EpisodeStore(Path(config.interventions)).cache(tuple(cache.spec.cameras))
    for what in ("cameras", "action", "outcomes", "state_names"):
        ours, theirs = getattr(cache.spec, what), getattr(drawn.spec, what)
        if ours != theirs:
            raise ValueError(f"{config.interventions} has other {what} ({theirs}) than the data ({ours})")
    return (drawn,)


def _model_config(config: TrainConfig, cache: FrameCache) -> CanvasWorldConfig | LatentConfig | ReferenceWorldConfig:
    """The asked model's config; where nobody was recorded, it can not be conditioned on actors."""
    if config.model == "unet":
        return config.unet
    if config.model == "canvas":
        canvas = config.canvas.canvas
        num = min(canvas.max_actors, cache.actors.shape[1])
        return replace(config.canvas, canvas=replace(canvas, max_actors=num))
    dynamics = config.latent.dynamics
    num = min(dynamics.max_actors, cache.actors.shape[1])
    return replace(config.latent, dynamics=replace(dynamics, max_actors=num))


def _join_ranks(device: str) -> bool:
    """Join the process group that torchrun announces; True if this call made it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return False
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" then means this rank's own
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return True


def _last_losses(path: Path) -> dict[str, dict[str, float]]:
    """The last logged row of each phase."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["phase"]: {k: v for k, v in row.items() if k != "phase"} for row in rows}
