"""Signs of wrong frames: known answers of the density and of the comparison, and what a model's steps give."""

from __future__ import annotations

import numpy as np
import pytest

from simworld.bench.films import FidelityConfig, fit_state_probe
from simworld.bench.foresight import OutcomesConfig, usable_windows
from simworld.bench.trust import CANDIDATES, Density, Signs, compare, ordinary, signs_of
from simworld.checkpoint import load_world_model
from simworld.data.store import EpisodeStore
from simworld.metrics.probe import ProbeConfig

SMALL = OutcomesConfig(context=4, horizon=6, batch=8, num_resamples=5)


def test_density_is_mahalanobis_distance():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 3)) * [1.0, 5.0, 0.2] + [7.0, 0.0, -1.0]
    density = Density.fit(features)
    away = np.array([[7.0, 0.0, -1.0], [7.0, 10.0, -1.0], [7.0, 0.0, -0.6]])
    assert density.distance(away) == pytest.approx([0.0, 2.0, 2.0], abs=0.1)
    flat = np.c_[features[:, :1], np.zeros(4000)]  # a direction without spread counts for nothing
    assert np.isfinite(Density.fit(flat).distance(flat)).all()


def signs(sign: np.ndarray, error: np.ndarray) -> Signs:
    named = {name: sign for name in ("head", "disagreement", "density", "steps_imagined")}
    return Signs(np.arange(len(error)), named, error, error)


def test_a_sign_equal_to_the_error_is_perfect_and_age_alone_is_blind_at_equal_age():
    rng = np.random.default_rng(0)
    age = np.broadcast_to(np.arange(20.0), (30, 20))
    error = age + rng.normal(size=age.shape)
    perfect = compare(signs(error, error), SMALL, rng)
    assert all(perfect[name] == 1.0 for name in CANDIDATES) and perfect["head_at_equal_age"] == 1.0
    blind = compare(signs(age, error), SMALL, rng)
    assert blind["head"] > 0.9 and blind["head_at_equal_age"] == 0.5


def test_unknown_steps_are_left_out_and_sets_are_joined():
    error = np.tile(np.arange(10.0), (4, 1))
    error[:, 7:] = np.nan
    one = signs(np.tile(np.arange(10.0), (4, 1)), error)
    assert compare(one, SMALL, np.random.default_rng(0))["head"] == 1.0
    both = one.beside(one)
    assert both.error.shape == (8, 10) and len(set(both.episode)) == 8


def test_signs_of_a_model(checkpoint, store):
    cache, model = EpisodeStore(store).cache(), load_world_model(checkpoint)
    windows = usable_windows(cache, SMALL).part(np.arange(10))
    probe = fit_state_probe(
        cache, ("speed_mps", "gap_m"), FidelityConfig(probe=ProbeConfig(steps=3, batch=8, width=8, hidden=8))
    )
    density = ordinary(model, cache, windows.rows, SMALL)
    found = signs_of(model, cache, windows, probe, density, SMALL)
    assert all(value.shape == (10, 6) and np.isfinite(value).all() for value in found.by_name.values())
    assert found.probe_error is not None and np.isfinite(found.probe_error).all() and (found.probe_error >= 0).all()
    assert signs_of(model, cache, windows, None, density, SMALL).error is not None
    again = signs_of(model, cache, windows, probe, density, SMALL)
    assert np.array_equal(found.by_name["disagreement"], again.by_name["disagreement"])
