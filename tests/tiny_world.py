"""The smallest world that has everything: two cameras of different sizes, every kind of outcome and of action."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simworld.canvas_state import CanvasWorldConfig
from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import build_world_model, save_world_model
from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec, Episode, EpisodeSpec, OutcomeSpec
from simworld.latent_world_model import LatentConfig, LatentWorldModel
from simworld.model.belief import BeliefConfig
from simworld.model.canvas import CanvasConfig
from simworld.model.codec import CodecConfig
from simworld.model.dynamics import DynamicsConfig
from simworld.model.outcomes import HeadsConfig, by_name
from simworld.nets.painter import PainterConfig
from simworld.nets.transformer import TransformerConfig
from simworld.optim import OptimConfig
from simworld.phases import PhaseConfig
from simworld.recipe import TrainConfig
from simworld.start_films import StartFilms

WINDOW = 5  # frames that attention looks back, its own included
STEER = ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0))
CHOICE = ActionSpec("discrete", n=3)
OUTCOMES = (
    OutcomeSpec("collision", "event"),
    OutcomeSpec("impulse", "scalar", unit="N s", given="collision", scale=100.0),
    OutcomeSpec("side", "category", categories=("front", "left", "right"), given="collision"),
    OutcomeSpec("offroad", "event"),
    OutcomeSpec("speed", "scalar", unit="m/s"),
)
SPEC = EpisodeSpec("tiny", {"front": (16, 24), "rear": (8, 16)}, STEER, OUTCOMES)
TRANSFORMER = TransformerConfig(width=16, layers=2, heads=2, mlp_ratio=2, temporal_every=2, window=WINDOW)
PIXELS = LatentConfig(
    codec=CodecConfig(kind="pixels"),
    dynamics=DynamicsConfig(transformer=TRANSFORMER, registers=2, max_actors=2),
    belief=BeliefConfig(size=12, ago=(2, 1, 0), width=4, told_width=4),
    heads=HeadsConfig(horizon=4, width=8),
)
CONV = dataclasses.replace(PIXELS, codec=CodecConfig(channels=4, widths=(4, 4, 8)))
CANVAS = CanvasWorldConfig(
    canvas=CanvasConfig(painter=PainterConfig(widths=(8, 12), depths=(1, 1), condition=8), max_actors=2),
    belief=PIXELS.belief,
    heads=PIXELS.heads,
)
TRAIN = TrainConfig(
    model="latent",
    latent=CONV,
    canvas=CANVAS,
    paint=PhaseConfig(steps=6, batch=4, window=4, unroll_from=0.2),
    paint_optim=OptimConfig(warmup_steps=1),
    codec=PhaseConfig(steps=4, batch=4),
    dynamics=PhaseConfig(steps=6, batch=4, window=6, rolled_every=2),
    dynamics_optim=OptimConfig(warmup_steps=1),
    belief=PhaseConfig(steps=2, batch=4, window=4),
    reckoning=PhaseConfig(steps=2, batch=4, window=4),
    reckoning_windows=6,
    forecast=PhaseConfig(steps=2, batch=4),
    trust=PhaseConfig(steps=3, batch=4),
    trust_windows=8,
    precision="float32",
)


def episode_of(seed: int, steps: int, spec: EpisodeSpec = SPEC) -> Episode:
    """Frames of noise; a collision at the last step of even seeds, which ends the episode."""
    rng = np.random.default_rng(seed)
    collision = np.zeros(steps, np.float32)
    collision[-1] = seed % 2 == 0
    hit = collision > 0
    if spec.action.kind == "continuous":
        actions = rng.uniform(-1, 1, (steps, spec.action.size)).astype(np.float32)
    else:
        actions = rng.integers(0, spec.action.n, (steps, 1)).astype(np.float32)
    return Episode(
        frames={c: rng.integers(0, 256, (steps + 1, *hw, 3), dtype=np.uint8) for c, hw in spec.cameras.items()},
        actions=actions,
        reward=rng.normal(size=steps).astype(np.float32),
        terminated=hit,
        outcomes={
            "collision": collision,
            "impulse": np.where(hit, 50.0, np.nan).astype(np.float32),
            "side": np.where(hit, 1.0, np.nan).astype(np.float32),
            "offroad": (rng.random(steps) < 0.1).astype(np.float32),
            "speed": rng.uniform(0, 30, steps).astype(np.float32),
        },
        state=rng.normal(size=(steps + 1, len(spec.state_names))).astype(np.float32),
        actors=_actors(rng, steps + 1),
    )


def _actors(rng: np.random.Generator, frames: int) -> np.ndarray:
    """One actor that is always there and one that never is."""
    rows = rng.normal(size=(frames, 2, 9)).astype(np.float32)
    rows[..., 0], rows[..., 6:] = rng.integers(0, 8), np.abs(rows[..., 6:])
    rows[:, 1] = np.nan
    return rows


def write_store(path: Path, spec: EpisodeSpec = SPEC) -> Path:
    """Four episodes of 30 steps."""
    store = EpisodeStore.create(path, spec)
    for seed in range(4):
        store.append(episode_of(seed, 30, spec))
    return path


def lively_model(config: LatentConfig = PIXELS, spec: EpisodeSpec = SPEC, seed: int = 0) -> LatentWorldModel:
    """A model whose frames follow its action, past and noise: untrained, with the zeros of its head replaced.

    No event happens in it, and so no film ends by chance."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_world_model("latent", config, spec)
        assert isinstance(model, LatentWorldModel)
        half = model.dynamics.channels
        torch.nn.init.normal_(model.dynamics.head.weight[:half].detach(), std=0.2)
        model.dynamics.head.bias.data[half:] = 0.5
        for block in model.dynamics.transformer.blocks:
            torch.nn.init.normal_(block.condition.weight)  # so that an action shows
            if block.age_bias is not None:
                torch.nn.init.normal_(block.age_bias.table)
        raw = by_name(model.heads.out.bias.detach(), model.heads.sizes)
        for name in ("terminated", "collision", "offroad"):
            raw[name].fill_(-30.0)
    return model.eval().requires_grad_(False)


def quiet_model(**biases: float) -> Any:
    """A lively model in which no event happens and no episode ends, but for the `biases` of its heads."""
    model = lively_model()
    raw = by_name(model.heads.out.bias.detach(), model.heads.sizes)
    model.heads.out.weight.zero_()
    for name in ("collision", "offroad", "terminated"):
        raw[name].fill_(biases.get(name, -30.0))
    return model


def lively_canvas(config: CanvasWorldConfig = CANVAS, spec: EpisodeSpec = SPEC, seed: int = 0) -> CanvasWorldModel:
    """The same of the canvas."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_world_model("canvas", config, spec)
        assert isinstance(model, CanvasWorldModel)
        torch.nn.init.normal_(model.canvas.painter.head.weight.detach(), std=0.1)
        torch.nn.init.normal_(model.canvas.told.weight.detach(), std=0.5)
        for block in model.canvas.painter.blocks:
            torch.nn.init.normal_(block.second.weight.detach(), std=0.2)  # so that an action shows
        raw = by_name(model.heads.out.bias.detach(), model.heads.sizes)
        for name in ("terminated", "collision", "offroad"):
            raw[name].fill_(-30.0)
    return model.eval().requires_grad_(False)


def write_checkpoint(folder: Path, **model: Any) -> Path:
    """A lively model, and eight start films of four actions beside it."""
    made = lively_model(**model)
    save_world_model(made, folder)
    episodes = [episode_of(seed, 4, made.spec) for seed in range(8)]
    StartFilms(
        {c: np.stack([e.frames[c] for e in episodes]) for c in made.spec.cameras},
        np.stack([e.actions for e in episodes]),
    ).save(folder)
    return folder


def film_batch(b: int, k: int, spec: EpisodeSpec = SPEC, seed: int = 0) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """k + 1 frames {camera: uint8 (b, k+1, h, w, 3)} and k actions (b, k, a)."""
    episodes = [episode_of(seed + i, max(k, 1), spec) for i in range(b)]
    frames = {c: torch.from_numpy(np.stack([e.frames[c][: k + 1] for e in episodes])) for c in spec.cameras}
    return frames, torch.from_numpy(np.stack([e.actions[:k] for e in episodes]))
