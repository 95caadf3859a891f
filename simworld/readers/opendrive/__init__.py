"""A plain OpenDRIVE reader: road files become an OpenDriveMap for lookups and a Scenario's Road for the worlds."""

from __future__ import annotations

from pathlib import Path

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.opendrive.lanes import lane_id, to_road, to_signals
from simworld.readers.opendrive.map import LanePoint, OpenDriveMap
from simworld.readers.opendrive.network import LaneKey, Pose
from simworld.readers.opendrive.parse import parse_connections, parse_road, parse_signals
from simworld.readers.opendrive.routes import Route, plan_route
from simworld.readers.xml import parse_xml, read_bytes, where, word
from simworld.scenario import Scenario

__all__ = [
    "LaneKey",
    "LanePoint",
    "OpenDriveMap",
    "Pose",
    "Route",
    "find_road",
    "lane_id",
    "parse_opendrive",
    "plan_route",
    "read_opendrive",
    "road_scenario",
    "to_road",
    "to_signals",
]


def read_opendrive(path: str | Path) -> OpenDriveMap:
    """Read an OpenDRIVE file; ValueError, in one sentence, where it is not one or makes no sense."""
    return parse_opendrive(read_bytes(path, LIMITS.xml_bytes), Path(path).name)


def parse_opendrive(data: bytes, name: str) -> OpenDriveMap:
    """The road network in the bytes of an OpenDRIVE file that messages call `name`."""
    root = parse_xml(data, name)
    if root.tag != "OpenDRIVE":
        raise ValueError(f"{name} is not OpenDRIVE: its root is <{root.tag}>")
    notes = Notes()
    elements = root.findall("road")
    if not elements:
        raise ValueError(f"{name} has no roads")
    if len(elements) > LIMITS.roads:
        raise ValueError(f"{name} has {len(elements)} roads, more than the {LIMITS.roads} that are read")
    roads = {}
    total_m = 0.0
    for element in elements:
        road = parse_road(element, notes)
        total_m += road.length_m
        if road.id in roads:
            raise ValueError(f"{where(element)} repeats the road id {road.id!r}")
        if total_m > LIMITS.lane_points:
            raise ValueError(f"{name} has more than {LIMITS.lane_points} m of road")
        roads[road.id] = road
    junctions = {word(j, "id"): parse_connections(j, notes) for j in root.iterfind("junction")}
    signals = tuple(signal for element in elements for signal in parse_signals(element))
    return OpenDriveMap(name, roads, junctions, signals, notes.entries())


def road_scenario(network: OpenDriveMap, source: str) -> Scenario:
    """A road without actors, so that a road file alone can be looked at."""
    notes = Notes()
    notes.extend(network.unsupported)
    road = to_road(network, notes)
    return Scenario(
        network.name, road, (), "", 0.0, signals=to_signals(network), unsupported=notes.entries(), source=source
    )


def find_road(name: str, near: Path | None, road_dirs: tuple[Path, ...]) -> Path | None:
    """The file that a scenario's road name means: a path from `near`, or NAME or NAME.xodr in one of `road_dirs`.

    Only the last part of the name is looked up in `road_dirs`, so that no file outside them is opened.
    """
    if not name.strip() or "\0" in name or "://" in name:
        return None
    given = Path(name)
    candidates = [near / given] if near is not None else []
    for folder in road_dirs:
        candidates += [folder / given.name, folder / f"{given.name}.xodr", folder / "OpenDrive" / f"{given.name}.xodr"]
    if near is not None:
        candidates += [near / f"{name}.xodr"]
    for candidate in candidates:
        try:
            if candidate.suffix.lower() in (".xodr", ".xml") and candidate.is_file():
                return candidate
        except OSError:
            continue
    return None
