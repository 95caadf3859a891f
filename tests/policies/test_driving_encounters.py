"""Constructed encounters: twins share their start, and who meets whom is as drawn."""

from __future__ import annotations

import numpy as np
import pytest
from simworld.policies.driving_encounters import KINDS, Encounter, draw_encounter, plan

from simworld.scenario import ROAD_USERS


def test_twins_share_their_start_and_differ_in_what_the_ego_does():
    for pair in range(40):
        a, b = plan(2 * pair, 3), plan(2 * pair + 1, 3)
        assert (a.reset_seed, a.options, a.max_steps) == (b.reset_seed, b.options, b.max_steps)
        assert a.policy.name == "blind" and b.policy.name.startswith("blind>")


def test_every_kind_meets_every_class():
    drawn = [draw_encounter(np.random.default_rng(i)) for i in range(400)]
    assert {(e.kind, e.partner) for e in drawn} == {(k, p) for k in KINDS for p in ROAD_USERS}
    assert 0.25 < np.mean([abs(e.miss_m) > 1.0 for e in drawn]) < 0.45


@pytest.mark.parametrize(
    ("kind", "ahead_m"), [("rear_end", 5 + 4 * 3), ("head_on", 5 + 16 * 3), ("crossing", 3 + 10 * 3)]
)
def test_both_reach_one_point_at_the_same_time(kind, ahead_m):
    (actor,) = Encounter(kind, "car", 10.0, 6.0, 3.0).reset_options()["actors"]
    assert actor["ahead_m"] == pytest.approx(ahead_m)
    if kind == "crossing":
        assert actor["left_m"] == pytest.approx(18.0) and actor["heading_rad"] < 0
