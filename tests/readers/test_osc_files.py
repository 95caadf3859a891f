"""OpenSCENARIO files that others wrote, against what their own simulator reports, and our examples."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from simworld.readers import first_contact, read_scenario
from simworld.readers.commonroad import read_commonroad
from simworld.readers.contacts import boxes_at, gaps_m
from simworld.readers.openscenario import open_storyboard, read_openscenario

from .osc_build import run_to, started


def test_cut_in_at_the_times_that_esmini_logs(shared: Path) -> None:
    runner = run_to(open_storyboard(shared / "esmini/xosc/cut-in.xosc"), 17.0)
    assert started(runner, "OvertakerBrakeEvent") == [pytest.approx(7.74, abs=0.011)]
    ends = {e.name: e.t_s for e in runner.events()}
    assert ends["event OvertakerBrakeEvent: end"] == pytest.approx(16.74, abs=0.02)


def test_ltap_od_at_the_places_that_esmini_logs(shared: Path) -> None:
    runner = run_to(open_storyboard(shared / "esmini/xosc/ltap-od.xosc"), 6.5)
    ego, other = runner.world.entities["Ego"], runner.world.entities["NPC"]
    assert ego.pose == pytest.approx((28.542, -7.876, 1.779), abs=0.01)
    assert other.pose == pytest.approx((24.456, 0.305, 5.394 - 2 * math.pi), abs=0.01)
    assert (ego.speed_mps, other.speed_mps) == (10, pytest.approx(7))


def test_pedestrian_collision_matches_the_commonroad_export_of_the_same_run(shared: Path) -> None:
    ours = read_openscenario(shared / "esmini/xosc/pedestrian_collision.xosc")
    theirs = read_commonroad(shared / "commonroad/OSC_PedestrianCollision-1_1_T-1.xml")
    for name, other in (("Ego", "34"), ("pedestrian_adult", "35")):
        track, known = ours.actor(name).track, theirs.actor(other).track
        assert track is not None and known is not None
        times = np.arange(0.0, 5.3, 0.1)
        np.testing.assert_allclose(track.sample(times)[:, :2], known.sample(times)[:, :2], atol=0.05)
    contact = first_contact(ours)
    assert contact is not None and contact.t_s == pytest.approx(5.5, abs=0.2)


def test_slow_lead_vehicle_is_braked_for_at_its_time_to_collision(shared: Path) -> None:
    scenario = read_openscenario(shared / "esmini/xosc/slow-lead-vehicle.xosc")
    brakes = next(e for e in scenario.events if e.name == "event brake_Event: start")
    assert brakes.t_s == pytest.approx((150 - 2.7 * 29) / 29, abs=0.02)  # gap 150 m, closing at 29 m/s
    assert first_contact(scenario) is None


@pytest.mark.parametrize(
    ("name", "actors", "lanes"),
    [
        ("FollowLeadingVehicle", 2, 306),
        ("IntersectionCollisionAvoidance", 2, 306),
        ("PedestrianCrossingFront", 2, 306),
        ("LaneChangeSimple", 3, 0),
    ],
)
def test_scenario_runner_files_play_to_their_end(shared: Path, name: str, actors: int, lanes: int) -> None:
    scenario = read_scenario(shared / f"scenario_runner/{name}.xosc", road_dirs=(shared / "opendrive",))
    assert len(scenario.actors) == actors and len(scenario.road.lanes) == lanes
    assert scenario.ego_id == "hero" and any(e.name == "act Behavior: end" for e in scenario.events)
    assert first_contact(scenario) is None
    noted = {u.element for u in scenario.unsupported}
    assert {"ControllerAction", "EnvironmentAction"} <= noted
    assert ("road Town04" in noted) == (lanes == 0)


def test_carla_positions_lie_on_their_lanes(shared: Path) -> None:
    runner = open_storyboard(shared / "scenario_runner/PedestrianCrossingFront.xosc", road_dirs=(shared / "opendrive",))
    hero = runner.world.entities["hero"]
    assert hero.lane is not None and abs(hero.lane.offset_m) < 0.6
    assert runner.world.entities["adversary"].lane is None  # it walks across, not along


def test_examples_have_nothing_unsupported(examples: Path) -> None:
    files = sorted(examples.glob("*.xosc"))
    assert [f.stem for f in files] == ["cut_in", "hard_braking_lead", "pedestrian_from_behind_van", "tank_crossing"]
    for file in files:
        assert read_scenario(file).unsupported == ()


def test_the_tank_is_hit_and_is_a_tank(examples: Path) -> None:
    scenario = read_scenario(examples / "tank_crossing.xosc")
    tank = scenario.actor("Tank")
    assert (tank.kind, tank.body.mass_kg) == ("tank", 50_000)
    contact = first_contact(scenario)
    assert contact is not None and contact.actors == ("Ego", "Tank") and contact.closing_mps == pytest.approx(15, abs=1)


def test_the_pedestrian_is_hidden_until_late_and_hit(examples: Path) -> None:
    scenario = read_scenario(examples / "pedestrian_from_behind_van.xosc")
    contact = first_contact(scenario)
    assert contact is not None and contact.actors == ("Ego", "Pedestrian") and 5 < contact.t_s < 7


def test_the_cut_in_is_close_but_touches_nobody(examples: Path) -> None:
    scenario = read_scenario(examples / "cut_in.xosc")
    assert first_contact(scenario) is None
    times = np.arange(8.0, 14.0, 0.05)
    gap = gaps_m(boxes_at(scenario.actor("Ego"), times), boxes_at(scenario.actor("Cutter"), times))
    assert 5 < gap.min() < 25
    assert abs(scenario.actor("Cutter").track.at(14)[3] - 28) < 0.1  # type: ignore[union-attr]


@pytest.mark.parametrize(("reaction_s", "crash"), [("1.0", False), ("1.3", True)])
def test_the_hard_braking_lead_tips_with_the_reaction_time(examples: Path, reaction_s: str, crash: bool) -> None:
    scenario = read_openscenario(examples / "hard_braking_lead.xosc", parameters={"ReactionTime": reaction_s})
    assert (first_contact(scenario) is not None) == crash
