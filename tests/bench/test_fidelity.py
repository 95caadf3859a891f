"""bench fidelity: the report's form, and whether actions matter."""

from __future__ import annotations

import pytest

from simworld.bench import control
from simworld.bench.control import shuffled_actions, steering
from simworld.bench.fidelity import bench_fidelity
from simworld.bench.films import FidelityConfig, fit_state_probe
from simworld.checkpoint import load_world_model
from simworld.data.store import EpisodeStore
from simworld.metrics.probe import ProbeConfig

PROBE = ProbeConfig(steps=3, batch=8, width=8, hidden=8)
CONFIG = FidelityConfig(films=2, seeds=(0, 1), context=8, horizons=(1, 10), probe=PROBE)


@pytest.mark.parametrize("weights", ["checkpoint", "canvas_checkpoint"])
def test_report(weights, store, tmp_path, strict, request):
    folder = request.getfixturevalue(weights)
    found = bench_fidelity(data=store, heldout=store, out=tmp_path, checkpoint=folder, config=CONFIG, report=str)[
        "fidelity"
    ]
    assert strict(tmp_path / "report.json") == {"fidelity": found}
    assert set(found["psnr"]) == {"simworld", "copy_last"}, "nobody is on record, so nobody can be told of"
    assert set(found["psnr"]["simworld"]) == {"1", "10"}
    assert set(found["state_error"]) == {"speed_mps", "lateral_m", "gap_m"}
    assert found["action_shuffle_ratio"] > 0 and found["steering"] is None
    assert (tmp_path / "films_simworld.png").exists()


def test_control_of_a_model_that_ignores_its_actions(checkpoint, store, monkeypatch):
    """An untrained model repeats the last frame, whatever is done in it."""
    cache, model = EpisodeStore(store).cache(), load_world_model(checkpoint)
    assert shuffled_actions(model, cache, CONFIG)["action_shuffle_ratio_10"] == 1.0
    monkeypatch.setattr(control, "TURN_STATE", "lateral_m")
    told = steering(model, cache, fit_state_probe(cache, ["lateral_m"], CONFIG), CONFIG)
    assert told is not None and told["told_apart"] == pytest.approx(0.0) and told["starts"] == 2
