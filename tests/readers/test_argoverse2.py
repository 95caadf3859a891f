"""Argoverse 2: a scenario written with the documented columns, with and without its map."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simworld.readers import first_contact, read_scenario


def table(**changes: object) -> pa.Table:
    """AV drives at 10 m/s behind a pedestrian seen from step 20 on; a cyclist, and background that is left out."""
    rows = []
    for track, kind, x, y, v in (
        ("AV", "vehicle", 0.0, 0.0, 10.0),
        ("12", "pedestrian", 60.0, 0.0, 1.0),
        ("9", "background", 5.0, 5.0, 0.0),
        ("7", "cyclist", -5.0, 3.0, 4.0),
    ):
        for step in range(20 if track == "12" else 0, 110):
            rows.append((track, kind, step, x + v * 0.1 * step, y, 0.0, v, 0.0))
    names = ("track_id", "object_type", "timestep", "position_x", "position_y", "heading", "velocity_x", "velocity_y")
    columns: dict[str, object] = {name: [r[i] for r in rows] for i, name in enumerate(names)}
    n = len(rows)
    columns |= {
        "observed": [True] * n,
        "object_category": [2] * n,
        "scenario_id": ["abc"] * n,
        "start_timestamp": [0] * n,
        "end_timestamp": [10_900_000_000] * n,
        "num_timestamps": [110] * n,
        "focal_track_id": ["12"] * n,
        "city": ["austin"] * n,
    }
    return pa.table({k: v for k, v in (columns | changes).items() if v is not None})


def lane(ident: int, y: float, **more: object) -> dict[str, object]:
    def line(at: float) -> list[dict[str, float]]:
        return [{"x": x, "y": at, "z": 0.0} for x in (-10.0, 100.0)]

    return {
        "id": ident,
        "lane_type": "VEHICLE",
        "is_intersection": False,
        "left_lane_boundary": line(y + 1.8),
        "right_lane_boundary": line(y - 1.8),
        "left_lane_mark_type": "DASHED_WHITE",
        "right_lane_mark_type": "SOLID_WHITE",
        "left_neighbor_id": None,
        "right_neighbor_id": None,
        "predecessors": [],
        "successors": [99],
    } | more


def test_tracks_classes_and_ego(tmp_path: Path) -> None:
    path = tmp_path / "scenario_abc.parquet"
    pq.write_table(table(), path)
    scenario = read_scenario(path)
    assert (scenario.name, scenario.ego_id, scenario.duration_s) == ("abc", "AV", pytest.approx(10.9))
    assert {a.id: a.kind for a in scenario.actors} == {"AV": "car", "12": "pedestrian", "7": "cyclist"}
    walker = scenario.actor("12").track
    assert walker is not None and walker.t_s[0] == pytest.approx(2.0) and walker.at(4.0)[0] == pytest.approx(64)
    contact = first_contact(scenario)
    assert contact is not None and contact.t_s == pytest.approx((60 - 2.25 - 0.25) / 9, abs=0.02)
    assert {"sizes", "object_type background", "log_map_archive_*.json"} == {u.element for u in scenario.unsupported}


def test_the_map_beside_it(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "s.parquet")
    lanes = {"1": lane(1, 0.0, left_neighbor_id=2), "2": lane(2, 3.6, lane_type="BIKE", successors=[1])}
    raw = {"lane_segments": lanes, "pedestrian_crossings": {"5": {}}, "drivable_areas": {}}
    (tmp_path / "log_map_archive_abc.json").write_text(json.dumps(raw))
    scenario = read_scenario(tmp_path / "s.parquet")
    first, second = scenario.road.lanes
    np.testing.assert_allclose(first.centre[[0, -1]], [[-10, 0], [100, 0]])
    assert (first.left, first.successors, second.successors, second.kind) == ("2", (), ("1",), "biking")
    assert (first.left_mark, first.right_mark) == ("broken", "solid")
    (tmp_path / "log_map_archive_abc.json").write_text('{"lane_segments": {"1": {"id": 1}}}')
    with pytest.raises(ValueError, match="no Argoverse 2 map"):
        read_scenario(tmp_path / "s.parquet")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heading": None}, "lacks the column 'heading'"),
        ({"position_x": [float("nan")] * 420}, "not finite"),
        ({"position_x": ["x"] * 420}, "does not hold numbers"),
        ({"timestep": [1] * 420}, "two states at one timestep"),
    ],
)
def test_bad_tables(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = tmp_path / "s.parquet"
    pq.write_table(table(**changes), path)
    with pytest.raises(ValueError, match=message):
        read_scenario(path)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    path.write_bytes(b"PAR1" + b"\x00" * 100 + b"PAR1")
    with pytest.raises(ValueError, match="no readable parquet"):
        read_scenario(path)
