"""Futures: rows of what was recorded next, and where the record ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simworld.data.cache import FrameCache
from simworld.data.store import EpisodeStore
from simworld.futures import Futures, frames_ago

from .tiny_world import write_store


def tiny_cache(tmp_path: Path) -> FrameCache:
    """Four episodes of 30 steps and 31 rows each."""
    return EpisodeStore(write_store(tmp_path / "store")).cache()


def test_a_future_stops_with_its_episode(tmp_path: Path) -> None:
    cache = tiny_cache(tmp_path)
    future = Futures.of(cache, np.array([3, 31 + 28]), 4)
    assert future.frames.tolist() == [[3, 4, 5, 6, 7], [59, 60, 61, 61, 61]]
    assert future.valid.tolist() == [[True] * 4, [True, True, False, False]]
    targets = future.targets(cache)
    assert targets.steps_left.tolist() == [[26, 25, 24, 23], [1, 0, -1, -1]]
    assert targets.reward[0].tolist() == cache.reward[3:7].tolist()
    assert future.actions(cache)[0].tolist() == cache.actions[3:7].tolist()
    assert np.array_equal(future.actors(cache)[0].numpy(), cache.actors[4:8], equal_nan=True)


def test_the_first_frame_stands_in_for_those_before_it(tmp_path: Path) -> None:
    at = frames_ago(tiny_cache(tmp_path), np.array([0, 2, 31, 40]), (4, 1, 0))
    assert at.tolist() == [[0, 0, 0], [0, 1, 2], [31, 31, 31], [36, 39, 40]]
