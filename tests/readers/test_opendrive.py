"""OpenDRIVE: curves with known ends, lanes and links of small roads, and agreement with CARLA's own reader."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simworld.readers.notes import Notes
from simworld.readers.opendrive import parse_opendrive, plan_route, read_opendrive, to_road, to_signals
from simworld.readers.opendrive.geometry import Geometry

WIDTH = '<width sOffset="0" a="3.5" b="0" c="0" d="0"/>'


def xodr(*roads: str, junctions: str = "") -> bytes:
    return f"<OpenDRIVE><header/>{''.join(roads)}{junctions}</OpenDRIVE>".encode()


def straight(ident: str, x: float, length: float, *, link: str = "", lanes: str = "", junction: str = "-1") -> str:
    lanes = lanes or (
        f'<left><lane id="1" type="driving">{WIDTH}</lane></left><center><lane id="0" type="none">'
        '<roadMark sOffset="0" type="broken"/></lane></center>'
        f'<right><lane id="-1" type="driving">{WIDTH}<roadMark sOffset="0" type="solid"/></lane></right>'
    )
    return (
        f'<road id="{ident}" length="{length}" junction="{junction}"><link>{link}</link>'
        f'<type s="0" type="town"><speed max="36" unit="km/h"/></type>'
        f'<planView><geometry s="0" x="{x}" y="0" hdg="0" length="{length}"><line/></geometry></planView>'
        f'<lanes><laneSection s="0">{lanes}</laneSection></lanes></road>'
    )


def end_of(kind: str, length: float, *params: float) -> np.ndarray:
    return Geometry(kind, 0.0, 0.0, 0.0, 0.0, length, params).at(np.array([length]))[0]


def test_curves_end_where_closed_forms_say() -> None:
    np.testing.assert_allclose(end_of("line", 10.0), [10, 0, 0])
    np.testing.assert_allclose(end_of("arc", 10 * math.pi, 0.1), [0, 20, math.pi], atol=1e-9)  # half a circle
    # Clothoid from straight to 1/R over L: x = sqrt(pi) A C(l / (sqrt(pi) A)), A² = R L (Fresnel integrals).
    from scipy.special import fresnel

    s, c = fresnel(math.sqrt(50.0 * 0.05 / math.pi))
    a = math.sqrt(50.0 / 0.05 * math.pi)
    np.testing.assert_allclose(end_of("spiral", 50.0, 0.0, 0.05), [a * c, a * s, 1.25], atol=1e-9)
    np.testing.assert_allclose(end_of("spiral", 20.0, 0.03, 0.03), end_of("arc", 20.0, 0.03), atol=1e-9)
    np.testing.assert_allclose(end_of("paramPoly3", 5.0, 0, 5, 0, 0, 0, 0, 2, 0, 1.0), [5, 2, math.atan2(4, 5)])
    x, y, heading = end_of("poly3", 10.0, 0.0, 0.75, 0.0, 0.0)  # a line at slope 3/4
    np.testing.assert_allclose([x, y, heading], [8, 6, math.atan(0.75)], atol=1e-6)


def test_lanes_run_in_driving_direction_with_marks_limits_and_neighbours() -> None:
    lanes = (
        f'<left><lane id="2" type="driving">{WIDTH}</lane><lane id="1" type="driving">{WIDTH}</lane></left>'
        '<center><lane id="0" type="none"><roadMark sOffset="0" type="solid solid"/></lane></center>'
        f'<right><lane id="-1" type="driving">{WIDTH}<roadMark sOffset="0" type="broken"/></lane>'
        '<lane id="-2" type="sidewalk"><width sOffset="0" a="2" b="0.01" c="0" d="0"/></lane></right>'
    )
    road = to_road(parse_opendrive(xodr(straight("7", 0, 40, lanes=lanes)), "x"), Notes())
    by_id = {lane.id: lane for lane in road.lanes}
    right, left, walk = by_id["7.0.-1"], by_id["7.0.1"], by_id["7.0.-2"]
    np.testing.assert_allclose(right.centre[[0, -1]], [[0, -1.75], [40, -1.75]])
    np.testing.assert_allclose(left.centre[[0, -1]], [[40, 1.75], [0, 1.75]])
    np.testing.assert_allclose(walk.width_m[[0, -1]], [2.0, 2.4])
    np.testing.assert_allclose(walk.centre[-1], [40, -3.5 - 1.2])
    assert (right.left_mark, right.right_mark) == ("solid", "broken")
    assert (left.left_mark, left.right_mark) == ("solid", "none")
    assert right.speed_limit_mps == pytest.approx(10.0)
    assert (left.right, right.left) == ("7.0.2", "")  # beside is what runs the same way
    assert max(np.linalg.norm(np.diff(right.centre, axis=0), axis=1)) <= 2.0


def test_left_hand_traffic_turns_lanes_round() -> None:
    data = xodr(straight("1", 0, 20)).replace(b'junction="-1"', b'junction="-1" rule="LHT"')
    lanes = {lane.id: lane for lane in to_road(parse_opendrive(data, "x"), Notes()).lanes}
    np.testing.assert_allclose(lanes["1.0.1"].centre[0], [0, 1.75])
    np.testing.assert_allclose(lanes["1.0.-1"].centre[0], [20, -1.75])


def test_lane_offset_borders_and_coordinates() -> None:
    lanes = (
        '<right><lane id="-1" type="driving"><border sOffset="0" a="-3" b="0" c="0" d="0"/></lane>'
        '<lane id="-2" type="driving"><border sOffset="0" a="-7" b="0" c="0" d="0"/></lane></right>'
    )
    data = xodr(straight("1", 0, 100, lanes=lanes)).replace(
        b"<lanes>", b'<lanes><laneOffset s="0" a="1" b="0" c="0" d="0"/>'
    )
    network = parse_opendrive(data, "x")
    np.testing.assert_allclose(network.point_pose(network.lane_point("1", -2, 30.0, 0.5)), (30, 1 - 5 + 0.5, 0))
    found = network.locate(30.0, -4.2)
    assert found is not None and found.key.lane == -2
    assert (found.s_m, found.offset_m) == (pytest.approx(30.0), pytest.approx(-0.2))
    with pytest.raises(ValueError, match="no lane -9"):
        network.lane_point("1", -9, 0.0)


def test_routes_follow_links_and_junctions() -> None:
    roads = (
        straight("1", 0, 50, link='<successor elementType="junction" elementId="9"/>'),
        straight("2", 50, 20, junction="9", link='<successor elementType="road" elementId="3" contactPoint="start"/>'),
        straight("3", 70, 30, link='<predecessor elementType="junction" elementId="9"/>'),
    )
    junction = (
        '<junction id="9"><connection id="0" incomingRoad="1" connectingRoad="2" contactPoint="start">'
        '<laneLink from="-1" to="-1"/></connection></junction>'
    )
    network = parse_opendrive(xodr(*roads, junctions=junction), "x")
    route = plan_route(network, [network.lane_point("1", -1, 10.0), network.lane_point("3", -1, 5.0)])
    assert route.reached and route.roads() == ("1", "2", "3")
    assert route.length_m == pytest.approx(40 + 20 + 5)
    at = route.at(45.0)
    assert at is not None and (at.key.road, at.s_m) == ("2", pytest.approx(5.0))
    back = plan_route(network, [network.lane_point("3", -1, 5.0), network.lane_point("1", -1, 10.0)])
    assert not back.reached


def test_town01_agrees_with_carla(shared: object) -> None:
    carla = pytest.importorskip("carla")
    path = shared / "opendrive/Town01.xodr"  # type: ignore[operator]
    network = read_opendrive(path)
    theirs = carla.Map("Town01", path.read_text())
    waypoints = theirs.generate_waypoints(4.0)
    assert len(waypoints) > 1000
    for w in waypoints:
        point = network.lane_point(str(w.road_id), w.lane_id, w.s)
        x, y, heading = network.point_pose(point)
        where = w.transform.location
        assert math.hypot(x - where.x, y + where.y) < 0.01  # CARLA's y is OpenDRIVE's -y
        assert math.cos(heading + math.radians(w.transform.rotation.yaw)) > 1 - 1e-6
        width = network.roads[point.key.road].lane_span(point.key.section, w.lane_id, w.s)[1]
        assert width == pytest.approx(w.lane_width, abs=1e-6)
    located = [
        network.locate(w.transform.location.x, -w.transform.location.y, kinds=("driving",)) for w in waypoints[::40]
    ]
    inside = [theirs.get_waypoint(w.transform.location).is_junction for w in waypoints[::40]]
    for w, found, junction in zip(waypoints[::40], located, inside, strict=True):
        assert found is not None and (junction or found.key.road == str(w.road_id))


def test_signs_stand_beside_the_road(shared: object) -> None:
    network = read_opendrive(shared / "esmini/xodr/straight_500m_signs.xodr")  # type: ignore[operator]
    signals = to_signals(network)
    assert len(signals) == 19
    assert signals[0].pose == pytest.approx((0.0, 3.57, 0.0)) and signals[0].value == 5
    against = next(s for s in signals if s.id == "4")
    assert math.cos(against.pose[2]) == pytest.approx(-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((b'length="40.0"', b'length="1e9"'), "outside"),
        ((b'hdg="0"', b'hdg="nan"'), "not a finite number"),
        ((b"<line/>", b'<arc curvature="100"/>'), "turns by more"),
        ((b'unit="km/h"', b'unit="knots"'), "knots"),
        ((b'id="-1" type', b'id="1" type'), "wrong for the right side"),
        ((b"<planView>", b"<planView/><unused>"), "well-formed"),
        ((b"<laneSection", b"<other"), "well-formed"),
        ((b'a="3.5"', b'a="x"'), "'x', not a number"),
    ],
)
def test_bad_roads_get_one_sentence(change: tuple[bytes, bytes], message: str) -> None:
    data = xodr(straight("1", 0, 40.0))
    with pytest.raises(ValueError, match=message) as caught:
        parse_opendrive(data.replace(*change), "bad.xodr")
    assert "\n" not in str(caught.value)
