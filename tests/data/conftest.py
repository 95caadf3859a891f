"""Fixtures: small episodes and a store that holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec, Episode, EpisodeSpec, OutcomeSpec

SPEC = EpisodeSpec(
    env_id="toy",
    cameras={"front": (10, 14), "rear": (7, 9)},
    action=ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
    outcomes=(
        OutcomeSpec("collision", "event"),
        OutcomeSpec("impulse", "scalar", unit="N s", given="collision", scale=1000.0),
        OutcomeSpec("offroad", "event"),
    ),
    dt_s=0.1,
    state_names=("x_m", "v_mps", "yaw_rad"),
    state_units=("m", "m/s", "rad"),
)


def _make_episode(seed: int, steps: int, events: tuple[int, ...] = (), caption: str = "a road") -> Episode:
    """Noise frames, and a collision of impulse 100 + step at each step of `events`."""
    rng = np.random.default_rng(seed)
    collision = np.zeros(steps, np.float32)
    collision[list(events)] = 1
    terminated = np.zeros(steps, bool)
    terminated[-1] = bool(events)
    actors = rng.normal(size=(steps + 1, 2, 9)).astype(np.float32)
    actors[:, 1] = np.nan
    return Episode(
        frames={c: rng.integers(0, 256, (steps + 1, *hw, 3), dtype=np.uint8) for c, hw in SPEC.cameras.items()},
        actions=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        reward=rng.normal(size=steps).astype(np.float32),
        terminated=terminated,
        outcomes={
            "collision": collision,
            "impulse": np.where(collision > 0, 100 + np.arange(steps), np.nan).astype(np.float32),
            "offroad": np.zeros(steps, np.float32),
        },
        state=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        actors=actors,
        caption=caption,
        provenance={"seed": seed, "policy": "noise", "nested": {"a": [1, 2.5, None]}},
    )


def _assert_same(a: Episode, b: Episode) -> None:
    """Bit for bit, NaN equal to NaN."""
    for name in ("actions", "reward", "terminated", "state", "actors"):
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype, name
        np.testing.assert_array_equal(x, y, err_msg=name)
    for group in ("frames", "outcomes"):
        x, y = getattr(a, group), getattr(b, group)
        assert set(x) == set(y)
        for key in x:
            assert x[key].dtype == y[key].dtype
            np.testing.assert_array_equal(x[key], y[key], err_msg=f"{group} {key}")
    assert (a.caption, a.provenance) == (b.caption, b.provenance)


@pytest.fixture
def spec() -> EpisodeSpec:
    return SPEC


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    return _make_episode


@pytest.fixture
def assert_same() -> Callable[[Episode, Episode], None]:
    return _assert_same


@pytest.fixture
def episodes() -> list[Episode]:
    return [
        _make_episode(0, 12, (5,)),
        _make_episode(1, 3),
        _make_episode(2, 60, (59,), caption="a tank ahead"),
        _make_episode(3, 80, (10, 20)),
    ]


@pytest.fixture
def store(tmp_path: Path, episodes: list[Episode]) -> EpisodeStore:
    store = EpisodeStore.create(tmp_path / "store", SPEC, {"seed": 1})
    for episode in episodes:
        store.append(episode)
    store.flush()
    return store
