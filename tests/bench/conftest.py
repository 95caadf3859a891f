"""Fixtures: a small store of driving-like episodes and the checkpoint of a tiny untrained model of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simworld.canvas_state import CanvasWorldConfig
from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import save_world_model
from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec, Episode, EpisodeSpec, OutcomeSpec
from simworld.latent_world_model import LatentConfig, LatentWorldModel
from simworld.model.canvas import CanvasConfig
from simworld.model.codec import CodecConfig
from simworld.model.dynamics import DynamicsConfig
from simworld.model.outcomes import HeadsConfig
from simworld.nets.painter import PainterConfig
from simworld.nets.transformer import TransformerConfig

SPEC = EpisodeSpec(
    env_id="toy",
    cameras={"front": (16, 16)},
    action=ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
    outcomes=(
        OutcomeSpec("collision", "event"),
        OutcomeSpec("delta_v", "scalar", unit="m/s", given="collision", scale=5.0),
        OutcomeSpec("side", "category", categories=("front", "rear"), given="collision"),
        OutcomeSpec("partner", "category", categories=("car", "tank"), given="collision"),
    ),
    state_names=("speed_mps", "lateral_m", "gap_m", "closing_mps"),
    state_units=("m/s", "m", "m", "m/s"),
)


def _episode(seed: int, steps: int, crashes: bool) -> Episode:
    """A bar whose place is the lateral offset and whose grey is the speed; it may end in a crash."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (steps, 2)).astype(np.float32)
    lateral = np.r_[0.0, np.cumsum(actions[:, 0])] % 4
    speed = 10 + np.r_[0.0, np.cumsum(actions[:, 1])]
    gap = (steps - np.arange(steps + 1)) * 1.0 if crashes else np.full(steps + 1, 80.0)
    frames = rng.integers(0, 20, (steps + 1, 16, 16, 3), dtype=np.uint8)
    for k in range(steps + 1):
        frames[k, :, 3 * int(lateral[k]) : 3 * int(lateral[k]) + 4] = np.uint8(np.clip(10 * speed[k], 0, 255))
        frames[k, : int(min(gap[k], 16)), 14:] = 200
    collision = np.zeros(steps, np.float32)
    collision[-1] = crashes
    given = np.where(collision > 0, 1.0, np.nan).astype(np.float32)
    return Episode(
        frames={"front": frames},
        actions=actions,
        reward=np.zeros(steps, np.float32),
        terminated=collision > 0,
        outcomes={"collision": collision, "delta_v": given * (3 + seed), "side": given * 0, "partner": given},
        state=np.stack([speed, lateral, gap, np.full(steps + 1, 10.0 if crashes else 0.0)], 1).astype(np.float32),
        actors=np.zeros((steps + 1, 0, 9), np.float32),
        caption="a road",
    )


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve episodes of 60 steps, every other one ending in a crash."""
    path = tmp_path_factory.mktemp("bench") / "store"
    store = EpisodeStore.create(path, SPEC)
    for seed in range(12):
        store.append(_episode(seed, 60, crashes=seed % 2 == 0))
    store.flush()
    return path


@pytest.fixture(scope="session")
def wider_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as another camera saw them too, which comes first and shows nothing."""
    path = tmp_path_factory.mktemp("bench") / "wider"
    store = EpisodeStore.create(path, dataclasses.replace(SPEC, cameras={"rear": (16, 16), **SPEC.cameras}))
    for seed in range(12):
        episode = _episode(seed, 60, crashes=seed % 2 == 0)
        dark = np.zeros_like(episode.frames["front"])
        store.append(dataclasses.replace(episode, frames={"rear": dark, **episode.frames}))
    store.flush()
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    transformer = TransformerConfig(width=32, layers=2, heads=2, mlp_ratio=2, window=4)
    config = LatentConfig(
        codec=CodecConfig(channels=4, widths=(8, 8, 8)),
        dynamics=DynamicsConfig(transformer=transformer, registers=2),
        heads=HeadsConfig(width=16),
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    save_world_model(LatentWorldModel(config, SPEC), folder)
    return str(folder)


@pytest.fixture(scope="session")
def canvas_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    painter = PainterConfig(widths=(8, 16), depths=(1, 1), condition=16)
    config = CanvasWorldConfig(canvas=CanvasConfig(painter=painter, max_actors=0), heads=HeadsConfig(width=16))
    folder = tmp_path_factory.mktemp("canvas") / "model"
    save_world_model(CanvasWorldModel(config, SPEC), folder)
    return str(folder)


@pytest.fixture
def strict() -> Callable[[Path], Any]:
    """Reads a report as strict JSON: NaN and infinity are refused."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} in a report")

    return lambda path: json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture
def spec() -> EpisodeSpec:
    return dataclasses.replace(SPEC)
