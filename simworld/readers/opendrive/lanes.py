"""Turns an OpenDRIVE network into a Scenario's Road, lane centre lines in driving direction, and its signals."""

from __future__ import annotations

import math

import numpy as np

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.opendrive.geometry import Floats
from simworld.readers.opendrive.map import LANE_KINDS, OpenDriveMap
from simworld.readers.opendrive.network import LaneKey, RoadRecord
from simworld.scenario import Lane, Road, Signal

SAMPLE_M = 2.0
MIN_WIDTH_M = 0.05


def lane_id(key: LaneKey) -> str:
    """The Scenario's name of a lane: road.section.lane."""
    return f"{key.road}.{key.section}.{key.lane}"


def to_road(network: OpenDriveMap, notes: Notes) -> Road:
    """Every lane with a width, sampled every `SAMPLE_M`; ValueError where that is beyond all bounds."""
    lanes: list[Lane] = []
    points = 0
    for road in network.roads.values():
        for index, section in enumerate(road.sections):
            if not section.lanes or section.end_m - section.s_m < 1e-6:
                continue
            s = np.linspace(section.s_m, section.end_m, 2 + int((section.end_m - section.s_m) / SAMPLE_M))
            points += len(s) * len(section.lanes)
            if points > LIMITS.lane_points:
                raise ValueError(f"the road network {network.name} has more than {LIMITS.lane_points} lane points")
            lanes += _section_lanes(network, road, index, s, notes)
    ids = {lane.id for lane in lanes}
    return Road(tuple(_without_loose_ends(lane, ids) for lane in lanes), network.name)


def to_signals(network: OpenDriveMap) -> tuple[Signal, ...]:
    """Signs and lights with their place in the world, heading with the traffic that they face."""
    signals = []
    for record in network.signals:
        x, y, heading = network.road_pose(record.road, record.s_m, record.t_m)
        heading = heading if record.forward else heading + math.pi
        signals.append(Signal(record.id, record.kind, (x, y, heading), record.value, record.dynamic))
    return tuple(signals)


def _section_lanes(network: OpenDriveMap, road: RoadRecord, index: int, s: Floats, notes: Notes) -> list[Lane]:
    section = road.sections[index]
    table = road.table
    reference = np.column_stack([np.interp(s, table[:, 0], table[:, k]) for k in (1, 2, 3)])
    normal = np.column_stack([-np.sin(reference[:, 2]), np.cos(reference[:, 2])])
    found = []
    for side in (1, -1):
        edge = road.lane_offset.sample(s)
        inner_mark = section.centre_mark
        for lane in sorted((i for i in section.lanes if i * side > 0), key=abs):
            record = section.lanes[lane]
            width = np.maximum(record.width.sample(s - section.s_m), 0.0)
            centre = reference[:, :2] + (edge + side * width / 2)[:, None] * normal
            edge = edge + side * width
            if width.max() < MIN_WIDTH_M:
                notes.add(f"lane of type {record.kind}", None, "left out: it has no width")
                continue
            if not np.isfinite(centre).all() or np.abs(centre).max() > 10 * LIMITS.coordinate_m or width.max() > 1000:
                raise ValueError(f"lane {lane} of road {road.id} lies outside all bounds")
            key = LaneKey(road.id, index, lane)
            forward = road.runs_forward(lane)
            marks = (inner_mark, record.outer_mark)
            left, right = marks if (side < 0) == forward else marks[::-1]
            found.append(
                Lane(
                    id=lane_id(key),
                    centre=centre if forward else centre[::-1].copy(),
                    width_m=width if forward else width[::-1].copy(),
                    kind=LANE_KINDS.get(record.kind, "other"),
                    left_mark=left,
                    right_mark=right,
                    speed_limit_mps=record.speed_mps if record.speed_mps is not None else road.limit_mps(section.s_m),
                    successors=tuple(lane_id(step.key) for step in network.following(key, forward)),
                    left=_neighbour(road, key, lane + (1 if forward else -1)),
                    right=_neighbour(road, key, lane - (1 if forward else -1)),
                )
            )
            inner_mark = record.outer_mark
    return found


def _neighbour(road: RoadRecord, key: LaneKey, lane: int) -> str:
    """The lane beside, where it runs the same way; lane 0 is only a line, so the two sides are never neighbours."""
    same_side = lane * key.lane > 0 and lane in road.sections[key.section].lanes
    return lane_id(key._replace(lane=lane)) if same_side else ""


def _without_loose_ends(lane: Lane, ids: set[str]) -> Lane:
    """The lane with links to lanes that were left out removed."""
    return Lane(
        lane.id,
        lane.centre,
        lane.width_m,
        lane.kind,
        lane.left_mark,
        lane.right_mark,
        lane.speed_limit_mps,
        tuple(s for s in lane.successors if s in ids),
        lane.left if lane.left in ids else "",
        lane.right if lane.right in ids else "",
    )
