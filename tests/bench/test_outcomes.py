"""bench outcomes: known answers of its numbers, the windows it draws, and the report's form."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from simworld.bench.foresight import (
    OutcomesConfig,
    Windows,
    draw_windows,
    foreseen,
    impact_windows,
    main_event,
    time_to_event_s,
    weighted_calibration_error,
)
from simworld.bench.outcomes import bench_outcomes
from simworld.data.cache import NEVER
from simworld.data.store import EpisodeStore
from simworld.episode import OutcomeSpec
from simworld.metrics.probe import ProbeConfig

SMALL = OutcomesConfig(context=4, num_resamples=20, probe=ProbeConfig(steps=3, batch=8, width=8, hidden=8))


def test_a_perfect_predictor_is_perfect():
    to_event = np.r_[np.arange(30), np.full(60, NEVER)]
    hazard = (np.arange(30) == to_event[:, None]).astype(float)
    drawn = Windows(np.arange(90), np.arange(90) // 3, to_event)
    found = foreseen(drawn, np.cumsum(hazard, 1), hazard, 1 / 3, 0.1, SMALL, np.random.default_rng(0))
    assert found["auroc_1s"] == found["auroc_3s"] == found["recall_at_5fpr_1s"] == 1.0
    assert found["ece"] == found["ttc_error_s"] == 0.0
    assert found["auroc_1s_interval"] == [1.0, 1.0]


def test_a_constant_is_calibrated_by_weight_only():
    labels, p = np.r_[np.ones(50), np.zeros(50)], np.full(100, 0.1)
    weight = np.where(labels > 0, 0.2, 1.8)
    assert weighted_calibration_error(labels, p, weight, num_bins=1) == pytest.approx(0.0)
    assert weighted_calibration_error(labels, p, np.ones(100), num_bins=1) == pytest.approx(0.4)


def test_median_time_to_event():
    assert time_to_event_s(np.eye(5)[[2]], 0.1) == pytest.approx([0.3])
    assert time_to_event_s(np.full((1, 3), 1e-6), 0.1) == pytest.approx([0.2])


def test_windows_know_their_event(store):
    cache = EpisodeStore(store).cache()
    drawn, base_rate = draw_windows(cache, 90, SMALL)
    soon = drawn.to_event < SMALL.horizon
    assert len(drawn.rows) == 90 and soon.sum() == 30 and 0 < base_rate < 0.5
    assert (cache.steps_to_event["collision"][drawn.rows + SMALL.context] == drawn.to_event).all()
    assert (cache.steps_left[drawn.rows + SMALL.context][~soon] >= SMALL.horizon - 1).all()
    impacts = impact_windows(cache, SMALL, lead=10)
    assert len(impacts.rows) == 6
    assert (cache.outcomes["collision"][impacts.rows + SMALL.context + 9] == 1).all()


def test_report(checkpoint, store, tmp_path, strict):
    found = bench_outcomes(
        checkpoint=checkpoint, data=store, heldout=store, out=tmp_path, windows=24, config=SMALL, report=str
    )["outcomes"]
    assert strict(tmp_path / "report.json") == {"outcomes": found}
    names = ["auroc_1s", "auroc_3s", "recall_at_5fpr_1s", "ttc_error_s", "ece", "delta_v_relative_error"]
    names += ["delta_v_rank_correlation", "partner_accuracy", "side_accuracy", "trust_auroc"]
    assert all(name in found and f"{name}_interval" in found for name in names)
    assert found["baselines"]["base_rate"]["auroc_3s"] == 0.5
    assert "ece" not in found["baselines"]["ttc_rule"] and {"trials", "reference"} <= set(found["left_out"])
    assert found["told"] is None and "looks out for nobody" in found["left_out"]["told"]
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "reliability.png", "precision_recall.png", "severity_delta_v.png", "timing.png",
        "mistakes_false_alarms.png", "mistakes_misses.png", "mistakes_severity.png",
    }  # fmt: skip
    page = (tmp_path / "outcomes.html").read_text()
    assert page.count("data:image/png;base64,") == 7 and "twin_sign_accuracy" in page and 'src="http' not in page


def test_the_event_of_which_most_is_told():
    events = [OutcomeSpec(name, "event") for name in ("success", "spill", "fall")]
    force = OutcomeSpec("force", "scalar", given="spill")
    spec = SimpleNamespace(env_id="toy", outcomes=(*events, force))
    assert main_event(spec) == "spill"
    spec.outcomes = events
    assert main_event(spec) == "success"
    spec.outcomes = (force,)
    with pytest.raises(ValueError, match="toy declares no event"):
        main_event(spec)


def test_an_unknown_event_is_refused(checkpoint, store, tmp_path):
    with pytest.raises(ValueError, match="declares no event 'fire'"):
        bench_outcomes(
            checkpoint=checkpoint, data=store, heldout=store, out=tmp_path, config=OutcomesConfig(event="fire")
        )
