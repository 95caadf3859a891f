"""The recipe of a training run: all of it but its data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from simworld.canvas_state import CanvasWorldConfig
from simworld.config import to_json
from simworld.data.cache import FrameCache
from simworld.data.files import read_json, write_json
from simworld.fit import Run
from simworld.latent_world_model import LatentConfig
from simworld.optim import OptimConfig
from simworld.phases import PhaseConfig
from simworld.reference_world_model import ReferenceWorldConfig
from simworld.sharding import Sharding

# the parts of a recipe that not every model reads
BELIEVING = {
    "belief",
    "belief_optim",
    "belief_share",
    "trust",
    "trust_optim",
    "trust_windows",
    "aside",
    "interventions",
}
READ_BY = {
    "canvas": BELIEVING
    | {"canvas", "lookout", "lookout_optim", "lookout_share", "paint", "paint_optim"}
    | {"tracks", "tracks_optim", "closeups", "closeups_optim"}
    | {"odometry", "odometry_optim"}
    | {"reckoning", "reckoning_optim", "reckoning_windows", "forecast", "forecast_optim"}
    | {"touch", "touch_optim", "touch_windows", "touch_aside", "consequences", "consequences_optim"},
    "latent": BELIEVING | {"latent", "codec", "codec_optim", "codec_share", "dynamics", "dynamics_optim"},
    "unet": {"unet", "reference", "reference_optim"},
}


@dataclass(frozen=True)
class TrainConfig:
    """All of a training run but its data.

    `budget_min` gives processor minutes instead of steps, of which `belief_share` goes to the belief and the outcome
    heads, before it `lookout_share` to the lookout of a canvas that has one (`canvas.lookout.most` above 0), and
    `codec_share` to the codec that model=latent has. What looks in turn say of places and velocities is learned after
    the lookout, then what close-ups do, and after the belief how the state and the others go on, from
    `reckoning_windows` windows, and what guesses of others say of events, and what comes of actions where
    `canvas.consequences` asks for that: each but the first two of these from `touch_windows` windows, all of the
    share `touch_aside` of a large store's episodes, which lookout and belief never saw, as what they hold of episodes
    that they know by heart is too good. What expects the error learns last, from `trust_windows` windows of episodes
    that no other saw, and hazards are calibrated there: the share `aside` of a large store's.
    `interventions` is the path of another store, in which actions were drawn regardless of what is around; half of
    the windows of reckoning, forecast, touch and consequences, and of those that hazards are calibrated on, are of
    it, or else actions are taken for signs of what whoever chose them knew.
    `init` is a checkpoint to go on from, whose codec is kept, and `lookout_init` one whose lookout is taken over with
    all that goes on from what it spots. Of a store's `cameras` the model has these, or all. A phase of no steps is
    left out.
    The reference keeps the published AdamW, at a larger rate and in smaller batches than published, as far as a CPU
    affords. `sharding` fsdp splits weights, gradients and optimiser state over the ranks of torchrun; `recompute`
    keeps no activations inside a block and computes them again.
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
    odometry: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=3000, batch=48))
    odometry_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="muon_all", lr=1e-3, cooldown=0.8, weight_decay=0.03)
    )
    tracks: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=1200, batch=128, event_fraction=0.5))
    tracks_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="adamw", lr=2e-3, cooldown=1.0, weight_decay=0.05)
    )
    closeups: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=3000, batch=48, event_fraction=0.5))
    closeups_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="muon_all", lr=1e-3, cooldown=0.7, ema=0.995, weight_decay=0.03)
    )
    reckoning: PhaseConfig = field(
        default_factory=lambda: PhaseConfig(steps=2500, batch=128, window=30, event_fraction=0.5)
    )
    reckoning_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="adamw", lr=3e-3, cooldown=1.0, ema=0.998, weight_decay=1e-3)
    )
    reckoning_windows: int = 12000
    forecast: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=1500, batch=64))
    forecast_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="adamw", lr=2e-3, cooldown=1.0, ema=0.998, weight_decay=1e-2)
    )
    touch: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=1500, batch=64, window=30, event_fraction=0.5))
    touch_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="adamw", lr=2e-3, cooldown=0.5, weight_decay=0.02)
    )
    touch_windows: int = 20000
    consequences: PhaseConfig = field(default_factory=lambda: PhaseConfig(steps=1000, batch=64))
    consequences_optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(kind="adamw", lr=2e-3, cooldown=1.0, ema=0.995, weight_decay=0.02)
    )
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
    lookout_init: str | None = None
    interventions: str | None = None
    cameras: tuple[str, ...] | None = None
    budget_min: float | None = None
    codec_share: float = 0.2
    belief_share: float = 0.4
    lookout_share: float = 0.15
    save_every_s: float = 60.0
    sharding: Sharding = "replicated"
    recompute: bool = False


def claim(out: Path, config: TrainConfig, cache: FrameCache, run: Run) -> None:
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
