"""Calibration: known frequencies are restored, the identity is the default, and old weights load with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simworld.calibrate import CalibrationConfig, _fit, calibrate_events
from simworld.data.cache import NEVER
from simworld.data.store import EpisodeStore
from simworld.model.outcomes import HeadsConfig, OutcomeHeads, by_name
from simworld.rolls import Opening

from . import tiny_world

SMALL = CalibrationConfig(windows=24, context=3, batch=8)


def test_a_fit_restores_the_truth_behind_bent_logits():
    rng = np.random.default_rng(0)
    n, h = 4000, 8
    true = rng.normal(-3, 1.5, (n, h))
    happens = rng.random((n, h)) < 1 / (1 + np.exp(-true))
    ahead = np.where(happens.any(1), happens.argmax(1), NEVER)
    told = torch.from_numpy(true * 2 + 1.5)  # twice too sure, and too high
    weight = np.ones(n)
    fitted = _fit(told, ahead, np.full(n, h - 1), weight, later=False, config=CalibrationConfig())
    assert fitted == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.75, abs=0.1))
    assert _fit(told, np.full(n, NEVER), np.full(n, h - 1), weight, later=False, config=SMALL) is None


def test_the_default_is_the_identity_and_old_weights_load():
    heads = OutcomeHeads(HeadsConfig(horizon=4, width=8), tiny_world.OUTCOMES, features=6)
    features = torch.randn(5, 6)
    raw = heads.raw(features)
    told = heads(features)
    assert torch.equal(told.hazard["collision"], torch.sigmoid(raw["collision"]))
    assert torch.equal(told.p_terminated, torch.sigmoid(raw["terminated"][..., 0]))
    old = {name: value for name, value in heads.state_dict().items() if not name.startswith("hazard_")}
    heads.hazard_bias.fill_(0.0)
    missing, foreign = heads.load_state_dict(old)
    assert not missing and not foreign and (heads.hazard_scale == 1).all()


def test_the_bent_logits_are_those_of_one_event_and_part():
    heads = OutcomeHeads(HeadsConfig(horizon=4, width=8), tiny_world.OUTCOMES, features=6)
    features = torch.randn(5, 6)
    before = heads(features)
    heads.hazard_bias[0, 1] = 1.0  # later steps of the first event
    after = heads(features)
    assert torch.equal(after.hazard["collision"][:, 0], before.hazard["collision"][:, 0])
    assert (after.hazard["collision"][:, 1:] > before.hazard["collision"][:, 1:]).all()
    assert torch.equal(after.hazard["offroad"], before.hazard["offroad"])
    assert torch.equal(after.p_terminated, before.p_terminated)


def test_a_model_that_never_sees_it_coming_learns_how_often_it_comes(tmp_path):
    """The tiny model says 1e-13 to every collision; its store has one in half of the episodes."""
    cache = EpisodeStore(tiny_world.write_store(tmp_path / "store")).cache()
    model = tiny_world.lively_model()
    heads = model.heads
    bias = by_name(heads.out.bias.detach(), heads.sizes)
    for name in ("terminated", "collision"):
        bias[name].fill_(-6.0)
    calibrate_events(model, [cache], seed=0, config=SMALL)
    once = heads.hazard_bias.clone(), heads.hazard_scale.clone()
    assert (heads.hazard_bias[0] > 0).any() and torch.isfinite(heads.hazard_bias).all()
    calibrate_events(model, [cache], seed=0, config=SMALL)
    assert torch.equal(heads.hazard_bias, once[0]) and torch.equal(heads.hazard_scale, once[1])
    present = np.flatnonzero((cache.steps_left >= 4) & (cache.steps_to_event["collision"] >= 4))
    opening = Opening.of(cache, present[:40], 3, 1)
    p_now = next(opening.imagined(model))[1].outcomes.hazard["collision"][:, 0]
    truth = (cache.steps_to_event["collision"][present[:40] + 3] == 0).mean()
    assert float(p_now.mean()) == pytest.approx(truth, abs=0.1) and float(p_now.mean()) > 1e-3
