"""Cloning learns what can be read off the picture, repeats itself, and makes families from bad to good."""

import json
from dataclasses import replace

import numpy as np
import pytest

from simworld.clone import CloneConfig, clone, clone_family
from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec, Episode, EpisodeSpec

QUICK = CloneConfig(steps=120, batch=32, width=32, hidden=32)


def bar_store(path, *, discrete=False, episodes=12, steps=30):
    """The expert's action says where a bright bar stands: left or right of the middle."""
    action = ActionSpec("discrete", n=3) if discrete else ActionSpec("continuous", (0.0, -1.0), (2.0, 1.0))
    spec = EpisodeSpec("bar", {"front": (16, 16)}, action)
    store = EpisodeStore.create(path, spec)
    rng = np.random.default_rng(0)
    for i in range(episodes):
        place = rng.integers(1, 15, steps + 1)
        frames = np.full((steps + 1, 16, 16, 3), 40, np.uint8)
        for t, x in enumerate(place):
            frames[t, :, x - 1 : x + 2] = 220
        where = (place[:-1] - 8) / 8
        actions = (place[:-1] * 3 // 16)[:, None] if discrete else np.stack([1 + where, -0.5 * where], 1)
        store.append(
            Episode(
                frames={"front": frames},
                actions=actions.astype(np.float32),
                reward=np.zeros(steps, np.float32),
                terminated=np.zeros(steps, bool),
                outcomes={},
                state=np.zeros((steps + 1, 0), np.float32),
                actors=np.zeros((steps + 1, 0, 9), np.float32),
                provenance={"policy": "expert" if i % 2 else "reckless", "seed": i},
            )
        )
    store.flush()
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return bar_store(tmp_path_factory.mktemp("bars") / "store")


def test_cloning_learns_and_repeats_itself(store, tmp_path):
    result = clone(store, tmp_path / "a", config=QUICK)
    assert result.action_error < 0.3 * result.still_error
    assert result.num_episodes == 11
    assert clone(store, tmp_path / "b", config=QUICK).action_error == result.action_error
    weights = [(tmp_path / n / "model.safetensors").read_bytes() for n in "ab"]
    assert weights[0] == weights[1] and len(weights[0]) < 300_000
    assert json.loads((tmp_path / "a" / "clone.json").read_text())["clone"]["steps"] == 120


def test_the_default_driver_is_small(store, tmp_path):
    clone(store, tmp_path, config=CloneConfig(steps=1))
    assert (tmp_path / "model.safetensors").stat().st_size < 300_000


def test_smaller_squares_are_read_too(store, tmp_path):
    result = clone(store, tmp_path / "fine", config=replace(QUICK, patch=2))
    assert result.action_error < 0.3 * result.still_error


def test_wrong_and_late_labels_make_it_worse(store, tmp_path):
    good = clone(store, tmp_path / "good", config=QUICK).action_error
    for name, config in {"wrong": replace(QUICK, wrong_labels=0.8), "late": replace(QUICK, late_steps=3)}.items():
        assert clone(store, tmp_path / name, config=config).action_error > 1.5 * good


def test_discrete_actions(tmp_path):
    result = clone(bar_store(tmp_path / "store", discrete=True), tmp_path / "d", config=QUICK)
    assert result.action_error < 0.1 < result.still_error


def test_a_family_differs_and_goes_on_where_it_stopped(store, tmp_path):
    said = []
    config = replace(QUICK, steps=20)
    results = clone_family(store, tmp_path, seed=3, config=config, progress=said.append)
    assert [r.name for r in results] == [f"bc-{i:02d}" for i in range(1, 13)] and len(said) == 12
    assert len({(r.folder / "model.safetensors").read_bytes() for r in results}) == 12
    stamps = [(r.folder / "model.safetensors").stat().st_mtime_ns for r in results]
    (results[4].folder / "clone.json").unlink()
    again = clone_family(store, tmp_path, seed=3, config=config)
    late = [(r.folder / "model.safetensors").stat().st_mtime_ns for r in again]
    assert [a == b for a, b in zip(stamps, late, strict=True)] == [i != 4 for i in range(12)]
    assert [r.action_error for r in again] == [r.action_error for r in results]


def test_behaviours_select_episodes(store, tmp_path):
    chosen = replace(QUICK, steps=1, behaviours=("expert",))
    assert clone(store, tmp_path, config=chosen).num_episodes == 5
    with pytest.raises(ValueError, match="at least two"):
        clone(store, tmp_path, config=CloneConfig(behaviours=("nobody",)))


def test_bad_requests_are_explained(store, tmp_path):
    with pytest.raises(ValueError, match="no camera 'rear'"):
        clone(store, tmp_path, config=CloneConfig(camera="rear"))
    with pytest.raises(ValueError, match="episodes must be"):
        CloneConfig(episodes=0)
    with pytest.raises(ValueError, match="wrong_labels"):
        CloneConfig(wrong_labels=2.0)
    with pytest.raises(ValueError, match="2 or 4 pixels"):
        CloneConfig(patch=3)  # type: ignore[arg-type]


def test_a_teacher_relabels_every_frame(tmp_path, monkeypatch):
    class Teacher:
        def reset(self, seeds):
            self.num = len(seeds)

        def act(self, observation, infos):
            assert len(infos) == self.num
            return np.stack([i["state"][:1] for i in infos]).repeat(2, axis=1)

    monkeypatch.setattr("simworld.policies.registry.make_policy", lambda name, action, dt_s: Teacher())
    spec = EpisodeSpec(
        "bar", {"front": (16, 16)}, ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)), (), 0.1, ("x",), ("1",)
    )
    store = EpisodeStore.create(tmp_path / "store", spec)
    for i in range(3):
        state = np.linspace(-1, 1, 21, dtype=np.float32)[:, None]
        frames = np.clip(128 + 100 * state, 0, 255).astype(np.uint8)[:, :, None, None] * np.ones((16, 16, 3), np.uint8)
        store.append(
            Episode(
                frames={"front": frames},
                actions=np.zeros((20, 2), np.float32),
                reward=np.zeros(20, np.float32),
                terminated=np.zeros(20, bool),
                outcomes={},
                state=state,
                actors=np.zeros((21, 0, 9), np.float32),
                provenance={"seed": i},
            )
        )
    store.flush()
    result = clone(store, tmp_path / "taught", config=replace(QUICK, teacher="driving:expert"))
    assert result.still_error > 0.2 and result.action_error < 0.5 * result.still_error
    with pytest.raises(ValueError, match="holds no state"):
        clone(bar_store(tmp_path / "bars"), tmp_path / "no", config=replace(QUICK, teacher="driving:expert"))
