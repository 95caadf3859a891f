"""Reads CARLA leaderboard route files: the ego's start and way over a town, and what is to happen on it."""

from __future__ import annotations

import math
from pathlib import Path

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.opendrive import OpenDriveMap, find_road, plan_route, read_opendrive, to_road, to_signals
from simworld.readers.xml import number, parse_xml, read_bytes, where, word
from simworld.scenario import BODIES, ActorClass, Road, Scenario, ScenarioActor, Signal, SourceEvent

SAMPLE_M = 5.0


def read_carla_route(
    path: str | Path, *, road_dirs: tuple[str | Path, ...] = (), route_id: str | None = None
) -> Scenario:
    """One route of a file, the first or the one with `route_id`.

    The ego waits for a policy; its way (traced over the town's road where that is found) is its behaviour. The
    file's own scenarios stay as events at no set time: their traffic is made by CARLA's code, not by the file.
    """
    path = Path(path)
    root = parse_xml(read_bytes(path, LIMITS.xml_bytes), path.name)
    if root.tag != "routes":
        raise ValueError(f"{path.name} is no CARLA route file: its root is <{root.tag}>")
    routes = {word(r, "id"): r for r in root.iterfind("route")}
    if not routes:
        raise ValueError(f"{path.name} has no routes")
    chosen = next(iter(routes)) if route_id is None else route_id
    if chosen not in routes:
        raise ValueError(f"{path.name} has no route {chosen!r}; it has {', '.join(list(routes)[:20])}")
    notes = Notes()
    if len(routes) > 1 and route_id is None:
        others = f"left out: route {chosen} is read; there are {len(routes)}"
        notes.add("route", list(routes.values())[1].sourceline, others)
    return _scenario(routes[chosen], path, tuple(Path(d) for d in road_dirs), notes)


def _scenario(route: etree._Element, path: Path, road_dirs: tuple[Path, ...], notes: Notes) -> Scenario:
    town = word(route, "town")
    points = [_xy(p) for p in route.iterfind("waypoints/position")]
    # Before leaderboard 2.0 the waypoints were the route's own children.
    points = points or [_xy(p) for p in route.iterfind("waypoint")]
    if len(points) < 2:
        raise ValueError(f"{where(route)} has fewer than two waypoints")
    if len(points) > LIMITS.track_samples // 100:
        raise ValueError(f"{where(route)} has {len(points)} waypoints, too many")
    network, road, signals = _town(town, route, path, road_dirs, notes)
    way = points if network is None else _traced(network, points, notes)
    heading = math.atan2(way[1][1] - way[0][1], way[1][0] - way[0][0])
    for weather in route.iterfind("weathers"):
        notes.add("weathers", weather.sourceline, "ignored: light and weather are the world's own")
    behaviour = {"kind": "route", "waypoints": [list(p) for p in way], "goal": list(points[-1])}
    ego = ScenarioActor("ego", "car", BODIES["car"], (*way[0], heading), 0.0, behaviour=behaviour)
    others, events = _happenings(route, notes)
    return Scenario(
        name=f"{path.stem}-{word(route, 'id')}",
        road=road,
        actors=(ego, *others),
        ego_id="ego",
        duration_s=0.0,
        events=events,
        unsupported=notes.entries(),
        source=str(path),
        signals=signals,
    )


def _xy(element: etree._Element) -> tuple[float, float]:
    return number(element, "x"), -number(element, "y")  # CARLA's y points right


def _town(
    town: str, route: etree._Element, path: Path, road_dirs: tuple[Path, ...], notes: Notes
) -> tuple[OpenDriveMap | None, Road, tuple[Signal, ...]]:
    found = find_road(town, path.parent, road_dirs)
    if found is None:
        notes.add(f"town {town}", route.sourceline, "its road was not found: an empty plane, waypoints joined straight")
        return None, Road(), ()
    network = read_opendrive(found)
    notes.extend(network.unsupported)
    return network, to_road(network, notes), to_signals(network)


def _traced(network: OpenDriveMap, points: list[tuple[float, float]], notes: Notes) -> list[tuple[float, float]]:
    """The way along lanes through the waypoints, every `SAMPLE_M`; straight between those that no lanes join."""
    lanes = [network.locate(x, y, kinds=("driving",)) for x, y in points]
    known = [p for p in lanes if p is not None]
    if len(known) < len(points):
        notes.add("waypoint", None, f"{len(points) - len(known)} of them lie off the road: the way leaves them out")
    if len(known) < 2:
        return points
    route = plan_route(network, known)
    if not route.reached:
        notes.add("waypoints", None, "no lanes join all of them: they are joined straight")
        return points
    way = []
    for leg in route.legs:
        num = 1 + int(abs(leg.to_s_m - leg.from_s_m) / SAMPLE_M)
        for i in range(num):
            s = leg.from_s_m + (leg.to_s_m - leg.from_s_m) * i / num
            lane = network.lane_point(leg.key.road, leg.key.lane, s)
            x, y, _ = network.point_pose(lane, leg.forward)
            way.append((x, y))
    x, y, _ = network.point_pose(known[-1])
    return [*way, (x, y)]


def _happenings(route: etree._Element, notes: Notes) -> tuple[tuple[ScenarioActor, ...], tuple[SourceEvent, ...]]:
    """The route's scenarios as events, and the other actors that they place."""
    events: list[SourceEvent] = []
    actors: list[ScenarioActor] = []
    for scenario in route.iterfind("scenarios/scenario"):
        kind, name = word(scenario, "type"), word(scenario, "name", "")
        point = scenario.find("trigger_point")
        place = "" if point is None else f" at x = {_xy(point)[0]:.1f} m, y = {_xy(point)[1]:.1f} m"
        events.append(SourceEvent(None, f"{kind} {name}{place}"))
        notes.add(f"scenario {kind}", scenario.sourceline, "kept as an event; its traffic is not in the file")
        for other in scenario.iterfind("other_actor"):
            x, y = _xy(other)
            heading = -math.radians(number(other, "yaw", 0.0))
            is_walker = word(other, "model", "").startswith("walker")
            who: ActorClass = "pedestrian" if is_walker else "car"
            ident = f"{name or kind}-{len(actors)}"
            actors.append(ScenarioActor(ident, who, BODIES[who], (x, y, heading), behaviour={"kind": "parked"}))
            notes.add("other_actor", other.sourceline, "stands at its place: what moves it is not in the file")
    return tuple(actors), tuple(events)
