"""What if: futures that share their past, sweeps that tip, and scores of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replay_fakes import FakeModel, rear_end

from simworld.episode import ActionSpec
from simworld.readers import read_scenario
from simworld.replay.changes import Change
from simworld.replay.drivers import make_action
from simworld.replay.run import ReplayConfig
from simworld.replay.whatif import AS_IT_WAS, Variant, branch, outcome, report, summary, tips

WHEEL = ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0))
BLIND = ReplayConfig(film=False)


def test_braking_makes_the_difference_in_both_worlds() -> None:
    brake = make_action("brake", WHEEL, 0.1)
    variants = [Variant(AS_IT_WAS), Variant("brake", brake)]
    futures = branch(rear_end(), variants, 1.0, config=BLIND, model=FakeModel())
    assert [bool(r.collisions) for r in futures.real] == [True, False]
    assert [bool(r.collisions) for r in futures.imagined] == [True, False]
    found = report(futures)
    scores = found["futures"][1]["mujoco"]["scores"]
    assert scores["min_pet_s"] == "inf"  # nobody crosses
    assert "min_ttc_s" in {left["name"] for left in scores["left_out"]}  # it needs the lane, which no state names
    assert found["futures"][0]["imagined"]["p_collision"] > 0.5
    first, second = (r.episode for r in futures.real)
    assert first is not None and second is not None
    assert (first.state[:11] == second.state[:11]).all() and first.outcomes["collision"].sum() == 1


def test_what_was_there_comes_out_as_without_a_branch() -> None:
    futures = branch(rear_end(), [Variant(AS_IT_WAS), Variant(AS_IT_WAS)], 2.9, config=BLIND)
    a, b = futures.real
    assert a.collisions == b.collisions and len(a.collisions) == 1


def test_a_sweep_says_where_it_tips() -> None:
    variants = [Variant(AS_IT_WAS)]
    variants += [Variant(f"brake {b}", None, (Change("lead", "brake", b),)) for b in ("0", "2", "6")]
    futures = branch(rear_end(gap_m=42.0, lead_mps=10.0), variants, 1.0, config=BLIND)
    assert [bool(r.collisions) for r in futures.real] == [False, False, True, True]
    (tip,) = tips(futures)
    assert (tip["from"], tip["to"]) == (0.0, 2.0) and "tips between 0 and 2" in summary(futures)


def test_another_class_weighs_what_it_weighs() -> None:
    variants = [Variant(AS_IT_WAS), Variant("tank", None, (Change("Lead", "class", "tank"),))]
    futures = branch(rear_end(gap_m=20.0), variants, 0.5, config=BLIND)
    car, tank = (outcome(r, 0.5)["delta_v_mps"] for r in futures.real)
    assert tank > 1.5 * car


def test_a_storyboard_goes_on_live_from_the_branch(examples: Path) -> None:
    scenario = read_scenario(examples / "hard_braking_lead.xosc")
    go_on = make_action("coast", WHEEL, 0.1)
    config = ReplayConfig(film=False, duration_s=8.0)
    futures = branch(scenario, [Variant(AS_IT_WAS), Variant("coast", go_on)], 2.0, config=config)
    assert [bool(r.collisions) for r in futures.real] == [False, True]
    assert futures.real[0].track_error_m is not None and futures.real[0].track_error_m < 0.1
    states = [r.episode.state[:21] for r in futures.real if r.episode is not None]
    assert np.array_equal(states[0], states[1])


def test_a_branch_outside_the_scenario_is_refused() -> None:
    for at_s in (0.0, 4.0):
        with pytest.raises(ValueError, match="branch_at"):
            branch(rear_end(), [Variant(AS_IT_WAS)], at_s, config=BLIND)
