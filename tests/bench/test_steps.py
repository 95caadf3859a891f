"""bench steps: the table's form, and the comparison with the most steps."""

from __future__ import annotations

import pytest

from simworld.bench.films import FidelityConfig
from simworld.bench.steps import against_most, bench_steps
from simworld.metrics.probe import ProbeConfig


def test_against_most():
    found = {
        "psnr": {"1": {"10": 20.0}, "8": {"10": 20.4}},
        "state_error": {"speed_mps": {"1": {"10": 1.1}, "8": {"10": 1.0}}},
    }
    one = against_most(found, "8")["1"]
    assert one["psnr_loss_db"]["10"] == pytest.approx(0.4)
    assert one["error_growth"]["speed_mps"]["10"] == pytest.approx(0.1)


def test_report(checkpoint, store, tmp_path, strict):
    probe = ProbeConfig(steps=3, batch=8, width=8, hidden=8)
    config = FidelityConfig(films=2, seeds=(0, 1), context=4, horizons=(1, 3), probe=probe)
    found = bench_steps(
        checkpoint=checkpoint, data=store, heldout=store, out=tmp_path, steps=(1, 2), config=config, report=str
    )["steps"]
    assert strict(tmp_path / "report.json") == {"steps": found}
    assert set(found["psnr"]) == set(found["frames_per_s"]) == {"1", "2"}
    assert set(found["psnr"]["1"]) == {"1", "3"}
    assert found["against_most"]["2"]["psnr_loss_db"] == {"1": 0, "3": 0}
    assert (tmp_path / "steps.png").exists() and (tmp_path / "psnr.png").exists()
