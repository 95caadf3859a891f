"""train(): from a store of episodes to a world model, resumable, on one process or many."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from simworld.believing import BelievingWorldModel
from simworld.canvas_world_model import CanvasWorldConfig, CanvasWorldModel
from simworld.checkpoint import build_world_model, save_world_model
from simworld.config import to_json
from simworld.data.cache import FrameCache
from simworld.data.files import read_json, write_json
from simworld.data.store import EpisodeStore
from simworld.fit import Run, fit, processor_s
from simworld.inherit import inherit
from simworld.latent_world_model import LatentConfig, LatentWorldModel
from simworld.memory import keep_freed_memory
from simworld.model.codec import ConvCodec
from simworld.optim import OptimConfig
from simworld.phases import (
    BeliefPhase,
    CanvasPhase,
    CloseUpsPhase,
    CodecPhase,
    DynamicsPhase,
    LookoutPhase,
    PhaseConfig,
    ReferencePhase,
    TouchPhase,
    TracksPhase,
    TrustPhase,
    encode_all,
)
from simworld.reference_world_model import ReferenceWorldConfig, ReferenceWorldModel
from simworld.sharding import Sharding
from simworld.start_films import StartFilms

NUM_STARTS, CONTEXT = 32, 8  # start films put beside the weights
FEW = 20  # episodes, fewer than which are not worth setting aside
# the parts of a recipe that not every model reads
BELIEVING = {"belief", "belief_optim", "belief_share", "trust", "trust_optim", "trust_windows", "aside"}
READ_BY = {
    "canvas": BELIEVING
    | {"canvas", "lookout", "lookout_optim", "lookout_share", "paint", "paint_optim"}
    | {"tracks", "tracks_optim", "closeups", "closeups_optim"}
    | {"touch", "touch_optim", "touch_windows", "touch_aside"},
    "latent": BELIEVING | {"latent", "codec", "codec_optim", "codec_share", "dynamics", "dynamics_optim"},
    "unet": {"unet", "reference", "reference_optim"},
}


@dataclass(frozen=True)
class TrainConfig:
    """All of a training run but its data.

    `budget_min` gives processor minutes instead of steps, of which `belief_share` goes to the belief and the outcome
    heads, before it `lookout_share` to the lookout of a canvas that has one (`canvas.lookout.most` above 0), and
    `codec_share` to the codec that model=latent has. What looks in turn say of places and velocities is learned after
    the lookout, then what close-ups do, and what guesses of others say of events after the belief: each from
    `touch_windows` windows, of the
    share `touch_aside` of a large store's episodes, which lookout and belief never saw, as what they hold of episodes
    that they know by heart is too good. What expects the error learns last, from `trust_windows` windows of episodes
    that no other saw, and hazards are calibrated there: the share `aside` of a large store's. `init` is a checkpoint to
    go on from, whose codec is kept. A phase of no steps is left out.
    The reference keeps the published AdamW, at a larger rate and in smaller batches than published, as far as a CPU
    affords. `sharding` fsdp splits weights, gradients and optimiser state over the ranks of torchrun; `recompute` keeps
    no activations inside a block and computes them again.
    """

    model: Literal["canvas", "latent", "unet"] = "canvas"
    canvas: CanvasWorldConfig = field(default_factory=CanvasWorldConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    unet: ReferenceWorldConfig = field(default_factory=ReferenceWorldConfig)
    codec: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=3000, batch=16))
    codec_optim: OptimConfig = field(default_factory=lambda: OptimConfig(kind="adamw", lr=1.5e-3, ema=0.995))
    belief: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=4000, batch=64, window=30))
    belief_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="muon_all", cooldown=0.7, weight_decay=0.03)
    )
    lookout: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=6000, batch=32))
    lookout_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="muon_all", matrix_lr=1.2e-2, cooldown=0.7, weight_decay=0.03)
    )
    tracks: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=1200, batch=128, event_fraction=0.5))
    tracks_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="adamw", lr=2e-3, cooldown=1.0, weight_decay=0.05)
    )
    closeups: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=3000, batch=48, event_fraction=0.5))
    closeups_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="muon_all", lr=1e-3, cooldown=0.7, ema=0.995, weight_decay=0.03)
    )
    touch: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=1500, batch=64, window=30, event_fraction=0.5))
    touch_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="adamw", lr=2e-3, cooldown=0.5, weight_decay=0.02)
    )
    touch_windows: int = 20000
    touch_aside: float = 0.15
    dynamics: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=4000, batch=8))
    dynamics_optim: OptimConfig = field(default_factory=OptimConfig)
    paint: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=6000, batch=64, window=50, unroll_from=0.2))
    paint_optim: OptimConfig = field(default_factory=lambda: OptimConfig(cooldown=0.4, ema=0.997))
    trust: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=300, batch=64))
    trust_optim: OptimConfig = field(default_factory=lambda: OptimConfig(kind="adamw", lr=1e-3, cooldown=0.5))
    trust_windows: int = 960
    aside: float = 0.04
    reference: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=2000, batch=16))
    reference_optim: OptimConfig = field(default_factory=lambda: OptimConfig(kind="adamw", lr=3e-4, warmup_steps=100))
    seed: int = 0
    device: str = "cpu"
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    init: str | None = None
    budget_min: float | None = None
    codec_share: float = 0.2
    belief_share: float = 0.4
    lookout_share: float = 0.15
    save_every_s: float = 60.0
    sharding: Sharding = "replicated"
    recompute: bool = False


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
        cache = EpisodeStore(data).cache()
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
        _claim(out, config, cache, run)
        if (out / "model/config.json").exists():  # written last of all: the run is over
            return out / "model"
        # drawn first: a store that holds no start is refused before the training, not after it
        films = StartFilms.from_store(starts or data, num=NUM_STARTS, context=CONTEXT, seed=config.seed)
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
        inherit(model, config.init, run.report)
    model.to(run.device)
    if isinstance(model, BelievingWorldModel):
        cpu_s = _train_believing(model, config, cache, run)
    else:
        assert isinstance(model, ReferenceWorldModel)
        cpu_s = _train_reference(model, config, cache, run)
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


def _train_believing(
    model: BelievingWorldModel[Any], config: TrainConfig, cache: FrameCache, run: Run
) -> dict[str, float]:
    """Lookout, tracks, belief, touch, then what draws its frames (for `latent` a codec first and all latents between),
    then trust; returns processor seconds by phase."""
    cache, aside = cache.parted(config.aside, FEW)
    seen, unseen = _parted_for_touch(model, config, cache)
    budget_s = None if config.budget_min is None else 60 * config.budget_min
    cpu_s: dict[str, float] = {}
    if isinstance(model, LatentWorldModel) and isinstance(model.codec, ConvCodec) and config.init is None:
        codec = CodecPhase(model, cache, config.codec, config.codec_optim, config.seed, run)
        cpu_s["codec"] = fit(codec, run, budget_s=None if budget_s is None else config.codec_share * budget_s)
        codec.finish()
    if isinstance(model, CanvasWorldModel) and model.lookout is not None:
        share_s = None if budget_s is None else config.lookout_share * budget_s
        cpu_s |= _look_out(model, config, seen, unseen, run, share_s)
    if config.belief.steps:
        _measure_outcomes(model, seen)
        belief = BeliefPhase(model, seen, config.belief, config.belief_optim, config.seed, run)
        cpu_s["belief"] = fit(belief, run, budget_s=None if budget_s is None else config.belief_share * budget_s)
    if isinstance(model, CanvasWorldModel) and model.touch is not None and config.touch.steps:
        model.touch.tokens.measure(torch.tensor(unseen.actors[::7]))
        touch = TouchPhase(model, unseen, config.touch, config.touch_optim, config.seed, run, config.touch_windows)
        cpu_s["touch"] = fit(touch, run)
        touch.finish()
    if isinstance(model, CanvasWorldModel) and config.paint.steps:
        paint = CanvasPhase(model, cache, config.paint, config.paint_optim, config.seed, run)
        cpu_s["paint"] = fit(paint, run, budget_s=None if budget_s is None else budget_s - sum(cpu_s.values()))
    if isinstance(model, LatentWorldModel) and config.dynamics.steps:
        latents, cpu_s["encode"] = _encoded(model, cache, run)
        dynamics = DynamicsPhase(model, cache, config.dynamics, config.dynamics_optim, config.seed, run, latents)
        cpu_s["dynamics"] = fit(dynamics, run, budget_s=None if budget_s is None else budget_s - sum(cpu_s.values()))
    if config.trust.steps:
        trust = TrustPhase(model, aside, config.trust, config.trust_optim, config.seed, run, config.trust_windows)
        cpu_s["trust"] = fit(trust, run)
        trust.finish()
    return cpu_s


def _look_out(
    model: CanvasWorldModel, config: TrainConfig, seen: FrameCache, unseen: FrameCache, run: Run, budget_s: float | None
) -> dict[str, float]:
    """The lookout, then tracks and close-ups on what it says of episodes that it never saw."""
    cpu_s: dict[str, float] = {}
    if config.lookout.steps:
        lookout = LookoutPhase(model, seen, config.lookout, config.lookout_optim, config.seed, run)
        cpu_s["lookout"] = fit(lookout, run, budget_s=budget_s)
    if config.tracks.steps:
        tracks = TracksPhase(model, unseen, config.tracks, config.tracks_optim, config.seed, run, config.touch_windows)
        cpu_s["tracks"] = fit(tracks, run)
    if config.closeups.steps:
        num = config.touch_windows
        closeups = CloseUpsPhase(model, unseen, config.closeups, config.closeups_optim, config.seed, run, num)
        cpu_s["closeups"] = fit(closeups, run)
    return cpu_s


def _parted_for_touch(
    model: BelievingWorldModel[Any], config: TrainConfig, cache: FrameCache
) -> tuple[FrameCache, FrameCache]:
    """What lookout and belief learn from, and what touch does: all episodes where one learns without the other."""
    touch = model.touch if isinstance(model, CanvasWorldModel) else None
    if touch is None or not config.touch.steps or not config.belief.steps:
        return cache, cache
    return cache.parted(config.touch_aside, FEW)


def _encoded(model: LatentWorldModel, cache: FrameCache, run: Run) -> tuple[dict[str, Any], float]:
    """Latents of all frames, and the processor seconds that they took when they were made."""
    mark_s, path = processor_s(), run.folder / "encode.json"
    latents = encode_all(model, cache, run)
    if run.rank == 0 and not path.exists():
        write_json(path, {"cpu_s": round(processor_s() - mark_s, 2)})
    run.barrier()
    return latents, float(read_json(path)["cpu_s"])


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


def _train_reference(model: ReferenceWorldModel, config: TrainConfig, cache: FrameCache, run: Run) -> dict[str, float]:
    model.to_dtype(torch.float32)
    _measure_outcomes(model, cache)
    phase = ReferencePhase(model, cache, config.reference, config.reference_optim, config.seed, run)
    return {"reference": fit(phase, run, budget_s=None if config.budget_min is None else 60 * config.budget_min)}


def _measure_outcomes(model: BelievingWorldModel[Any] | ReferenceWorldModel, cache: FrameCache) -> None:
    """Reward's and state's mean and spread, the actors' scales, and how often each event ended the episode."""
    reward = torch.from_numpy(cache.reward[cache.steps_left >= 0])
    model.heads.reward_mean.copy_(reward.mean())
    model.heads.reward_std.copy_(reward.std().clamp(min=1e-3))
    if model.heads.sizes["state"]:
        state = torch.tensor(cache.state).double()
        model.heads.state_mean.copy_(state.mean(0))
        model.heads.state_std.copy_(state.std(0).clamp(min=1e-3))
    if isinstance(model, BelievingWorldModel):
        drawing = [model.dynamics.actors] if isinstance(model, LatentWorldModel) else []
        for told in (*drawing, model.belief.actors, model.belief.guesses):
            if told is not None:
                told.measure(torch.tensor(cache.actors[::7]))
    events = [o.name for o in cache.spec.outcomes if o.kind == "event"]
    for i, name in enumerate(events):
        ends = cache.terminated[cache.steps_to_event[name] == 0]
        if len(ends):
            model.heads.p_ends_given_event[i] = float(ends.mean())


def _join_ranks(device: str) -> bool:
    """Join the process group that torchrun announces; True if this call made it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        return False
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" then means this rank's own
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return True


def _claim(out: Path, config: TrainConfig, cache: FrameCache, run: Run) -> None:
    """Write the run's recipe into its folder, or check that the folder holds the same one."""
    # what may change between starts of one run without changing its result
    free = {"device", "save_every_s", "sharding", "recompute"}
    free |= set().union(*READ_BY.values()) - READ_BY[config.model]
    recipe: dict[str, Any] = {k: v for k, v in to_json(config).items() if k not in free}
    recipe["data"] = hashlib.sha256(str(cache.path.name).encode()).hexdigest()[:16]
    recipe = json.loads(json.dumps(recipe))
    path = out / "run.json"
    run.barrier()
    if path.exists():
        known = read_json(path)
        changed = sorted(k for k in recipe if known.get(k) != recipe[k])
        if changed:
            raise ValueError(f"{out} holds a run with another {', '.join(changed)}; choose another folder or delete it")
    elif run.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, recipe)
    run.barrier()


def _last_losses(path: Path) -> dict[str, dict[str, float]]:
    """The last logged row of each phase."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {row["phase"]: {k: v for k, v in row.items() if k != "phase"} for row in rows}
