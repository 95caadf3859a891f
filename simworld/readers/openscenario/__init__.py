"""Reads OpenSCENARIO XML (1.0 to 1.3) by running its storyboard: what every entity does becomes its track."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.opendrive import OpenDriveMap, find_road, read_opendrive, to_road, to_signals
from simworld.readers.openscenario.entities import choose_ego, parse_entities
from simworld.readers.openscenario.expand import Catalogs, Expander, Scope, declared
from simworld.readers.openscenario.runner import ExternalState, Runner
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import child, parse_xml, read_bytes, word
from simworld.scenario import Road, Scenario, Signal

__all__ = ["ExternalState", "Runner", "open_storyboard", "read_openscenario"]

DT_S = 0.05
MAX_DURATION_S = 60.0


def read_openscenario(
    path: str | Path,
    *,
    road_dirs: tuple[str | Path, ...] = (),
    dt_s: float = DT_S,
    max_duration_s: float = MAX_DURATION_S,
    parameters: dict[str, str] | None = None,
) -> Scenario:
    """Read an OpenSCENARIO file and run its storyboard kinematically.

    road_dirs       folders in which roads given by name (`Town01`) are looked up
    dt_s            spacing of the tracks' samples, in s
    max_duration_s  where the run ends if no stop trigger fires before
    parameters      values for the file's declared parameters

    Raises ValueError, in one sentence, where the file is not one or makes no sense.
    """
    if not (0.005 <= dt_s <= 1.0 and 0 < max_duration_s <= LIMITS.duration_s):
        raise ValueError(f"dt_s {dt_s:g} must lie in 0.005 to 1 s and max_duration_s {max_duration_s:g} above 0")
    path = Path(path)
    runner = open_storyboard(path, road_dirs=road_dirs, parameters=parameters)
    runner.run(dt_s, max_duration_s)
    world = runner.world
    road = Road()
    signals: tuple[Signal, ...] = ()
    if world.network is not None:
        world.notes.extend(world.network.unsupported)
        road, signals = to_road(world.network, world.notes), to_signals(world.network)
    actors = runner.actors()
    return Scenario(
        name=path.stem,
        road=road,
        actors=actors,
        ego_id=runner.ego if any(a.id == runner.ego for a in actors) else "",
        duration_s=world.t_s,
        dt_s=dt_s,
        events=runner.events(),
        unsupported=world.notes.entries(),
        source=str(path),
        signals=signals,
    )


def open_storyboard(
    path: str | Path, *, road_dirs: tuple[str | Path, ...] = (), parameters: dict[str, str] | None = None
) -> Runner:
    """The storyboard of a file at time 0, its entities in place, to be stepped; arguments as `read_openscenario`."""
    path = Path(path)
    root = parse_xml(read_bytes(path, LIMITS.xml_bytes), path.name)
    if root.tag != "OpenSCENARIO" or root.find("Storyboard") is None:
        raise ValueError(f"{path.name} is no OpenSCENARIO scenario: {_what_instead(root)}")
    notes = Notes()
    scope = _parameters(root, parameters or {})
    folders = [path.parent / scope.resolve(word(d, "path")) for d in root.iterfind("CatalogLocations/*/Directory")]
    expander = Expander(Catalogs(folders, notes), notes)
    for part in root:
        if part.tag not in ("ParameterDeclarations", "CatalogLocations"):
            expander.expand(part, scope)
    header = root.find("FileHeader")
    # A file written for CARLA says so here and then uses CARLA's left-handed frame.
    carla_frame = header is not None and word(header, "description", "").startswith("CARLA:")
    specs = parse_entities(child(root, "Entities"), carla_frame, notes)
    network = _network(root, path, tuple(Path(d) for d in road_dirs), notes)
    world = World({s.name: Entity(s) for s in specs}, network, notes, carla_frame)
    for tag, store in (("Parameter", world.parameters), ("Variable", world.variables)):
        for found in root.iterfind(f"{tag}Declarations/{tag}Declaration"):
            name = word(found, "name").lstrip("$")
            store[name] = scope.lookup(name) if tag == "Parameter" else scope.resolve(word(found, "value", ""))
    return Runner(child(root, "Storyboard"), world, choose_ego(specs))


def _what_instead(root: etree._Element) -> str:
    if root.find("Catalog") is not None:
        return "it is a catalog, which scenarios refer to"
    if root.find("ParameterValueDistribution") is not None:
        return "it is a parameter distribution; read the scenario file that it names"
    return f"its root is <{root.tag}> without a Storyboard"


def _parameters(root: etree._Element, given: dict[str, str]) -> Scope:
    declarations = root.find("ParameterDeclarations")
    scope = Scope() if declarations is None else declared(declarations, None)
    for name, value in given.items():
        if name not in scope.names():
            raise ValueError(
                f"the scenario has no parameter {name!r}; it has {', '.join(sorted(scope.names())) or 'none'}"
            )
        scope.assign(name, value)
    return scope


def _network(root: etree._Element, path: Path, road_dirs: tuple[Path, ...], notes: Notes) -> OpenDriveMap | None:
    logic = root.find("RoadNetwork/LogicFile")
    name = "" if logic is None else word(logic, "filepath", "")
    scene = root.find("RoadNetwork/SceneGraphFile")
    if scene is not None and scene.get("filepath"):
        notes.add("SceneGraphFile", scene.sourceline, "left out: worlds draw their own scenery from the road")
    if not name:
        notes.add("RoadNetwork", None if logic is None else logic.sourceline, "no road is named: an empty plane")
        return None
    found = find_road(name, path.parent, road_dirs)
    if found is None:
        notes.add(f"road {name}", logic.sourceline if logic is not None else None, "not found: an empty plane")
        return None
    return read_opendrive(found)
