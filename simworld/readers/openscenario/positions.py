"""OpenSCENARIO's positions: world, road, lane, relative, route and trajectory coordinates as places in the world."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from lxml import etree

from simworld.readers.opendrive import LanePoint, Pose, Route, plan_route
from simworld.readers.openscenario.trajectories import parse_path
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import child, integer, number, only_child, where, word


class Place(NamedTuple):
    """A resolved position; `lane` and `forward` where it was given in, or lies on, a lane."""

    pose: Pose
    lane: LanePoint | None = None
    forward: bool = True


class NotPlacedYet(ValueError):
    """A position relative to an entity that has no place so far."""


def resolve(position: etree._Element, world: World) -> Place | None:
    """The place that a <Position> (or a wrapper of one) means now; None, noted, where its kind can't be honoured.

    Raises ValueError where it names what does not exist, `NotPlacedYet` where its entity has no place.
    """
    element = only_child(position)
    kind = _KINDS.get(str(element.tag))
    if kind is None:
        world.notes.add(str(element.tag), element.sourceline, "positions of this kind are left out")
        return None
    if world.network is None and element.tag in _NEED_ROAD:
        world.notes.add(str(element.tag), element.sourceline, "left out: the road it refers to was not found")
        return None
    return kind(element, world)


def resolve_pose(position: etree._Element, world: World) -> Pose:
    """Like `resolve`, for places that can't be left out; ValueError where this one would be."""
    place = resolve(position, world)
    if place is None:
        raise ValueError(f"{where(position)} can't be placed")
    return place.pose


def _turned(element: etree._Element, world: World, base_rad: float) -> float:
    """The heading that an <Orientation> makes of the heading it is relative to."""
    orientation = element.find("Orientation")
    if orientation is None:
        return base_rad
    h = number(orientation, "h", 0.0, lowest=-1e3, highest=1e3) * (-1 if world.carla_frame else 1)
    return h if word(orientation, "type", "absolute") == "absolute" else base_rad + h


def _world_position(element: etree._Element, world: World) -> Place:
    flip = -1.0 if world.carla_frame else 1.0
    heading = number(element, "h", 0.0, lowest=-1e3, highest=1e3)
    return Place(Pose(number(element, "x"), flip * number(element, "y"), flip * heading))


def _entity(element: etree._Element, world: World) -> Entity:
    name = word(element, "entityRef")
    found = world.entities.get(name)
    if found is None:
        raise ValueError(f"{where(element)} refers to the entity {name!r}, which does not exist")
    if not found.placed:
        raise NotPlacedYet(f"{where(element)} is relative to {name!r}, which has no place yet")
    return found


def _relative_world(element: etree._Element, world: World) -> Place:
    origin = _entity(element, world).pose
    dy = number(element, "dy", 0.0) * (-1 if world.carla_frame else 1)
    x, y = origin.x_m + number(element, "dx", 0.0), origin.y_m + dy
    return Place(Pose(x, y, _turned(element, world, origin.heading_rad)))


def _relative_object(element: etree._Element, world: World) -> Place:
    origin = _entity(element, world).pose
    dx, dy = number(element, "dx", 0.0), number(element, "dy", 0.0) * (-1 if world.carla_frame else 1)
    cos, sin = math.cos(origin.heading_rad), math.sin(origin.heading_rad)
    x, y = origin.x_m + dx * cos - dy * sin, origin.y_m + dx * sin + dy * cos
    return Place(Pose(x, y, _turned(element, world, origin.heading_rad)))


def _on_lane(point: LanePoint, element: etree._Element, world: World, forward: bool | None = None) -> Place:
    assert world.network is not None
    along = world.network.point_pose(point, forward)
    heading = _turned(element, world, along.heading_rad)
    road_heading = world.network.roads[point.key.road].reference(point.s_m).heading_rad
    return Place(along._replace(heading_rad=heading), point, math.cos(heading - road_heading) >= 0)


def _at_road(road_id: str, s_m: float, t_m: float, element: etree._Element, world: World) -> Place:
    """Road coordinates, on whatever lane lies there; heads with its traffic, or as turned from the road's direction."""
    assert world.network is not None
    road = world.network.road(road_id)
    s_m = min(max(s_m, 0.0), road.length_m)
    section = road.section_at(s_m)
    for lane in road.sections[section].lanes:
        centre, width = road.lane_span(section, lane, s_m)
        if abs(t_m - centre) <= width / 2:
            along_s = True if element.find("Orientation") is not None else None
            return _on_lane(world.network.lane_point(road_id, lane, s_m, t_m - centre), element, world, along_s)
    pose = road.pose(s_m, t_m)
    return Place(pose._replace(heading_rad=_turned(element, world, pose.heading_rad)))


def _road_position(element: etree._Element, world: World) -> Place:
    t = number(element, "t", 0.0) * (-1 if world.carla_frame else 1)
    return _at_road(word(element, "roadId"), number(element, "s"), t, element, world)


def _lane_position(element: etree._Element, world: World) -> Place:
    assert world.network is not None
    road = world.network.road(word(element, "roadId"))
    lane = integer(element, "laneId")
    offset = number(element, "offset", 0.0)
    if world.carla_frame:
        offset = -offset if road.runs_forward(lane) else offset
    s = min(max(number(element, "s"), 0.0), road.length_m)
    return _on_lane(world.network.lane_point(road.id, lane, s, offset), element, world)


def _lane_of(entity: Entity, element: etree._Element, world: World) -> LanePoint:
    """The entity's lane, or the one beside it."""
    point = world.current_lane(entity)
    if point is None and world.network is not None:
        point = world.network.locate(*entity.pose)
    if point is None:
        raise ValueError(f"{where(element)} is relative to the lane of {entity.name!r}, which is on none")
    return point


def _relative_road(element: etree._Element, world: World) -> Place:
    assert world.network is not None
    origin = _entity(element, world)
    point = _lane_of(origin, element, world)
    dt = number(element, "dt", 0.0) * (-1 if world.carla_frame else 1)
    t = world.network.lateral(point) + dt
    place = _at_road(point.key.road, point.s_m + number(element, "ds", 0.0), t, element, world)
    if element.find("Orientation") is None and world.carla_frame:
        return place._replace(pose=place.pose._replace(heading_rad=origin.pose.heading_rad))
    return place


def _relative_lane(element: etree._Element, world: World) -> Place:
    assert world.network is not None
    origin = _entity(element, world)
    point = _lane_of(origin, element, world)
    forward = (
        origin.forward if origin.lane is not None else world.network.roads[point.key.road].runs_forward(point.key.lane)
    )
    lane = lane_beside(point.key.lane, integer(element, "dLane", 0), forward)
    distance = number(element, "ds", number(element, "dsLane", 0.0))
    section = world.network.roads[point.key.road].sections[point.key.section]
    if lane not in section.lanes:
        raise ValueError(f"{where(element)}: road {point.key.road} has no lane {lane} beside {origin.name!r}")
    start = LanePoint(point.key._replace(lane=lane), point.s_m, number(element, "offset", 0.0))
    moved = slide(world, start, distance if forward else -distance)
    return _on_lane(moved, element, world, forward if moved.key.road == start.key.road else None)


def lane_beside(lane: int, steps: int, forward: bool) -> int:
    """The lane id `steps` lanes to the left (as driven), counting over the centre line, which is no lane."""
    index = (lane - 1 if lane > 0 else lane) + (steps if forward else -steps)
    return index + 1 if index >= 0 else index


def slide(world: World, point: LanePoint, along_s_m: float) -> LanePoint:
    """Move a lane point along s, on into the following roads, held where the lanes end."""
    network = world.network
    assert network is not None
    forward, left = along_s_m >= 0, abs(along_s_m)
    for _ in range(1000):
        section = network.roads[point.key.road].sections[point.key.section]
        room = section.end_m - point.s_m if forward else point.s_m - section.s_m
        steps = network.following(point.key, forward) if left > room else []
        if not steps:
            move = min(left, max(room, 0.0))
            return point._replace(s_m=point.s_m + (move if forward else -move))
        left -= max(room, 0.0)
        offset = point.offset_m if steps[0].forward == forward else -point.offset_m
        forward = steps[0].forward
        there = network.roads[steps[0].key.road].sections[steps[0].key.section]
        point = LanePoint(steps[0].key, there.s_m if forward else there.end_m, offset)
    return point


def parse_route(route: etree._Element, world: World) -> Route | None:
    """The <Route>'s way over the road network, None (noted) where there is no network or no way."""
    points = []
    for waypoint in route.iterfind("Waypoint"):
        place = resolve(child(waypoint, "Position"), world)
        if place is None or world.network is None:
            return None
        point = place.lane or world.network.locate(*place.pose, kinds=("driving",))
        if point is not None:
            points.append(point)
    if world.network is None or len(points) < 2:
        world.notes.add("Route", route.sourceline, "left out: it has no two waypoints on the road")
        return None
    planned = plan_route(world.network, points)
    if not planned.reached:
        world.notes.add("Route", route.sourceline, "the roads do not lead to its last waypoints; cut short")
    return planned if planned.legs else None


def _route_position(element: etree._Element, world: World) -> Place | None:
    assert world.network is not None
    ref = child(element, "RouteRef")
    route = parse_route(only_child(ref), world)
    if route is None:
        return None
    inside = only_child(child(element, "InRoutePosition"))
    if inside.tag == "FromCurrentEntity":
        origin = _entity(inside, world)
        return Place(origin.pose, origin.lane, origin.forward)
    at = route.at(number(inside, "pathS"))
    if at is None:
        return None
    if inside.tag == "FromRoadCoordinates":
        return _at_road(at.key.road, at.s_m, number(inside, "t", 0.0), element, world)
    lane = integer(inside, "laneId", at.key.lane)
    offset = number(inside, "laneOffset", 0.0)
    return _on_lane(world.network.lane_point(at.key.road, lane, at.s_m, offset), element, world)


def _trajectory_position(element: etree._Element, world: World) -> Place:
    trajectory = child(element, "TrajectoryRef")
    path = parse_path(only_child(trajectory), lambda e: resolve_pose(e, world), world.notes)
    x, y, heading = path.pose(number(element, "s"), 0.0)
    t = number(element, "t", 0.0)
    return Place(Pose(x - t * math.sin(heading), y + t * math.cos(heading), _turned(element, world, heading)))


_KINDS: dict[str, Callable[[etree._Element, World], Place | None]] = {
    "WorldPosition": _world_position,
    "RelativeWorldPosition": _relative_world,
    "RelativeObjectPosition": _relative_object,
    "RoadPosition": _road_position,
    "RelativeRoadPosition": _relative_road,
    "LanePosition": _lane_position,
    "RelativeLanePosition": _relative_lane,
    "RoutePosition": _route_position,
    "TrajectoryPosition": _trajectory_position,
}
_NEED_ROAD = ("RoadPosition", "RelativeRoadPosition", "LanePosition", "RelativeLanePosition", "RoutePosition")
