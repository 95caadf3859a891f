"""bench endurance: known answers of its measures, and the report's form."""

from __future__ import annotations

import numpy as np
import pytest

from simworld.bench.endurance import (
    EnduranceConfig,
    bench_endurance,
    chained_actions,
    clips_of,
    color_of,
    motion_energy,
    run_films,
    spread_of,
)
from simworld.bench.features import frechet_distance, principal_axes
from simworld.bench.obedience import r_squared
from simworld.checkpoint import load_world_model
from simworld.data.store import EpisodeStore
from simworld.metrics.probe import ProbeConfig


def test_frechet_distance_of_known_normals():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + [3.0, 0, 4.0]) == pytest.approx(25.0)
    doubled = (a - a.mean(0)) * 2 + a.mean(0)
    assert frechet_distance(a, doubled) == pytest.approx(np.trace(np.cov(a, rowvar=False)))


def test_a_frozen_film_has_no_motion_and_its_own_color():
    film = np.full((2, 6, 4, 4, 3), (10, 20, 30), np.uint8)
    assert motion_energy(clips_of(film, 1, 5)) == 0
    assert color_of(clips_of(film, 1, 5)) == {"mean": {"r": 10, "g": 20, "b": 30}, "std": {"r": 0, "g": 0, "b": 0}}
    assert len(clips_of(film, 1, 5)) == 2 * 4  # the clip that ends at frame 1 would start before the film


def test_r_squared():
    truth = np.arange(5.0)
    assert r_squared(truth, truth) == 1 and r_squared(truth, np.full(5, 2.0)) == 0
    assert r_squared(np.ones(5), truth) is None


def test_spread_of_runs():
    assert spread_of([{"a": {"b": 1.0}, "c": None}, {"a": {"b": 3.0}, "c": None}]) == {
        "a": {"b": 2.0}, "c": None, "spread": {"a": {"b": 1.0}, "c": None},
    }  # fmt: skip


def test_chained_actions_are_recorded_ones(store):
    cache = EpisodeStore(store).cache()
    actions = chained_actions(cache, 2, 130, seed=0)
    assert actions.shape == (2, 130, 2)
    firsts = cache.actions[cache.first_row]
    assert all(any((row == first).all() for first in firsts) for row in actions[:, 60])


class Watcher:
    """A policy that remembers what it was shown and steers by the brightness."""

    name, needs_state = "watcher", False

    def reset(self, seeds):
        self.seen = []

    def act(self, observation, infos):
        self.seen.append(observation["front"])
        assert infos == [{}] * len(observation["front"])
        grey = observation["front"].mean((1, 2, 3)) / 127.5 - 1
        return np.stack([grey, -grey], axis=1).astype(np.float32)


def test_a_policy_is_shown_what_was_imagined(checkpoint, store):
    policy = Watcher()
    films = run_films(load_world_model(checkpoint), store, 5, 2, 0, policy, 4)
    assert np.array_equal(np.stack(policy.seen, axis=1), films.film[:, :5])
    grey = films.film[:, :5].mean((2, 3, 4)) / 127.5 - 1
    np.testing.assert_allclose(films.actions[..., 0], grey, atol=1e-5)
    assert films.seconds.shape == films.state_bytes.shape == (5,)


def test_principal_axes_hold_the_variance():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 10))
    axes = principal_axes(flat, 2)
    assert axes.shape == (10, 2) and np.allclose(axes.T @ axes, np.eye(2))
    assert (flat @ axes).var(0).sum() == pytest.approx(flat.var(0).sum())


def test_report(checkpoint, store, tmp_path, strict):
    probe = ProbeConfig(steps=3, batch=8, width=8, hidden=8)
    config = EnduranceConfig(
        context=4, seeds=(0, 1), early=(1, 4), late=(9, 12), control_from=3, control_frames=4, probe=probe
    )
    found = bench_endurance(
        checkpoint=checkpoint, data=store, heldout=store, out=tmp_path, frames=12, films=3, config=config, report=str
    )["endurance"]
    assert strict(tmp_path / "report.json") == {"endurance": found}
    assert {"early", "late", "ratio", "real_sample"} == set(found["frechet"]["probe_features"])
    assert found["frechet_on"] in found["frechet"] and found["frechet_on"] not in found["left_out"]
    assert found["cost"]["state_bytes"]["ratio"] == 1 and found["cost"]["step_s"]["late"] > 0
    assert found["control_from"] == {"early": 3, "late": 12} and found["real_frames"] == "held out"
    assert set(found["inverse_dynamics_r2"]) == {"action_0", "action_1"}
    assert set(found["probe_spread"]) == {"speed_mps", "lateral_m", "gap_m"}
    assert {"color", "motion_energy", "spread"} <= set(found) and found["films"] == 6
    assert (tmp_path / "endurance.png").exists()
