"""Rolls: what a world model foretells from real contexts, told of the others or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from simworld.bench.foresight import OutcomesConfig, Windows
from simworld.bench.outcomes import bench_outcomes
from simworld.bench.questions import Questions, ask
from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import save_world_model
from simworld.data.cache import FrameCache
from simworld.data.store import EpisodeStore
from simworld.metrics.probe import ProbeConfig
from simworld.model.lookout import LookoutConfig
from simworld.rolls import Opening

from .test_canvas import driven_spec
from .tiny_world import CANVAS, lively_canvas, write_store

ROWS, CONTEXT, HORIZON = np.array([0, 5, 20, 24]), 3, 4
LOOKED = driven_spec()
LOOKING = dataclasses.replace(CANVAS, lookout=LookoutConfig(ago=(1, 0), width=4, most=3))


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    return EpisodeStore(write_store(tmp_path / "store", LOOKED)).cache()


@pytest.fixture
def world() -> CanvasWorldModel:
    return lively_canvas(LOOKING, LOOKED)


def test_who_is_there_at_the_present_is_told_instead_of_seen(
    cache: FrameCache, world: CanvasWorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = Opening.of(cache, ROWS, CONTEXT, HORIZON, told=True)
    assert opening.present is not None and Opening.of(cache, ROWS, CONTEXT, HORIZON).present is None
    there = torch.from_numpy(cache.actors[ROWS + CONTEXT])
    torch.testing.assert_close(opening.to("cpu").present, there, equal_nan=True)
    begun, foresee = [], world.foresee
    monkeypatch.setattr(world, "foresee", lambda state, ahead: begun.append(state) or foresee(state, ahead))
    assert len(list(opening.foreseen(world))) == HORIZON
    torch.testing.assert_close(begun[0].guesses[:, :2], there, equal_nan=True)
    gone = world.as_guesses(there + torch.tensor([0.0, 60.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert bool(gone.isnan().all()), "nobody is looked out for so far away"
    with pytest.raises(ValueError, match="looks out for nobody"):
        next(opening.foreseen(lively_canvas(CANVAS, LOOKED)))


def test_who_is_told_answers_without_drawing(
    cache: FrameCache, world: CanvasWorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = OutcomesConfig(context=CONTEXT, horizon=HORIZON, batch=3)
    windows = Windows(ROWS, np.arange(len(ROWS)), np.array([9, 9, 2, 9]))
    monkeypatch.setattr(world, "watch", None)
    answers = ask(world, Questions(cache, windows, 0.1, windows, None), config, str, told=True)
    assert answers.drawn.p_now.shape == (len(ROWS), HORIZON) and answers.drawn.film is None
    assert answers.impacts is not None and set(answers.impacts.scalars) == {"impulse"} and answers.trials is None


def test_the_bench_says_what_better_sight_would_bring(world: CanvasWorldModel, tmp_path: Path) -> None:
    store, folder = write_store(tmp_path / "store", LOOKED), tmp_path / "model"
    save_world_model(world, folder)
    config = OutcomesConfig(
        context=CONTEXT,
        horizon=10,
        batch=8,
        num_resamples=10,
        trust_windows=4,
        ordinary_windows=8,
        probe=ProbeConfig(steps=2, batch=8, width=8, hidden=8),
    )
    found = bench_outcomes(
        checkpoint=str(folder), data=store, heldout=store, out=tmp_path, windows=16, config=config, report=str
    )["outcomes"]
    assert {"auroc_3s", "side_accuracy", "impulse_relative_error"} <= set(found["told"])
    assert "told" not in found["left_out"] and "told who is there" in (tmp_path / "outcomes.html").read_text()
