"""Rolls: what a world model foretells from real contexts, told of the others or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simworld.bench.foresight import OutcomesConfig, Windows
from simworld.bench.outcomes import bench_outcomes
from simworld.bench.questions import Questions, ask
from simworld.checkpoint import save_world_model
from simworld.data.cache import FrameCache
from simworld.data.store import EpisodeStore
from simworld.metrics.probe import ProbeConfig
from simworld.rolls import Opening

from .tiny_world import CANVAS, lively_canvas, write_store

ROWS, CONTEXT, HORIZON = np.array([0, 5, 20, 24]), 3, 4


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    return EpisodeStore(write_store(tmp_path / "store")).cache()


def test_who_is_there_up_to_the_present_is_told_and_no_more(cache: FrameCache, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, world = Opening.of(cache, ROWS, CONTEXT, HORIZON, told=True), lively_canvas(CANVAS)
    past = torch.from_numpy(cache.actors[ROWS[:, None] + np.arange(1, CONTEXT + 1)])
    assert opening.actors is not None
    torch.testing.assert_close(opening.actors, past, equal_nan=True)
    assert Opening.of(cache, ROWS, CONTEXT, HORIZON).actors is None

    start, step, heard = world.start, world.step, []

    def starting(*args: Any, actors: Any, **kwargs: Any) -> Any:
        heard.append(actors)
        return start(*args, actors=actors, **kwargs)

    def stepping(state: Any, action: Any, actors: Any = None) -> Any:
        heard.append(actors)
        return step(state, action, actors)

    monkeypatch.setattr(world, "start", starting)
    monkeypatch.setattr(world, "step", stepping)
    assert len(list(opening.imagined(world))) == HORIZON
    assert torch.equal(heard[0].nan_to_num(), past.nan_to_num()) and heard[1:] == [None] * HORIZON
    heard.clear()
    assert len(list(opening.foreseen(world))) == HORIZON
    assert torch.equal(heard[0].nan_to_num(), past.nan_to_num()) and len(heard) == 1


def test_who_is_told_answers_without_drawing(cache: FrameCache, monkeypatch: pytest.MonkeyPatch) -> None:
    config = OutcomesConfig(context=CONTEXT, horizon=HORIZON, batch=3)
    windows = Windows(ROWS, np.arange(len(ROWS)), np.array([9, 9, 2, 9]))
    world = lively_canvas(CANVAS)
    monkeypatch.setattr(world, "watch", None)
    answers = ask(world, Questions(cache, windows, 0.1, windows, None), config, str, told=True)
    assert answers.drawn.p_now.shape == (len(ROWS), HORIZON) and answers.drawn.film is None
    assert answers.impacts is not None and set(answers.impacts.scalars) == {"impulse"} and answers.trials is None


def test_the_bench_says_what_better_sight_would_bring(tmp_path: Path) -> None:
    """Or why it can not."""
    store, folder = write_store(tmp_path / "store"), tmp_path / "model"
    save_world_model(lively_canvas(CANVAS), folder)
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
