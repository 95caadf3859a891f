"""Routes over an OpenDRIVE network: the shortest chain of lanes through waypoints, and distances along it."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import NamedTuple

from simworld.readers.opendrive.map import LanePoint, OpenDriveMap
from simworld.readers.opendrive.network import LaneKey

LANE_CHANGE_M = 30.0  # what a change of lane costs in the search, as extra metres
MAX_VISITS = 200_000


@dataclass(frozen=True)
class Leg:
    """One lane of a route, driven from `from_s_m` to `to_s_m` along its road."""

    key: LaneKey
    from_s_m: float
    to_s_m: float

    @property
    def forward(self) -> bool:
        return self.to_s_m >= self.from_s_m


@dataclass(frozen=True)
class Route:
    """Legs in driving order; `reached` is False where a waypoint could not be reached and the route ends before it."""

    legs: tuple[Leg, ...]
    reached: bool = True

    @property
    def length_m(self) -> float:
        return sum(abs(leg.to_s_m - leg.from_s_m) for leg in self.legs)

    def at(self, distance_m: float) -> LanePoint | None:
        """The place `distance_m` along the route (measured on the roads' reference lines), held at its ends."""
        left = max(distance_m, 0.0)
        for leg in self.legs:
            length = abs(leg.to_s_m - leg.from_s_m)
            if left <= length or leg is self.legs[-1]:
                s = leg.from_s_m + math.copysign(min(left, length), leg.to_s_m - leg.from_s_m)
                return LanePoint(leg.key, s, 0.0)
            left -= length
        return None

    def roads(self) -> tuple[str, ...]:
        """Ids of the roads in driving order."""
        ids: list[str] = []
        for leg in self.legs:
            if not ids or ids[-1] != leg.key.road:
                ids.append(leg.key.road)
        return tuple(ids)


class _Arrival(NamedTuple):
    """How the search came to a lane: from which, at which s, at what cost, and which way it is driven."""

    before: LaneKey | None
    s_m: float
    cost: float
    forward: bool


def plan_route(network: OpenDriveMap, waypoints: list[LanePoint]) -> Route:
    """Shortest route through the waypoints in their order, each entered in its lane's driving direction."""
    legs: list[Leg] = []
    for start, goal in zip(waypoints, waypoints[1:], strict=False):
        part = _shortest(network, start, goal)
        if part is None:
            return Route(tuple(legs), reached=False)
        legs += part
    return Route(tuple(legs))


def distance_ahead(
    network: OpenDriveMap, start: LanePoint, goal: LanePoint, forward: bool, far_m: float
) -> float | None:
    """Metres along the roads from `start`, driven `forward` along s or against it, to `goal`; None beyond `far_m`.

    Lanes beside each other count as one place: the distance is longitudinal only.
    """
    sign = 1.0 if forward else -1.0
    if start.key.road == goal.key.road and (goal.s_m - start.s_m) * sign >= 0:
        return abs(goal.s_m - start.s_m)
    road = network.roads[start.key.road]
    queue = [(road.length_m - start.s_m if forward else start.s_m, start.key.road, forward)]
    seen: set[tuple[str, bool]] = set()
    while queue:
        covered, road_id, onward = heapq.heappop(queue)
        if covered > far_m or (road_id, onward) in seen:
            continue
        seen.add((road_id, onward))
        for step in network.roads_after(road_id, onward):
            length = network.roads[step.key.road].length_m
            if step.key.road == goal.key.road:
                return covered + (goal.s_m if step.forward else length - goal.s_m)
            heapq.heappush(queue, (covered + length, step.key.road, step.forward))
    return None


def _shortest(network: OpenDriveMap, start: LanePoint, goal: LanePoint) -> list[Leg] | None:
    """Dijkstra over lanes, with changes between neighbours of one direction; None where there is no way."""
    roads = network.roads
    forward = roads[start.key.road].runs_forward(start.key.lane)
    queue: list[tuple[float, int, LaneKey, float, bool]] = [(0.0, 0, start.key, start.s_m, forward)]
    came: dict[LaneKey, _Arrival] = {start.key: _Arrival(None, start.s_m, 0.0, forward)}
    done: set[LaneKey] = set()
    count = 0
    while queue and count < MAX_VISITS:
        cost, _, key, entry, onward = heapq.heappop(queue)
        if key in done:
            continue
        done.add(key)
        if key == goal.key and ((goal.s_m >= entry) == onward or goal.s_m == entry):
            return _legs(network, came, key, goal.s_m)
        section = roads[key.road].sections[key.section]
        exit_s = section.end_m if onward else section.s_m
        options = [(step.key, step.forward, cost + abs(exit_s - entry)) for step in network.following(key, onward)]
        sideways = [
            (key._replace(lane=lane), onward, cost + LANE_CHANGE_M)
            for lane in (key.lane - 1, key.lane + 1)
            if lane * key.lane > 0
            and lane in section.lanes
            and section.lanes[lane].kind == section.lanes[key.lane].kind
        ]
        for beside, ahead, total in options + sideways:
            there = roads[beside.road].sections[beside.section]
            at = (
                entry
                if beside.road == key.road and beside.section == key.section
                else (there.s_m if ahead else there.end_m)
            )
            if beside not in done and (beside not in came or total < came[beside].cost):
                came[beside] = _Arrival(key, at, total, ahead)
                count += 1
                heapq.heappush(queue, (total, count, beside, at, ahead))
    return None


def _legs(network: OpenDriveMap, came: dict[LaneKey, _Arrival], last: LaneKey, goal_s_m: float) -> list[Leg]:
    legs: list[Leg] = []
    key: LaneKey | None = last
    leave = goal_s_m
    while key is not None:
        arrival = came[key]
        legs.append(Leg(key, arrival.s_m, leave))
        before = arrival.before
        if before is not None:
            section = network.roads[before.road].sections[before.section]
            sideways = before.road == key.road and before.section == key.section
            leave = arrival.s_m if sideways else (section.end_m if came[before].forward else section.s_m)
        key = before
    return legs[::-1]
