"""The probe reads place and speed off frames that show them, and the action between two frames."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from simworld.metrics.probe import ProbeConfig, fit_probe

QUICK = ProbeConfig(steps=150, batch=48, width=32, hidden=64)


def bars(n=800, k=3, size=32, seed=0):
    """A bright bar that moves over noise; targets are its place in pixels and its speed in pixels per frame."""
    rng = np.random.default_rng(seed)
    place, speed = rng.uniform(6, size - 6, n), rng.uniform(-2, 2, n)
    frames = np.empty((n, k, size, size, 3), np.uint8)
    noise = rng.integers(0, 60, (n, 1, size, size, 3), np.uint8)
    for i in range(k):
        centre = place + speed * (i - k + 1)
        bar = np.clip(1.5 - np.abs(np.arange(size) - centre[:, None]) / 2, 0, 1)
        frames[:, i : i + 1] = noise + (150 * bar).astype(np.uint8)[:, None, None, :, None]
    return frames, np.stack([place, speed], 1).astype(np.float32)


@pytest.fixture(scope="module")
def probe():
    frames, targets = bars()
    return fit_probe(frames, targets, ("place_px", "speed_px"), seed=0, groups=np.arange(800) // 10, config=QUICK)


def test_it_reads_place_and_speed(probe):
    assert min(probe.fit.held_out_r2.values()) > 0.95
    assert probe.fit.num_train == 680 and probe.fit.num_held_out == 120
    frames, targets = bars(200, seed=9)
    error = probe.mean_absolute_error(frames, targets)
    assert error["place_px"] < 1.0 and error["speed_px"] < 0.3
    json.dumps(asdict(probe.fit), allow_nan=False)


def test_the_same_seed_gives_the_same_probe():
    frames, targets = bars(200)
    config = ProbeConfig(steps=10, batch=16, width=32)
    a, b, c = (fit_probe(frames, targets, ("p", "s"), seed=s, config=config).predict(frames) for s in (1, 1, 2))
    assert (a == b).all() and not (a == c).all()


def test_predictions_stay_in_the_range_that_was_fitted(probe):
    garbage = np.random.default_rng(0).integers(0, 256, (50, 3, 32, 32, 3), np.uint8)
    assert (np.abs(probe.predict(garbage)[:, 1]) <= 2.0).all()
    assert probe.predict(garbage[:0]).shape == (0, 2)


def test_capped_and_unknown_targets():
    frames, targets = bars()
    gap = np.minimum(targets[:, :1], 15.0)
    gap[::7] = np.nan
    probe = fit_probe(frames, gap, ("gap_m",), seed=0, caps={"gap_m": 15.0}, config=QUICK)
    fresh, truth = bars(200, seed=5)
    far = truth[:, 0] >= 15
    assert probe.predict(fresh[far]).mean() > 13.0
    assert probe.mean_absolute_error(fresh, np.minimum(truth[:, :1], 15.0))["gap_m"] < 1.0
    assert probe.mean_absolute_error(fresh[far], np.full((far.sum(), 1), 15.0)) == {"gap_m": None}
    with pytest.raises(ValueError, match="caps name"):
        fit_probe(frames, gap, ("gap_m",), seed=0, caps={"gap": 1.0})


def test_inverse_dynamics_is_the_same_thing():
    frames, targets = bars(k=2)
    probe = fit_probe(frames, targets[:, 1:], ("action",), seed=0, config=QUICK)
    assert probe.fit.held_out_r2["action"] > 0.9


def test_time_ends_a_fit_and_bad_shapes_are_refused():
    frames, targets = bars(100)
    assert fit_probe(frames, targets, ("p", "s"), seed=0, config=ProbeConfig(seconds=0.0)).fit.steps == 0
    with pytest.raises(ValueError, match="targets"):
        fit_probe(frames, targets[:, :1], ("p", "s"), seed=0)
    with pytest.raises(ValueError, match="two episodes"):
        fit_probe(frames, targets, ("p", "s"), seed=0, groups=np.zeros(100, int))
