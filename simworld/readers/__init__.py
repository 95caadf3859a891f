"""Readers: scenario files and logs of many formats become one Scenario."""

from __future__ import annotations

from pathlib import Path

from simworld.readers.argoverse2 import read_argoverse2
from simworld.readers.carla_log import MAGIC, read_carla_log, to_json
from simworld.readers.carla_route import read_carla_route
from simworld.readers.carla_scenario import read_carla_scenario
from simworld.readers.commonroad import read_commonroad
from simworld.readers.contacts import Contact, contacts, first_contact
from simworld.readers.episode_reader import read_episode, scenario_from_episode
from simworld.readers.inverse_dynamics import actions_from_track
from simworld.readers.opendrive import read_opendrive, road_scenario
from simworld.readers.openscenario import open_storyboard, read_openscenario
from simworld.readers.xml import parse_xml, read_bytes, root_name
from simworld.scenario import Scenario

__all__ = [
    "Contact",
    "actions_from_track",
    "contacts",
    "first_contact",
    "open_storyboard",
    "read_carla_log",
    "read_opendrive",
    "read_scenario",
    "scenario_from_episode",
    "to_json",
]

FORMATS = (
    "OpenSCENARIO 1.0-1.3 (.xosc)",
    "OpenDRIVE (.xodr)",
    "CommonRoad 2018b and 2020a (.xml)",
    "CARLA recorder log (.log)",
    "CARLA leaderboard routes (.xml)",
    "Argoverse 2 scenario (.parquet)",
    "an episode of a store (FOLDER or FOLDER#NUMBER)",
)
_PARQUET = b"PAR1"


def read_scenario(path: str | Path, *, road_dirs: tuple[str | Path, ...] = ()) -> Scenario:
    """Read any known file as a Scenario, its format told by its content.

    road_dirs  folders in which roads given by name only (`Town01`) are looked up

    Whatever a file asks for that a Scenario can't hold is listed in `Scenario.unsupported`. Raises ValueError, in
    one sentence, for files that are of no known format, malformed or hostile.
    """
    store, _, episode = str(path).rpartition("#")
    if Path(path).is_dir():
        return read_episode(path)
    if episode.isdecimal() and Path(store).is_dir():
        return read_episode(store, int(episode))
    path = Path(path)
    kind = sniff(path)
    dirs = tuple(road_dirs)
    if kind == "OpenSCENARIO":
        return read_openscenario(path, road_dirs=dirs)
    if kind == "OpenDRIVE":
        return road_scenario(read_opendrive(path), str(path))
    if kind == "commonRoad":
        return read_commonroad(path)
    if kind == "routes":
        return read_carla_route(path, road_dirs=dirs)
    if kind == "parquet":
        return read_argoverse2(path)
    return read_carla_scenario(path, road_dirs=dirs)


def sniff(path: Path) -> str:
    """The format of a file: its XML root's name, ``parquet`` or ``carla-log``; ValueError where it is none of these."""
    data = read_bytes(path)
    if data[:4] == _PARQUET:
        return "parquet"
    if data[4 : 4 + len(MAGIC)] == MAGIC.encode():
        return "carla-log"
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        root = root_name(data) or str(parse_xml(data, path.name).tag)
        if root in ("OpenSCENARIO", "OpenDRIVE", "commonRoad", "routes"):
            return root
        raise ValueError(f"{path.name} has the root <{root}>, which is none of: {'; '.join(FORMATS)}")
    raise ValueError(f"{path.name} is none of the formats that are read: {'; '.join(FORMATS)}")
