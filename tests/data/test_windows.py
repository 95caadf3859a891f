"""FrameCache and WindowSampler: known rows, known events, the same windows for any number of ranks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from simworld.data.cache import NEVER
from simworld.data.store import EpisodeStore
from simworld.data.windows import AHEAD, WindowSampler
from simworld.episode import Episode, EpisodeSpec


def test_cache_holds_one_row_per_frame(store: EpisodeStore, episodes: list[Episode]) -> None:
    cache = store.cache()
    assert cache.first_row.tolist() == [0, 13, 17, 78]
    assert cache.num_steps.tolist() == [12, 3, 60, 80]
    np.testing.assert_array_equal(cache.frames["rear"], np.concatenate([e.frames["rear"] for e in episodes]))
    np.testing.assert_array_equal(cache.state, np.concatenate([e.state for e in episodes]))
    np.testing.assert_array_equal(cache.actions[13:16], episodes[1].actions)
    assert not cache.actions[16].any() and cache.reward[16] == 0 and np.isnan(cache.outcomes["impulse"][16])
    assert cache.terminated.nonzero()[0].tolist() == [11, 76, 157]
    assert cache.steps_left[13:17].tolist() == [2, 1, 0, -1]
    to_event = cache.steps_to_event["collision"]
    assert to_event[:7].tolist() == [5, 4, 3, 2, 1, 0, NEVER]
    assert to_event[16] == NEVER and to_event[17] == 59 and to_event[76:78].tolist() == [0, NEVER]
    assert to_event[78 + 10 : 78 + 13].tolist() == [0, 9, 8]
    assert (cache.steps_to_event["offroad"] == NEVER).all()
    value = cache.value_at_event["impulse"]
    assert value[0] == 105 and np.isnan(value[6]) and value[78] == 110 and value[78 + 11] == 120


def test_the_last_episodes_are_set_aside_where_there_are_enough(store: EpisodeStore) -> None:
    whole = store.cache()
    most, aside = whole.parted(0.5, 2)
    assert most.num_steps.tolist() == [12, 3] and aside.num_steps.tolist() == [60, 80]
    assert most.first_row.tolist() == [0, 13] and aside.first_row.tolist() == [0, 61]
    np.testing.assert_array_equal(np.concatenate([most.actions, aside.actions]), whole.actions)
    np.testing.assert_array_equal(aside.frames["rear"], whole.frames["rear"][17:])
    np.testing.assert_array_equal(aside.steps_to_event["collision"], whole.steps_to_event["collision"][17:])
    assert all(part is whole for part in whole.parted(0.5, 3))


def test_cache_is_kept_and_rebuilt_when_stale(store: EpisodeStore, make_episode: Callable[..., Episode]) -> None:
    first = store.cache()
    assert EpisodeStore(store.path).cache().path == first.path
    store.append(make_episode(7, 9))
    second = EpisodeStore(store.path).cache()
    assert second.path != first.path and not first.path.exists()
    assert second.num_steps.tolist() == [12, 3, 60, 80, 9]
    (second.path / "reward.npy").write_bytes(b"\x93NUMPY cut")
    with pytest.raises(ValueError, match="reward.npy .* delete .* it will be built again"):
        store.cache()


def test_a_grown_store_decodes_its_new_episodes_only(
    store: EpisodeStore, make_episode: Callable[..., Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.cache()
    store.append(make_episode(7, 9))
    grown, decoded = EpisodeStore(store.path), []
    read = EpisodeStore.episode
    monkeypatch.setattr(EpisodeStore, "episode", lambda self, i: decoded.append(i) or read(self, i))
    copied = grown.cache()
    assert decoded == [4]
    held = {name: np.array(x) for name, x in copied.frames.items()}, np.array(copied.actors), np.array(copied.first_row)
    shutil.rmtree(copied.path)
    afresh = grown.cache()
    assert decoded == [4, 0, 1, 2, 3, 4]
    for camera, frames in afresh.frames.items():
        np.testing.assert_array_equal(held[0][camera], frames)
    np.testing.assert_array_equal(held[1], afresh.actors)
    np.testing.assert_array_equal(held[2], afresh.first_row)


def test_empty_store_has_no_cache(tmp_path: Path, spec: EpisodeSpec) -> None:
    with pytest.raises(ValueError, match="holds no episode"):
        EpisodeStore.create(tmp_path / "e", spec).cache()


def test_windows_lie_inside_one_episode_and_all_are_drawn(store: EpisodeStore) -> None:
    sampler = WindowSampler(store.cache(), steps=12, batch=64, seed=0)
    # 1 window of the first episode, none of the second, 49 and 69 of the others.
    allowed = {0, *range(17, 17 + 49), *range(78, 78 + 69)}
    drawn = np.concatenate([sampler.rows(step) for step in range(60)])
    assert set(drawn.tolist()) == allowed
    counts = np.bincount(drawn)[sorted(allowed)]
    assert counts.max() < 3 * counts.mean()


def test_gather_returns_what_the_episode_holds(store: EpisodeStore, episodes: list[Episode]) -> None:
    sampler = WindowSampler(store.cache(), steps=10, batch=2, seed=0)
    batch = sampler.gather(np.array([78 + 5, 17]))
    third = episodes[3]
    for camera, frames in third.frames.items():
        assert batch.frames[camera].dtype == torch.uint8
        np.testing.assert_array_equal(batch.frames[camera][0], frames[5:16])
    np.testing.assert_array_equal(batch.actions[0], third.actions[5:15])
    np.testing.assert_array_equal(batch.reward[0], third.reward[5:15])
    np.testing.assert_array_equal(batch.outcomes["impulse"][0], third.outcomes["impulse"][5:15])
    np.testing.assert_array_equal(batch.state[0], third.state[5:16])
    assert batch.steps_to_event["collision"][0].tolist() == [5, 4, 3, 2, 1, 0, 9, 8, 7, 6]
    assert batch.steps_to_event["collision"].dtype == torch.int64
    assert batch.steps_left[0, 0] == 74 and batch.terminated.dtype == torch.bool
    assert batch.value_at_event["impulse"][0].tolist() == [110.0] * 6 + [120.0] * 4


def test_event_fraction(store: EpisodeStore, make_episode: Callable[..., Episode]) -> None:
    store.append(make_episode(4, 900))
    cache = store.cache()
    for fraction in (0.0, 0.3, 1.0):
        sampler = WindowSampler(cache, steps=8, batch=32, seed=5, event_fraction=fraction)
        rows = np.concatenate([sampler.rows(step) for step in range(100)])
        soon = cache.steps_to_event["collision"][rows] < 8 + AHEAD
        by_chance = len(sampler.event_starts) / len(sampler.starts)
        assert abs(soon.mean() - (fraction + (1 - fraction) * by_chance)) < 0.02
        assert set(cache.steps_to_event["collision"][sampler.event_starts].tolist()) == set(range(8 + AHEAD))


def test_rows_are_a_function_of_seed_step_and_rank(store: EpisodeStore) -> None:
    cache = store.cache()

    def sampler(**changes: int) -> WindowSampler:
        options = {"batch": 8, "seed": 3, "rank": 0, "world": 1} | changes
        return WindowSampler(cache, steps=6, event_fraction=0.5, **options)

    one = sampler()
    np.testing.assert_array_equal(one.rows(41), sampler().rows(41))
    assert (one.rows(41) != one.rows(42)).any() and (one.rows(41) != sampler(seed=4).rows(41)).any()
    halves = [sampler(batch=4, rank=rank, world=2).rows(41) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves), one.rows(41))
    assert (halves[0] != halves[1]).any()


def test_sampler_refuses_what_can_not_be_drawn(store: EpisodeStore) -> None:
    cache = store.cache()
    with pytest.raises(ValueError, match="no episode holds 81 steps, the longest has 80"):
        WindowSampler(cache, steps=81, batch=1, seed=0)
    with pytest.raises(ValueError, match="event_fraction"):
        WindowSampler(cache, steps=4, batch=1, seed=0, event_fraction=1.5)
    with pytest.raises(ValueError, match="rank 2"):
        WindowSampler(cache, steps=4, batch=1, seed=0, rank=2, world=2)


def test_data_without_events_is_drawn_uniformly(
    tmp_path: Path, spec: EpisodeSpec, make_episode: Callable[..., Episode]
) -> None:
    store = EpisodeStore.create(tmp_path / "calm", replace(spec, outcomes=()))
    store.append(replace(make_episode(0, 30), outcomes={}))
    sampler = WindowSampler(store.cache(), steps=4, batch=16, seed=0, event_fraction=0.5)
    assert len(sampler.event_starts) == 0 and sampler.gather(sampler.rows(0)).steps_to_event == {}


def test_windows_drawn_for_an_event_weigh_as_often_as_they_are_on_record(store: EpisodeStore) -> None:
    cache = store.cache()
    sampler = WindowSampler(cache, steps=1, batch=4000, seed=0, event_fraction=0.5)
    rows = sampler.rows(0)
    weights = sampler.weights(rows)
    soon = np.isin(rows, sampler.event_starts)
    on_record = len(sampler.event_starts) / len(sampler.starts)
    assert 0 < on_record < 1 and soon.mean() > on_record
    assert np.average(soon, weights=weights) == pytest.approx(on_record, abs=0.02)
    assert weights.mean() == pytest.approx(1.0, abs=0.03)
    assert (WindowSampler(cache, steps=1, batch=4, seed=0).weights(rows) == 1).all()
