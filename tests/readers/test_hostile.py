"""Hostile and malformed files: each gets one ValueError sentence, soon, whatever the format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simworld.readers import read_scenario, xml
from simworld.readers.limits import LIMITS
from simworld.readers.openscenario import read_openscenario

from .osc_build import ROAD, event, lane_position, put, scenario, speed_action, teleport, trigger, value_condition

LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + "".join(f'<!ENTITY lol{i} "{f"&lol{i - 1 or str()};" * 10}">' for i in range(1, 10))
    + "]><commonRoad>&lol9;</commonRoad>"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS.encode(), "document type or entities"),
        (b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><OpenDRIVE/>', "document type"),
        (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><OpenSCENARIO>&e;</OpenSCENARIO>', "document type"),
        (
            '<?xml version="1.0" encoding="UTF-16"?><OpenDRIVE/>'.encode("utf-16"),
            "none of the formats|not XML in UTF-8",
        ),
        (b'<?xml version="1.0" encoding="UTF-7"?><OpenDRIVE/>', "UTF-7"),
        (b"<OpenDRIVE><road></OpenDRIVE>", "not well-formed"),
        (b"<OpenDRIVE>" * 400 + b"</OpenDRIVE>" * 400, "not well-formed"),
        (b"<svg/>", "root <svg>"),
        (b"", "none of the formats"),
        (b"\x00\x01\x02\x03", "none of the formats"),
        (b"hello", "OpenSCENARIO 1.0-1.3"),
        (b"<OpenDRIVE/>", "no roads"),
        (b"<OpenSCENARIO/>", "no OpenSCENARIO scenario"),
        (b"<routes/>", "no routes"),
        (b"<commonRoad/>", "timeStepSize"),
        (b"PAR1", "no readable parquet"),
        (b"\x01\x00\x0e\x00CARLA_RECORDER", "damaged"),
    ],
)
def test_one_sentence_each(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_scenario(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist or is not a file"):
        read_scenario(tmp_path / "none.xosc")
    for folder in (tmp_path, f"{tmp_path}#3"):
        with pytest.raises(ValueError, match="holds no episode store"):
            read_scenario(folder)


def test_size_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xodr"
    path.write_text(ROAD)
    monkeypatch.setattr(xml, "LIMITS", replace(LIMITS, xml_bytes=50))
    with pytest.raises(ValueError, match="more than the 50 read as XML"):
        read_scenario(path)
    monkeypatch.setattr(xml, "LIMITS", replace(LIMITS, xml_elements=3))
    with pytest.raises(ValueError, match="more than 3 elements"):
        read_scenario(path)


def test_a_road_beyond_all_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.xodr"
    line = '<geometry s="0" x="0" y="0" hdg="0" length="100000"><line/></geometry>'
    road = f'<road id="{{0}}" length="100000"><planView>{line}</planView><lanes><laneSection s="0"/></lanes></road>'
    path.write_text("<OpenDRIVE>" + "".join(road.format(i) for i in range(60)) + "</OpenDRIVE>")
    with pytest.raises(ValueError, match="m of road"):
        read_scenario(path)


def test_a_crowd_of_entities_is_refused(tmp_path: Path) -> None:
    starts = {f"e{i}": "" for i in range(LIMITS.storyboard_entities + 1)}
    with pytest.raises(ValueError, match="entities, more than"):
        read_openscenario(put(tmp_path, scenario(starts=starts)))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (event("e", speed_action("1e9")), "outside"),
        (event("e", speed_action("fast")), "not a number"),
        (event("e", speed_action(1, "wobbly")), "shape 'wobbly'"),
        (event("e", speed_action(1), priority="maybe"), "priority 'maybe'"),
        (
            event("e", speed_action(1), start=trigger(value_condition("<SimulationTimeCondition/>"))),
            "lacks the attribute",
        ),
        (event("e", teleport('<LanePosition roadId="9" laneId="1" s="1"/>')), None),
        (event("e", "<PrivateAction/>"), "is empty"),
        (
            event("e", speed_action(1, target='<RelativeTargetSpeed entityRef="Z" value="1"/>')),
            "'Z', which does not exist",
        ),
    ],
)
def test_bad_storyboards(tmp_path: Path, events: str, message: str | None) -> None:
    path = put(tmp_path, scenario(events, starts={"A": teleport(lane_position(10))}))
    if message is None:
        read_openscenario(path, max_duration_s=1)
    else:
        with pytest.raises(ValueError, match=message):
            read_openscenario(path, max_duration_s=1)


def test_what_fails_at_run_time_costs_the_action_only(tmp_path: Path) -> None:
    bad = event("gone", teleport('<LanePosition roadId="9" laneId="1" s="1"/>'))
    result = read_openscenario(put(tmp_path, scenario(bad)), max_duration_s=1)
    assert any(u.element == "action gone-0" and "no road '9'" in u.instead for u in result.unsupported)


def test_roads_outside_the_search_path_are_not_opened(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("http://127.0.0.1/road.xodr", "/etc/passwd", "road"):
        result = read_openscenario(
            put(inner, scenario(road=name, starts={"A": teleport('<WorldPosition x="0" y="0"/>')})), max_duration_s=1
        )
        assert bool(result.road.lanes) == (name == "road")
