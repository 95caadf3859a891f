"""Closed loop: samples are those of the model's own imagination, and stop where the record does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from simworld.canvas_world_model import CanvasWorldModel
from simworld.closed_loop import ClosedLoop
from simworld.data.cache import FrameCache
from simworld.data.store import EpisodeStore
from simworld.latent_world_model import LatentWorldModel

from .tiny_world import SPEC, lively_canvas, lively_model, write_store


def loop(model: LatentWorldModel | CanvasWorldModel, cache: FrameCache) -> ClosedLoop:
    cpu = torch.device("cpu")
    return ClosedLoop(model, cache, context=3, batch=4, seed=5, dtype=torch.float32, device=cpu)


def test_samples_are_what_the_heads_see_when_the_model_imagines(tmp_path: Path) -> None:
    model, cache = lively_model(), EpisodeStore(write_store(tmp_path / "store")).cache()
    made = loop(model, cache)
    samples = made.samples(4)
    rows, k, h = made.sampler.rows(0), 3, 4
    at = rows[:, None] + np.arange(k + 1)
    frames = {c: torch.from_numpy(f[at]) for c, f in cache.frames.items()}
    seed = torch.from_numpy(rows) + 1_000_003 * 5
    state = model.start(frames, torch.from_numpy(cache.actions[at[:, :-1]]), seed=seed)
    seen = []
    for t in range(k, k + h):
        step = np.minimum(rows + t, rows + k + cache.steps_left[rows + k])
        state, _, features = model.advance(state, torch.from_numpy(cache.actions[step]))
        seen.append(features)
    there = torch.from_numpy(np.arange(h) <= cache.steps_left[rows + k][:, None])
    torch.testing.assert_close(samples.features, torch.stack(seen, dim=1)[there])


def test_the_model_is_left_as_it_was_and_samples_repeat(tmp_path: Path) -> None:
    model, cache = lively_model(), EpisodeStore(write_store(tmp_path / "store")).cache()
    first, again = loop(model, cache).samples(10), loop(model, cache).samples(10)
    assert torch.equal(first.features, again.features) and torch.isfinite(first.log_error).all()
    assert len(first.features) == len(first.log_error) <= 12 * 4
    assert model.heads.hidden.weight.dtype == torch.float32


def test_frames_that_are_read_are_as_wrong_as_the_state_that_they_show(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, state_names=("place", "pace"), state_units=("m", "m/s"))
    model, cache = lively_canvas(spec=spec), EpisodeStore(write_store(tmp_path / "store", spec)).cache()
    made = loop(model, cache)
    samples = made.samples(4)
    rows, k = made.sampler.rows(0), 3
    at = rows[:, None] + np.arange(k + 1)
    frames = {c: torch.from_numpy(f[at]) for c, f in cache.frames.items()}
    seed = torch.from_numpy(rows) + 1_000_003 * 5
    state = model.start(frames, torch.from_numpy(cache.actions[at[:, :-1]]), seed=seed)
    _, first, _, _ = model.watch(state, torch.from_numpy(cache.actions[rows + k]))
    shown = model.read_off({c: torch.cat([f[:, -2:], first[c][:, None]], dim=1) for c, f in frames.items()})
    assert shown is not None and shown.shape == (4, len(cache.spec.state_names))
    truth = torch.from_numpy(cache.state[rows + k + 1])
    lasts = np.minimum(4, cache.steps_left[rows + k] + 1)  # steps of each window that were sampled
    begins = np.concatenate([[0], np.cumsum(lasts)[:-1]])
    torch.testing.assert_close(samples.log_error[begins].exp(), model.heads.shown_error(shown, truth))
