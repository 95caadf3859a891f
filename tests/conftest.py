"""What every test shares: one thread, off-screen rendering, the tiny world on disk, and real files where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MUJOCO_GL", "egl")

import pytest
import torch

from simworld.start_films import StartFilms

from . import tiny_world

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four episodes of 30 steps, two of which end in a collision."""
    return tiny_world.write_store(tmp_path_factory.mktemp("tiny") / "store")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files that others wrote; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: no real files to read")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The example scenarios of the package."""
    return ROOT / "conf/scenario"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a model whose frames follow its action, past and noise, with starts beside it."""
    return tiny_world.write_checkpoint(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture
def model() -> Any:
    return tiny_world.quiet_model()


@pytest.fixture
def starts(tiny_checkpoint: Path) -> StartFilms:
    return StartFilms.load(tiny_checkpoint)
