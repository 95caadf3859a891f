"""Boxes: distances with known answers, and first contacts of made-up tracks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simworld.readers.contacts import Box, contacts, first_contact, gap_m, touching
from simworld.scenario import Body, Road, Scenario, ScenarioActor, Track

SMALL = Body(4.0, 2.0, 1.5, 1000.0)


def moving(
    ident: str, start: tuple[float, float], v: tuple[float, float], *, t0: float = 0.0, t1: float = 10.0
) -> ScenarioActor:
    t = np.array([t0, t1])
    heading = math.atan2(v[1], v[0])
    pose = np.array([[start[0] + v[0] * k, start[1] + v[1] * k, heading] for k in t])
    return ScenarioActor(
        ident, "car", SMALL, tuple(pose[0]), math.hypot(*v), Track(t, pose, np.full(2, math.hypot(*v)))
    )


def scene(*actors: ScenarioActor) -> Scenario:
    return Scenario("s", Road(), actors, "", 10.0)


def test_gaps_between_boxes() -> None:
    a = Box(0, 0, 0, 4, 2)
    assert gap_m(a, Box(5, 0, 0, 4, 2)) == pytest.approx(1.0)
    assert gap_m(a, Box(3.5, 0, 0, 4, 2)) == pytest.approx(-0.5)
    assert gap_m(a, Box(0, 3, math.pi / 4, 2, 2)) == pytest.approx(2 - math.sqrt(2))
    assert gap_m(a, Box(5, 4, 0, 4, 2)) == pytest.approx(math.hypot(1, 2))  # corner to corner


def test_the_quick_test_agrees_with_the_distance() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        a = Box(0, 0, rng.uniform(0, 6), *rng.uniform(0.5, 5, 2))
        b = Box(*rng.uniform(-4, 4, 2), rng.uniform(0, 6), *rng.uniform(0.5, 5, 2))
        assert touching(a, b) == (gap_m(a, b) <= 0)


def test_head_on_contact_at_the_computed_time() -> None:
    scenario = scene(moving("a", (0, 0), (10, 0)), moving("b", (64, 0), (-5, 0)))
    contact = first_contact(scenario)
    assert contact is not None and contact.actors == ("a", "b")
    assert contact.t_s == pytest.approx((64 - 4) / 15, abs=0.011)
    assert contact.closing_mps == pytest.approx(15, abs=0.1)


def test_actors_are_there_only_while_their_track_is() -> None:
    gone = scene(moving("a", (0, 0), (10, 0)), moving("b", (44, 0), (1e-6, 0), t1=2.0))
    assert first_contact(gone) is None
    waits = ScenarioActor("c", "car", SMALL, (40.0, 0.0, 0.0), behaviour={"kind": "start"})
    parked = ScenarioActor("c", "car", SMALL, (40.0, 0.0, 0.0), behaviour={"kind": "parked"})
    assert first_contact(scene(moving("a", (0, 0), (10, 0)), waits)) is None
    contact = first_contact(scene(moving("a", (0, 0), (10, 0)), parked))
    assert contact is not None and contact.t_s == pytest.approx(3.6, abs=0.011)


def test_slow_shallow_sliding_is_a_tracking_overlap() -> None:
    scenario = scene(moving("a", (0, 0), (10, 0)), moving("b", (0, 2.3), (10, -0.05)))
    (overlap,) = contacts(scenario)
    assert overlap.tracking_overlap and first_contact(scenario) is None
