"""Distances between entities and places as OpenSCENARIO asks for them: in entity, road or straight-line terms."""

from __future__ import annotations

import math

from simworld.readers.contacts import gap_m
from simworld.readers.opendrive import LanePoint, OpenDriveMap
from simworld.readers.opendrive.routes import distance_ahead
from simworld.readers.openscenario.motion import choose_step
from simworld.readers.openscenario.positions import Place
from simworld.readers.openscenario.world import Entity, World

FAR_M = 1_000.0  # roads are searched no further than this for another entity
WAY_MAX_M = 20_000.0
SAMPLE_M = 2.0


def straight_m(a: Entity, b: Entity, freespace: bool) -> float:
    """Euclidean distance between reference points, or with `freespace` between the boxes (0 where they touch)."""
    if freespace:
        return max(gap_m(a.box(), b.box()), 0.0)
    return math.hypot(a.pose.x_m - b.pose.x_m, a.pose.y_m - b.pose.y_m)


def ahead_m(world: World, a: Entity, b: Entity, system: str, freespace: bool) -> float:
    """How far b is ahead of a: negative behind; with `freespace` between the facing ends, 0 side by side.

    `system` ``road`` or ``lane`` measures along the road where one joins the two, ``entity`` along a's heading.
    """
    distance = _road_ahead(world, a, b) if system in ("road", "lane") else None
    if distance is None:
        dx, dy = b.pose.x_m - a.pose.x_m, b.pose.y_m - a.pose.y_m
        distance = dx * math.cos(a.pose.heading_rad) + dy * math.sin(a.pose.heading_rad)
    if not freespace:
        return distance
    sign = math.copysign(1.0, distance)
    shift = b.spec.centre_ahead_m * math.cos(b.pose.heading_rad - a.pose.heading_rad) - a.spec.centre_ahead_m
    turn = b.pose.heading_rad - a.pose.heading_rad
    reach = abs(b.spec.body.length_m * math.cos(turn)) + abs(b.spec.body.width_m * math.sin(turn))
    between = (distance + shift) * sign - (a.spec.body.length_m + reach) / 2
    return sign * max(between, 0.0)


def aside_m(world: World, a: Entity, b: Entity, system: str, freespace: bool) -> float:
    """How far b is to the left of a, in a's frame or across the road; with `freespace` between the facing sides."""
    dx, dy = b.pose.x_m - a.pose.x_m, b.pose.y_m - a.pose.y_m
    distance = dy * math.cos(a.pose.heading_rad) - dx * math.sin(a.pose.heading_rad)
    on_road = world.network is not None and a.lane is not None and b.lane is not None
    if system in ("road", "lane") and on_road and world.network is not None and a.lane and b.lane:
        if a.lane.key.road == b.lane.key.road:
            distance = world.network.lateral(b.lane) - world.network.lateral(a.lane)
            distance *= 1 if a.forward else -1
    if not freespace:
        return distance
    turn = b.pose.heading_rad - a.pose.heading_rad
    reach = abs(b.spec.body.length_m * math.sin(turn)) + abs(b.spec.body.width_m * math.cos(turn))
    return math.copysign(max(abs(distance) - (a.spec.body.width_m + reach) / 2, 0.0), distance)


def _road_ahead(world: World, a: Entity, b: Entity) -> float | None:
    """Signed distance along the road, None where no road joins the two within `FAR_M`."""
    if world.network is None or a.lane is None:
        return None
    target = world.lane_under(b)
    if target is None:
        return None
    if target.key.road == a.lane.key.road:
        return (target.s_m - a.lane.s_m) * (1 if a.forward else -1)
    far = min(FAR_M, 50.0 + 3 * straight_m(a, b, freespace=False))  # no road winds more than that
    forward = distance_ahead(world.network, a.lane, target, a.forward, far)
    back = distance_ahead(world.network, a.lane, target, not a.forward, far)
    if forward is None:
        return None if back is None else -back
    return forward if back is None or forward <= back else -back


def way_m(world: World, entity: Entity, place: Place) -> float:
    """Metres that the entity has to drive to a place, along its lanes and route; straight where no lane leads there."""
    x, y, heading = entity.pose
    dx, dy = place.pose.x_m - x, place.pose.y_m - y
    straight = math.hypot(dx, dy)
    network = world.network
    if network is None or entity.lane is None:
        ahead = dx * math.cos(heading) + dy * math.sin(heading)
        return math.copysign(straight, ahead)
    goal = place.lane or network.locate(*place.pose, kinds=("driving",))
    if goal is None:
        return straight
    point, forward, total = entity.lane, entity.forward, 0.0
    while total < WAY_MAX_M:
        section = network.roads[point.key.road].sections[point.key.section]
        same = goal.key.road == point.key.road and section.s_m <= goal.s_m <= section.end_m
        if same and (goal.s_m - point.s_m) * (1 if forward else -1) >= 0:
            return total + _driven_m(network, point, goal.s_m)
        edge = section.end_m if forward else section.s_m
        total += _driven_m(network, point, edge) + 1e-3
        step = choose_step(network, entity, point, forward)
        if step is None:
            return straight
        there = network.roads[step.key.road].sections[step.key.section]
        offset = point.offset_m if step.forward == forward else -point.offset_m
        point = LanePoint(step.key, there.s_m if step.forward else there.end_m, offset)
        forward = step.forward
    return straight


def _driven_m(network: OpenDriveMap, point: LanePoint, to_s_m: float) -> float:
    """Length of a lane from a point to another s of its section, which in bends differs from that of the road."""
    road = network.roads[point.key.road]
    num = 1 + int(abs(to_s_m - point.s_m) / SAMPLE_M)
    step = (to_s_m - point.s_m) / num
    total = 0.0
    for i in range(num):
        s = point.s_m + (i + 0.5) * step
        total += abs(step) * max(1 - network.lateral(point._replace(s_m=s)) * road.curvature(s), 0.05)
    return total
