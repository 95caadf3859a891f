"""CARLA's recorder logs and route files: a log built by hand, the real one, and routes over Town01."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest

from simworld.readers import read_carla_log, read_scenario, to_json
from simworld.readers.carla_log import parse_carla_log
from simworld.readers.carla_route import read_carla_route
from simworld.readers.carla_scenario import carla_scenario


def text(value: str) -> bytes:
    return struct.pack("<H", len(value)) + value.encode()


def packet(kind: int, body: bytes) -> bytes:
    return struct.pack("<BI", kind, len(body)) + body


def small_log(frames: int = 5) -> bytes:
    """One car of 4 x 2 m that drives at 10 m/s along CARLA's y, and a walker in the first frames."""
    data = struct.pack("<H", 1) + text("CARLA_RECORDER") + struct.pack("<q", 1_600_000_000) + text("TownX")
    for k in range(frames):
        data += packet(0, struct.pack("<Qdd", k + 1, 0.1 if k < frames - 1 else -1.0, 0.1 * k))
        if k == 0:
            attributes = struct.pack("<H", 1) + b"\x03" + text("role_name") + text("hero")
            car = struct.pack("<IB3f3fI", 7, 1, 100, 200, 0, 0, 0, 90, 1) + text("vehicle.test.car") + attributes
            walker = struct.pack("<IB3f3fI", 8, 2, 0, 0, 0, 0, 0, 0, 2) + text("walker.x") + struct.pack("<H", 0)
            data += packet(2, struct.pack("<H", 2) + car + walker)
            boxes = struct.pack("<I3f3f", 7, 0, 0, 70, 200, 100, 75) + struct.pack("<I3f3f", 8, *[math.nan] * 6)
            data += packet(13, struct.pack("<H", 2) + boxes)
        position = struct.pack("<I3f3f", 7, 100, 200 + 100 * k, 0, 0, 0, 90)
        rows = [position, struct.pack("<I3f3f", 8, 0, 0, 0, 0, 0, 0)] if k < 3 else [position]
        data += packet(6, struct.pack("<H", len(rows)) + b"".join(rows))
        data += packet(8, struct.pack("<H", 1) + struct.pack("<IfffBi", 7, 0.25, 0.5, 0.0, 0, 2))
        data += packet(12, struct.pack("<H", 1) + struct.pack("<I3f3f", 7, 0, 10, 0, 0, 0, 0))
        data += packet(99, b"unknown")
        if k == 2:
            data += packet(5, struct.pack("<H", 1) + struct.pack("<IIIBB", 1, 7, 8, 1, 0))
            data += packet(3, struct.pack("<HI", 1, 8))
        data += packet(1, b"")
    return data


def test_a_log_becomes_frames_and_json() -> None:
    out = to_json(parse_carla_log(small_log(), "x.log"))
    json.dumps(out, allow_nan=False)
    assert len(out["frames"]) == 5 and out["map"] == "TownX"
    car = out["frames"][3]["actors"]["7"]
    assert car["location_m"] == [1.0, 5.0, 0.0] and car["velocity_mps"] == [0.0, 10.0, 0.0]
    assert car["control"] == {"steer": 0.25, "throttle": 0.5, "brake": 0.0, "handbrake": False, "gear": 2}
    assert out["frames"][2]["collisions"] == [[7, 8]] and out["frames"][2]["removed"] == [8]


def test_a_log_becomes_a_scenario_in_the_right_handed_frame(tmp_path: Path) -> None:
    scenario = carla_scenario(parse_carla_log(small_log(), "x.log"), tmp_path / "x.log", ())
    car, walker = scenario.actor("7"), scenario.actor("8")
    assert scenario.ego_id == "7" and car.track is not None and walker.track is not None
    np.testing.assert_allclose(car.track.pose[[0, -1]], [[1, -2, -math.pi / 2], [1, -6, -math.pi / 2]], atol=1e-6)
    np.testing.assert_allclose(car.track.speed_mps, 10)
    assert (car.body.length_m, car.body.width_m) == (4, 2)
    assert walker.kind == "pedestrian" and walker.body.length_m == 0.5  # its box is not finite
    assert not walker.present(0.3) and walker.present(0.1)
    assert scenario.events[0].t_s == pytest.approx(0.2) and "8" in scenario.events[0].name
    noted = " ".join(u.element for u in scenario.unsupported)
    assert "packet 99" in noted and "map TownX" in noted and "box of walker.x" in noted


def test_damaged_logs() -> None:
    data = small_log()
    cut = parse_carla_log(data[:-30], "x.log")
    assert any(u.element == "last packet" for u in cut.unsupported)
    with pytest.raises(ValueError, match="no CARLA recorder log"):
        parse_carla_log(data.replace(b"CARLA_RECORDER", b"CARLA_RECORDED"), "x.log")
    at = data.index(struct.pack("<BI", 8, 23))
    with pytest.raises(ValueError, match="lacks its 65535 entries"):
        parse_carla_log(data[: at + 5] + b"\xff\xff" + data[at + 7 :], "x.log")
    with pytest.raises(ValueError, match="no frames"):
        parse_carla_log(data[: data.index(struct.pack("<BI", 0, 24))], "x.log")


def test_the_real_log_has_all_its_frames(shared: Path) -> None:
    log = read_carla_log(shared / "carla_recorder/DistanceToLaneCenter.log")
    out = to_json(log)
    frames = out["frames"]
    assert len(frames) == 432 and [f["frame"] for f in frames] == list(range(1, 433))
    hero = [f["actors"].get("234", {}) for f in frames]
    assert sum({"location_m", "velocity_mps", "control"} <= set(h) for h in hero) == 431  # it is gone in the last
    assert all(math.isfinite(v) for h in hero[:-1] for v in h["location_m"] + h["velocity_mps"])


def test_the_real_log_drives_on_town01(shared: Path) -> None:
    path = shared / "carla_recorder/DistanceToLaneCenter.log"
    scenario = read_scenario(path, road_dirs=(shared / "opendrive",))
    assert (scenario.ego_id, len(scenario.actors), len(scenario.road.lanes)) == ("234", 1, 306)
    track = scenario.actor("234").track
    assert track is not None and len(track.t_s) == 431
    moved = np.linalg.norm(np.diff(track.pose[:, :2], axis=0), axis=1) / np.diff(track.t_s)
    np.testing.assert_allclose(moved[200:], track.speed_mps[200:-1], atol=1.0)
    assert len([s for s in scenario.signals if s.dynamic]) == 36


ROUTES = """<routes><route id="3" town="Town01"><weathers/>
  <waypoints><position x="140" y="55.3" z="0"/><position x="110" y="55.3" z="0"/></waypoints>
  <scenarios><scenario name="S_1" type="HardBrakeRoute"><trigger_point x="120" y="55" z="0" yaw="180"/>
  <other_actor x="105" y="50" yaw="90" model="walker.pedestrian.1"/></scenario></scenarios></route>
  <route id="4" town="Town01"><waypoints><position x="1" y="2"/><position x="3" y="4"/></waypoints></route></routes>"""


def test_routes(tmp_path: Path) -> None:
    path = tmp_path / "routes.xml"
    path.write_text(ROUTES)
    scenario = read_scenario(path)
    ego = scenario.actor("ego")
    assert ego.needs_policy and ego.start == pytest.approx((140, -55.3, math.pi))
    assert ego.behaviour["goal"] == [110.0, -55.3]
    assert scenario.actor("S_1-0").kind == "pedestrian"
    assert "HardBrakeRoute" in scenario.events[0].name and scenario.events[0].t_s is None
    assert {"weathers", "town Town01", "scenario HardBrakeRoute", "route"} <= {u.element for u in scenario.unsupported}
    assert read_carla_route(path, route_id="4").actor("ego").start[:2] == (1, -2)
    with pytest.raises(ValueError, match="no route '9'"):
        read_carla_route(path, route_id="9")


def test_a_route_over_the_real_town_keeps_to_its_lanes(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "routes.xml"
    path.write_text(ROUTES)
    scenario = read_carla_route(path, road_dirs=(shared / "opendrive",))
    way = np.array(scenario.actor("ego").behaviour["waypoints"])
    assert len(way) > 5 and np.linalg.norm(np.diff(way, axis=0), axis=1).max() < 8
    assert len(scenario.road.lanes) == 306
