"""How an entity moves in a time step: along its lane, along a trajectory, or straight ahead."""

from __future__ import annotations

import math

from simworld.readers.opendrive import LanePoint, OpenDriveMap, Pose
from simworld.readers.opendrive.map import Step
from simworld.readers.openscenario.world import Entity, World

MIN_STRETCH = 0.05  # metres driven per metre of reference line, at the inside of very tight curves


def move(world: World, entity: Entity, dt_s: float) -> None:
    """Carry an entity dt seconds on at its speed; what steers it is in the entity."""
    before = entity.pose
    if entity.follower is not None:
        moved, ended = entity.follower.advance(entity.speed_mps, dt_s)
        entity.pose = entity.follower.path.pose(entity.follower.along_m, entity.pose.heading_rad)
        if entity.follower.clock is not None:
            entity.speed_mps = moved / dt_s
        if ended:
            entity.follower = None
            world.attach(entity)
    elif entity.lane is not None and world.network is not None:
        _move_on_lane(world.network, entity, entity.speed_mps * dt_s)
        if entity.lane is not None:
            along = world.network.point_pose(entity.lane, entity.forward)
            slip = math.atan2(entity.lateral_mps, max(abs(entity.speed_mps), 0.5)) if entity.lateral_mps else 0.0
            slip = slip if entity.speed_mps >= 0 else -slip
            entity.pose = along._replace(heading_rad=along.heading_rad + slip)
    else:
        _move_straight(entity, entity.speed_mps * dt_s, entity.lateral_mps * dt_s)
    entity.travelled_m += math.hypot(entity.pose.x_m - before.x_m, entity.pose.y_m - before.y_m)
    entity.still_s = entity.still_s + dt_s if abs(entity.speed_mps) < 0.01 else 0.0


def _move_straight(entity: Entity, ahead_m: float, left_m: float) -> None:
    x, y, heading = entity.pose
    cos, sin = math.cos(heading), math.sin(heading)
    entity.pose = Pose(x + ahead_m * cos - left_m * sin, y + ahead_m * sin + left_m * cos, heading)


def _move_on_lane(network: OpenDriveMap, entity: Entity, distance_m: float) -> None:
    """Move along the lane by metres as driven; an entity that runs off the last road goes straight on."""
    point = entity.lane
    assert point is not None
    forward = entity.forward == (distance_m >= 0)
    left = abs(distance_m)
    for _ in range(1000):
        road = network.roads[point.key.road]
        section = road.sections[point.key.section]
        stretch = max(1 - network.lateral(point) * road.curvature(point.s_m), MIN_STRETCH)
        room = max(section.end_m - point.s_m if forward else point.s_m - section.s_m, 0.0) * stretch
        if left <= room:
            ds = left / stretch
            entity.lane = point._replace(s_m=point.s_m + (ds if forward else -ds))
            return
        step = choose_step(network, entity, point, forward)
        if step is None:
            point = _beside_that_goes_on(network, point, forward)
            step = choose_step(network, entity, point, forward)
        if step is None:
            edge = section.end_m if forward else section.s_m
            entity.pose = network.point_pose(point._replace(s_m=edge), entity.forward)
            entity.lane = None
            entity.end_of_road_s = 1e-9
            _move_straight(entity, math.copysign(left - room, distance_m), 0.0)
            return
        left -= room
        there = network.roads[step.key.road].sections[step.key.section]
        turned = step.forward != forward
        point = LanePoint(step.key, there.s_m if step.forward else there.end_m, point.offset_m * (-1 if turned else 1))
        forward = step.forward
        entity.forward = forward == (distance_m >= 0)
        entity.lane = point


def _beside_that_goes_on(network: OpenDriveMap, point: LanePoint, forward: bool) -> LanePoint:
    """The same place counted from the nearest lane of this road that leads on, if any does."""
    road = network.roads[point.key.road]
    lanes = sorted(road.sections[point.key.section].lanes, key=lambda lane: abs(lane - point.key.lane))
    for lane in lanes:
        key = point.key._replace(lane=lane)
        if network.following(key, forward):
            t = network.lateral(point)
            return LanePoint(key, point.s_m, t - road.lane_span(key.section, lane, point.s_m)[0])
    return point


def choose_step(network: OpenDriveMap, entity: Entity, point: LanePoint, forward: bool) -> Step | None:
    """The lane to go on with: the route's, or else the one that turns least."""
    steps = network.following(point.key, forward)
    if not steps:
        return None
    if entity.route is not None:
        roads = entity.route.roads()
        onward = [s for s in steps if _leads_on(roads, point.key.road, s.key.road)]
        steps = onward or steps
    return min(steps, key=lambda s: _turn(network, s))


def _leads_on(roads: tuple[str, ...], here: str, there: str) -> bool:
    return any(a == here and b == there for a, b in zip(roads, roads[1:], strict=False))


def _turn(network: OpenDriveMap, step: Step) -> float:
    """How far a lane turns from its beginning to its end, in rad."""
    road = network.roads[step.key.road]
    start = road.reference(0.0).heading_rad
    return abs(road.reference(road.length_m).heading_rad - start)
