"""Every real file at hand replays: known crashes at their times, tracks kept, and nothing that is no crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from simworld.readers import read_scenario
from simworld.replay.result import Replay
from simworld.replay.run import ReplayConfig, replay


def replayed(path: Path, shared: Path, **options: object) -> Replay:
    scenario = read_scenario(path, road_dirs=(shared / "opendrive",))
    return replay(scenario, None, ReplayConfig(film=False, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "first_s"),
    [
        ("commonroad/OSC_PedestrianCollision-1_1_T-1.xml", 5.6),
        ("commonroad/DEU_Crit-1_1_T-1.xml", 1.5),
        ("commonroad/DEU_Test-1_1_T-1.xml", 4.4),
        ("commonroad/OSC_CutIn-1_2_T-1.xml", None),
        ("commonroad/USA_US101-5_1_T-1.xml", None),
        ("commonroad/ZAM_Zip-1_56_T-1.xml", None),
        ("esmini/xosc/pedestrian_collision.xosc", 5.6),
        ("esmini/xosc/slow-lead-vehicle.xosc", None),
        ("esmini/xosc/ltap-od.xosc", 6.6),
        ("esmini/xosc/cut-in.xosc", 12.4),
        ("carla_recorder/DistanceToLaneCenter.log", None),
    ],
)
def test_first_contacts(shared: Path, name: str, first_s: float | None) -> None:
    result = replayed(shared / name, shared)
    if first_s is None:
        assert result.first_collision_s is None
    else:
        assert result.first_collision_s == pytest.approx(first_s, abs=0.2)
    assert result.track_error_m is not None and result.track_error_m < 0.1


def test_the_overlap_in_recorded_traffic_is_told(shared: Path) -> None:
    result = replayed(shared / "commonroad/USA_US101-5_1_T-1.xml", shared)
    assert [(a, b) for a, b, _ in result.overlaps] == [("438", "439")]
    assert any("438 and 439" in n["element"] for n in result.notes) and result.absent == ["544"]


@pytest.mark.parametrize("name", ["FollowLeadingVehicle", "LaneChangeSimple", "PedestrianCrossingFront"])
def test_scenarios_written_for_carla(shared: Path, name: str) -> None:
    result = replayed(shared / f"scenario_runner/{name}.xosc", shared, duration_s=4.0)
    assert result.duration_s == pytest.approx(4.0) and not result.collisions


def test_the_examples_of_the_package(examples: Path) -> None:
    for name, hit in (("tank_crossing", True), ("hard_braking_lead", False)):
        assert bool(replay(read_scenario(examples / f"{name}.xosc"), None, ReplayConfig(film=False)).collisions) is hit
