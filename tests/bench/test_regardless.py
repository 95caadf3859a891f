"""Regardless: which windows count, and by how much an event is foreseen too often or too seldom."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simworld.bench import regardless as module
from simworld.bench.foresight import OutcomesConfig, usable_windows
from simworld.bench.regardless import drawn_windows, regardless
from simworld.checkpoint import load_world_model
from simworld.data.store import EpisodeStore
from simworld.rolls import Roll

SMALL = OutcomesConfig(context=4, num_resamples=20, regardless_windows=30)


def test_windows_begin_where_actions_are_drawn(store):
    cache = EpisodeStore(store).cache()
    since = [10 + i for i in range(len(cache.first_row))]
    every = dataclasses.replace(SMALL, regardless_windows=10**6)
    drawn = drawn_windows(cache, since, every, np.random.default_rng(0))
    present = drawn.rows + SMALL.context - cache.first_row[drawn.episode]
    assert (present >= np.array(since)[drawn.episode]).all() and len(np.unique(drawn.rows)) == len(drawn.rows)
    assert 0 < len(drawn.rows) < len(usable_windows(cache, SMALL).rows)
    assert len(drawn_windows(cache, since, SMALL, np.random.default_rng(0)).rows) == 30


def test_bias_is_how_much_too_often_it_is_foreseen(checkpoint, store, monkeypatch):
    cache, model = EpisodeStore(store).cache(), load_world_model(checkpoint)
    drawn = drawn_windows(cache, [0] * len(cache.first_row), SMALL, np.random.default_rng(0))
    found = regardless(model, cache, drawn, SMALL, np.random.default_rng(0))
    assert found["num_windows"] == 30 and found["share_3s"] == pytest.approx(np.mean(drawn.to_event < 30), abs=1e-5)
    hazard = (np.arange(30) == drawn.to_event[:, None]).astype(float)
    for much, bias in ((1.0, 0.0), (0.0, -found["share_3s"])):
        roll = Roll(much * hazard, much * hazard, {}, {})
        monkeypatch.setattr(module, "roll_windows", lambda *given, roll=roll, **more: roll)
        again = regardless(model, cache, drawn, SMALL, np.random.default_rng(0))
        assert again["bias_3s"] == pytest.approx(bias, abs=1e-5)
        assert again["bias_3s_interval"][0] <= again["bias_3s"] <= again["bias_3s_interval"][1]
