"""Where the ego is on the road, from CARLA's map (no call to the server)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .frames import pose_of, to_ego_axes, wrapped

MOST_LANES = 8
JUNCTION_ROOM_M = 2.0  # lanes of a junction are drawn narrowly; this far beside one is still road


@dataclass(frozen=True)
class Place:
    """The ego in its lanes; own lanes lead the way it is heading. As the state entries of the same names."""

    lateral_m: float
    lane_index: int
    num_lanes: int
    num_oncoming: int
    lane_width_m: float
    heading_error_rad: float
    curvature_1pm: float
    curvature_ahead_1pm: float
    to_right_edge_m: float
    to_left_edge_m: float
    off_road: bool
    oncoming: bool  # in a lane that leads the other way


def place_on_road(carla: Any, road_map: Any, transform: Any, speed_mps: float) -> Place:
    """Look up the ego's transform on the map; off road is further from the nearest lane than half its width."""
    x_y_psi = pose_of(transform)
    nearest = road_map.get_waypoint(transform.location, project_to_road=True, lane_type=carla.LaneType.Driving)
    nearest_pose = pose_of(nearest.transform)
    off_lane_m = abs(float(to_ego_axes(x_y_psi[:2] - nearest_pose[:2], nearest_pose[2])[1]))
    room_m = nearest.lane_width / 2 + (JUNCTION_ROOM_M if nearest.is_junction else 0.0)
    wrong_way = np.cos(x_y_psi[2] - nearest_pose[2]) < 0
    own = _nearest_own(nearest) if wrong_way else nearest
    # On a one-way lane driven backwards there is no own lane: the lane itself serves, with its own direction.
    lane_pose = pose_of(own.transform)
    lateral_m = float(to_ego_axes(x_y_psi[:2] - lane_pose[:2], lane_pose[2])[1])
    right, left, oncoming = _same_way(own, "right"), _same_way(own, "left"), _oncoming(carla, own)
    half_m = own.lane_width / 2
    return Place(
        lateral_m=lateral_m,
        lane_index=len(right),
        num_lanes=len(right) + 1 + len(left),
        num_oncoming=len(oncoming),
        lane_width_m=float(own.lane_width),
        heading_error_rad=wrapped(float(x_y_psi[2] - lane_pose[2])),
        curvature_1pm=_curvature(own, 0.0),
        curvature_ahead_1pm=_curvature(own, max(15.0, 1.5 * speed_mps)),
        to_right_edge_m=lateral_m + half_m + sum(w.lane_width for w in right),
        to_left_edge_m=half_m - lateral_m + sum(w.lane_width for w in left) + sum(w.lane_width for w in oncoming),
        off_road=off_lane_m > room_m,
        oncoming=bool(wrong_way),
    )


def _nearest_own(waypoint: Any) -> Any:
    """The closest lane to the left that leads the other way than `waypoint`; itself where there is none."""
    lane = waypoint
    for _ in range(MOST_LANES):
        lane = lane.get_left_lane()
        if lane is None:
            return waypoint
        if lane.lane_id * waypoint.lane_id < 0:
            return lane if lane.lane_type == waypoint.lane_type else waypoint
    return waypoint


def _same_way(waypoint: Any, side: str) -> list[Any]:
    """Driving lanes of the same direction on one side, nearest first."""
    found: list[Any] = []
    lane = waypoint
    for _ in range(MOST_LANES):
        lane = lane.get_right_lane() if side == "right" else lane.get_left_lane()
        if lane is None or lane.lane_type != waypoint.lane_type or lane.lane_id * waypoint.lane_id < 0:
            return found
        found.append(lane)
    return found


def _oncoming(carla: Any, waypoint: Any) -> list[Any]:
    """Driving lanes beyond the middle line, nearest first."""
    leftmost = ([waypoint] + _same_way(waypoint, "left"))[-1]
    first = leftmost.get_left_lane()
    if first is None or first.lane_type != carla.LaneType.Driving or first.lane_id * waypoint.lane_id > 0:
        return []
    # Seen in its own direction, the rest of the oncoming side lies to its right.
    return [first, *_same_way(first, "right")]


def _curvature(waypoint: Any, ahead_m: float, over_m: float = 4.0) -> float:
    """Curvature of the lane `ahead_m` further on, positive to the left; 0 where the lane ends before."""
    at = (waypoint.next(ahead_m) or [None])[0] if ahead_m > 0 else waypoint
    beyond = (at.next(over_m) or [None])[0] if at is not None else None
    if at is None or beyond is None:
        return 0.0
    start, end = pose_of(at.transform), pose_of(beyond.transform)
    return wrapped(float(end[2] - start[2])) / max(float(np.linalg.norm(end[:2] - start[:2])), 0.1)
