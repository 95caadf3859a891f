"""CommonRoad: lanelets, both versions' obstacles, who the ego is, and the events of real files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from simworld.readers.commonroad import parse_commonroad, read_commonroad
from simworld.readers.contacts import contacts, first_contact


def state(tag: str, step: int, x: float, y: float = 0.0, v: float = 10.0, heading: str = "<exact>0</exact>") -> str:
    return (
        f"<{tag}><position><point><x>{x}</x><y>{y}</y></point></position><orientation>{heading}</orientation>"
        f"<time><exact>{step}</exact></time><velocity><exact>{v}</exact></velocity></{tag}>"
    )


def car(ident: int, *states: str, shape: str = "<rectangle><length>4</length><width>2</width></rectangle>") -> str:
    return (
        f'<dynamicObstacle id="{ident}"><type>car</type><shape>{shape}</shape>{states[0]}'
        f"<trajectory>{''.join(states[1:])}</trajectory></dynamicObstacle>"
    )


def document(*parts: str) -> bytes:
    head = '<commonRoad timeStepSize="0.1" commonRoadVersion="2020a" benchmarkID="X">'
    return (head + "".join(parts) + "</commonRoad>").encode()


def bound(tag: str, y: float) -> str:
    points = "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x in (0, 25, 100))
    return f"<{tag}>{points}<lineMarking>dashed</lineMarking></{tag}>"


def test_lanelets_become_lanes() -> None:
    lanelet = (
        f'<lanelet id="5">{bound("leftBound", 3.0)}{bound("rightBound", 0.0)}<successor ref="6"/>'
        '<adjacentLeft ref="7" drivingDir="opposite"/><adjacentRight ref="8" drivingDir="same"/>'
        "<speedLimit>13.5</speedLimit></lanelet>"
    )
    (lane,) = parse_commonroad(document(lanelet), "x").road.lanes
    np.testing.assert_allclose(lane.centre[[0, -1]], [[0, 1.5], [100, 1.5]])
    assert (np.linalg.norm(np.diff(lane.centre, axis=0), axis=1) < 2.0 + 1e-9).all()
    np.testing.assert_allclose(lane.width_m, 3.0)
    assert (lane.left, lane.right, lane.successors, lane.speed_limit_mps) == ("", "8", ("6",), 13.5)
    assert (lane.left_mark, lane.right_mark) == ("broken", "broken")


def test_tracks_hold_what_the_file_says() -> None:
    interval = "<intervalStart>0.1</intervalStart><intervalEnd>0.3</intervalEnd>"
    data = document(car(3, state("initialState", 0, 5), state("state", 1, 6), state("state", 2, 7, heading=interval)))
    scenario = parse_commonroad(data, "x")
    (actor,) = scenario.actors
    assert actor.track is not None
    np.testing.assert_allclose(actor.track.t_s, [0, 0.1, 0.2])
    np.testing.assert_allclose(actor.track.pose[:, 0], [5, 6, 7])
    assert actor.track.pose[2, 2] == pytest.approx(0.2)
    assert (scenario.duration_s, scenario.dt_s, actor.speed_mps) == (pytest.approx(0.2), 0.1, 10)
    assert any("interval" in u.element for u in scenario.unsupported)
    assert actor.track.covers(0.2) and not actor.track.covers(0.21)


def test_the_ego_is_the_car_that_starts_where_the_problem_does() -> None:
    recorded = car(3, state("initialState", 0, 5), state("state", 1, 6))
    same = parse_commonroad(
        document(recorded, f'<planningProblem id="9">{state("initialState", 0, 5)}</planningProblem>'), "x"
    )
    assert same.ego_id == "3" and len(same.actors) == 1
    other = parse_commonroad(
        document(recorded, f'<planningProblem id="3">{state("initialState", 0, 50)}</planningProblem>'), "x"
    )
    ego = other.actor(other.ego_id)
    assert ego.id == "ego-3" and ego.needs_policy and not ego.present(0.0)


def test_shapes_off_their_centre_and_round_ones() -> None:
    shifted = (
        "<rectangle><length>4</length><width>2</width><orientation>0</orientation>"
        "<center><x>1</x><y>0.5</y></center></rectangle>"
    )
    turned = state("initialState", 0, 10, heading=f"<exact>{math.pi / 2}</exact>")
    scenario = parse_commonroad(document(car(1, turned, state("state", 1, 10), shape=shifted)), "x")
    assert scenario.actors[0].start == pytest.approx((10 - 0.5, 1.0, math.pi / 2))
    round_one = car(1, turned, state("state", 1, 10), shape="<circle><radius>0.3</radius></circle>")
    scenario = parse_commonroad(document(round_one), "x")
    assert scenario.actors[0].body.length_m == pytest.approx(0.6)
    assert scenario.unsupported[0].element == "circle"


@pytest.mark.parametrize(
    ("name", "first_s"),
    [
        ("OSC_PedestrianCollision-1_1_T-1", 5.6),
        ("DEU_Crit-1_1_T-1", 1.5),
        ("DEU_Test-1_1_T-1", 4.4),
        ("OSC_CutIn-1_2_T-1", None),
        ("ZAM_Zip-1_56_T-1", None),
        ("USA_US101-5_1_T-1", None),
    ],
)
def test_events_happen_when_the_source_says(shared: Path, name: str, first_s: float | None) -> None:
    scenario = read_commonroad(shared / f"commonroad/{name}.xml")
    contact = first_contact(scenario)
    if first_s is None:
        assert contact is None
    else:
        assert contact is not None and contact.t_s == pytest.approx(first_s, abs=0.2)


def test_a_tracking_overlap_is_named_and_is_no_crash(shared: Path) -> None:
    (overlap,) = contacts(read_commonroad(shared / "commonroad/USA_US101-5_1_T-1.xml"))
    assert overlap.tracking_overlap and overlap.t_s == pytest.approx(2.7, abs=0.05)
    assert set(overlap.actors) == {"438", "439"} and overlap.depth_m < 0.1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (document(car(1, state("initialState", 0, 5), state("state", 0, 6))), "order of time"),
        (document(car(1, state("initialState", 0, "nan"))), "not a finite number"),  # type: ignore[arg-type]
        (b'<commonRoad timeStepSize="0"/>', "outside"),
        (b"<commonRoad/>", "timeStepSize"),
        (document(car(1, state("initialState", 0, 1)), car(1, state("initialState", 0, 2))), "same id"),
    ],
)
def test_bad_files_get_one_sentence(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_commonroad(data, "bad.xml")
