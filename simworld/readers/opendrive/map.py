"""OpenDriveMap: a parsed road network that answers where a road or lane coordinate lies, and what follows what."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from simworld.readers.opendrive.network import Connection, LaneKey, Link, Pose, RoadRecord, SignalRecord
from simworld.scenario import Unsupported

# How OpenDRIVE's lane types read in a Scenario; all others are "other".
LANE_KINDS = {
    **dict.fromkeys(
        ("driving", "bidirectional", "entry", "exit", "onRamp", "offRamp", "connectingRamp", "slipLane"), "driving"
    ),
    **dict.fromkeys(("bus", "taxi", "HOV", "mwyEntry", "mwyExit"), "driving"),
    **dict.fromkeys(("shoulder", "stop"), "shoulder"),
    **dict.fromkeys(("sidewalk", "walking"), "sidewalk"),
    **dict.fromkeys(("border", "curb", "median"), "border"),
    "biking": "biking",
    "parking": "parking",
}


class LanePoint(NamedTuple):
    """A place in lane coordinates: `s_m` along the road, `offset_m` left of the lane's centre (seen along s)."""

    key: LaneKey
    s_m: float
    offset_m: float


class Step(NamedTuple):
    """Where a lane leads: the lane after it, and whether that one is then driven towards growing s."""

    key: LaneKey
    forward: bool


class OpenDriveMap:
    """Roads, junctions and signals of one OpenDRIVE file."""

    def __init__(
        self,
        name: str,
        roads: dict[str, RoadRecord],
        junctions: dict[str, tuple[Connection, ...]],
        signals: tuple[SignalRecord, ...] = (),
        unsupported: tuple[Unsupported, ...] = (),
    ) -> None:
        self.name = name
        self.roads = roads
        self.junctions = junctions
        self.signals = signals
        self.unsupported = unsupported
        self._onward: dict[tuple[str, bool], tuple[Step, ...]] = {}

    def road(self, road_id: str) -> RoadRecord:
        """The road with this id; ValueError where there is none."""
        if road_id not in self.roads:
            some = ", ".join(list(self.roads)[:8])
            raise ValueError(f"the road network {self.name} has no road {road_id!r}; it has {some}")
        return self.roads[road_id]

    def road_pose(self, road_id: str, s_m: float, t_m: float = 0.0) -> Pose:
        """World pose of road coordinates (s, t), heading along the road's reference line."""
        return self.road(road_id).pose(s_m, t_m)

    def lane_point(self, road_id: str, lane: int, s_m: float, offset_m: float = 0.0) -> LanePoint:
        """Lane coordinates by OpenDRIVE's ids; ValueError where the road has no such lane at s."""
        road = self.road(road_id)
        section = road.section_at(s_m)
        if lane and lane not in road.sections[section].lanes:
            lanes = ", ".join(map(str, sorted(road.sections[section].lanes, reverse=True)))
            raise ValueError(f"road {road_id} has no lane {lane} at s = {s_m:g} m; it has {lanes}")
        return LanePoint(LaneKey(road_id, section, lane), s_m, offset_m)

    def lateral(self, point: LanePoint) -> float:
        """t of a lane point: metres left of the road's reference line."""
        road = self.roads[point.key.road]
        return road.lane_span(point.key.section, point.key.lane, point.s_m)[0] + point.offset_m

    def point_pose(self, point: LanePoint, forward: bool | None = None) -> Pose:
        """World pose of a lane point, heading along traffic, or along or against s where `forward` says so."""
        road = self.roads[point.key.road]
        t = self.lateral(point)
        x, y, heading = road.pose(point.s_m, t)
        # The lane's own slope against the reference line, where widths or the lane offset change.
        ahead = min(point.s_m + 0.1, road.sections[point.key.section].end_m)
        behind = max(ahead - 0.2, road.sections[point.key.section].s_m)
        if ahead > behind:
            slope = (self.lateral(point._replace(s_m=ahead)) - self.lateral(point._replace(s_m=behind))) / (
                ahead - behind
            )
            heading += math.atan2(slope, max(1 - t * road.curvature(point.s_m), 0.05))
        if forward is None:
            forward = road.runs_forward(point.key.lane)
        return Pose(x, y, heading if forward else heading + math.pi)

    def following(self, key: LaneKey, forward: bool) -> list[Step]:
        """Lanes that continue this one at its far end, when driven towards growing s (`forward`) or against it."""
        road = self.roads[key.road]
        record = road.sections[key.section].lanes.get(key.lane)
        wanted = None if record is None else (record.successor if forward else record.predecessor)
        beside = key.section + (1 if forward else -1)
        if 0 <= beside < len(road.sections):
            lane = key.lane if wanted is None else wanted
            return [Step(LaneKey(key.road, beside, lane), forward)] if lane in road.sections[beside].lanes else []
        link = road.successor if forward else road.predecessor
        if link is None:
            return []
        if link.kind == "junction":
            return self._through_junction(link.id, key)
        return self._onto(link, wanted, key.lane, forward)

    def roads_after(self, road_id: str, forward: bool) -> tuple[Step, ...]:
        """One lane of every road that traffic leaving this one at its end (or start, not `forward`) gets onto."""
        if (road_id, forward) not in self._onward:
            road = self.roads[road_id]
            section = len(road.sections) - 1 if forward else 0
            steps = [
                step
                for lane in road.sections[section].lanes
                if road.runs_forward(lane) == forward
                for step in self.following(LaneKey(road_id, section, lane), forward)
            ]
            self._onward[road_id, forward] = tuple({(s.key.road, s.forward): s for s in steps}.values())
        return self._onward[road_id, forward]

    def _through_junction(self, junction: str, key: LaneKey) -> list[Step]:
        steps = []
        for connection in self.junctions.get(junction, ()):
            if connection.incoming != key.road:
                continue
            lane = connection.lanes.get(key.lane)
            if lane is None and not connection.lanes:
                lane = key.lane
            if lane is not None:
                steps += self._onto(Link("road", connection.connecting, connection.contact), lane, lane, True)
        return steps

    def _onto(self, link: Link, wanted: int | None, lane: int, forward: bool) -> list[Step]:
        """Enter the road at its start (then towards growing s) or at its end; lanes without a link keep their id."""
        road = self.roads.get(link.id)
        if road is None:
            return []
        onward = link.contact != "end"
        section = 0 if onward else len(road.sections) - 1
        if wanted is None:
            wanted = lane if onward == forward else -lane
        if wanted not in road.sections[section].lanes:
            return []
        return [Step(LaneKey(link.id, section, wanted), onward)]

    @cached_property
    def _centres(self) -> tuple[cKDTree, list[LaneKey], np.ndarray]:
        """A search tree over lane centres every 2 m, with the lane and [s, heading along traffic] of each point."""
        points, keys, extras = [], [], []
        for road in self.roads.values():
            for index, section in enumerate(road.sections):
                num = 2 + int((section.end_m - section.s_m) / 2.0)
                for lane in section.lanes:
                    for s in np.linspace(section.s_m, section.end_m, num).tolist():
                        t, width = road.lane_span(index, lane, s)
                        if width < 0.1:
                            continue
                        x, y, heading = road.pose(s, t)
                        points.append((x, y))
                        keys.append(LaneKey(road.id, index, lane))
                        extras.append((s, heading if road.runs_forward(lane) else heading + math.pi))
        return cKDTree(np.array(points).reshape(-1, 2)), keys, np.array(extras).reshape(-1, 2)

    def locate(
        self,
        x_m: float,
        y_m: float,
        heading_rad: float | None = None,
        *,
        kinds: tuple[str, ...] = (),
        far_m: float = 30.0,
    ) -> LanePoint | None:
        """The lane at a world point, None where none is within `far_m`.

        Of overlapping lanes (junctions) the one whose traffic heads like `heading_rad` is taken; lanes of
        `kinds` (Scenario lane kinds) are preferred over others.
        """
        x_m, y_m = float(x_m), float(y_m)
        tree, keys, extras = self._centres
        if not keys:
            return None
        distances, rows = tree.query([x_m, y_m], k=min(24, len(keys)), distance_upper_bound=far_m)
        best: tuple[float, LanePoint] | None = None
        seen: set[LaneKey] = set()
        for distance, row in zip(np.atleast_1d(distances), np.atleast_1d(rows), strict=True):
            if not math.isfinite(distance) or keys[row] in seen:
                continue
            seen.add(keys[row])
            point = self._project(keys[row], float(extras[row, 0]), x_m, y_m)
            cost = self._misfit(point, x_m, y_m, heading_rad, kinds)
            if best is None or cost < best[0]:
                best = cost, point
        return best[1] if best else None

    def _project(self, key: LaneKey, s_m: float, x_m: float, y_m: float) -> LanePoint:
        """Foot of a world point on a lane's road, by a few Newton steps from a nearby s."""
        road = self.roads[key.road]
        section = road.sections[key.section]
        for _ in range(6):
            x, y, heading = road.reference(s_m)
            ahead = (x_m - x) * math.cos(heading) + (y_m - y) * math.sin(heading)
            left = (y_m - y) * math.cos(heading) - (x_m - x) * math.sin(heading)
            step = ahead / max(1 - left * road.curvature(s_m), 0.2)
            s_m = min(max(s_m + step, section.s_m), section.end_m)
        x, y, heading = road.reference(s_m)
        left = (y_m - y) * math.cos(heading) - (x_m - x) * math.sin(heading)
        return LanePoint(key, s_m, left - road.lane_span(key.section, key.lane, s_m)[0])

    def _misfit(
        self, point: LanePoint, x_m: float, y_m: float, heading_rad: float | None, kinds: tuple[str, ...]
    ) -> float:
        road = self.roads[point.key.road]
        record = road.sections[point.key.section].lanes[point.key.lane]
        width = road.lane_span(point.key.section, point.key.lane, point.s_m)[1]
        x, y, along = self.point_pose(point)
        cost = 0.2 * abs(point.offset_m) + 5 * max(abs(point.offset_m) - width / 2, 0.0)
        cost += 5 * math.hypot(x - x_m, y - y_m)  # only beyond the lane's ends is the foot not the point itself
        if heading_rad is not None:
            cost += 2 * (1 - math.cos(heading_rad - along))
        if kinds and LANE_KINDS.get(record.kind, "other") not in kinds:
            cost += 3
        return cost
