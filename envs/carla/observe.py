"""Ground truth about the scene on a CARLA server: actors in the ego frame, the state vector and a caption."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.scenario import ACTOR_CLASSES

from ..driving.spec import GAP_CAP_M, STATE_NAMES
from .collisions import Motion
from .frames import pose_of, to_ego_axes, to_world_axes, vector_of, wrapped
from .kinds import Hull, hull_of
from .roads import Place


@dataclass(frozen=True)
class Ahead:
    """The next body in the ego's path: free gap, how fast it closes, its class; GAP_CAP_M, 0 and "" for nobody."""

    gap_m: float
    closing_mps: float
    kind: str


class Scene:
    """Reads the world after a tick; sizes and masses are asked for once per actor."""

    def __init__(self, ego: Any, hull: Hull, num_rows: int) -> None:
        self._ego, self._hull, self._num_rows = ego, hull, num_rows
        self._hulls: dict[int, Hull] = {}

    def ego_pose(self) -> NDArray[np.float64]:
        """(3,) centre of the ego's box and its heading."""
        return _centre(self._ego, self._hull)

    def speed_mps(self) -> float:
        """Speed of the ego along its heading."""
        velocity = vector_of(self._ego.get_velocity())
        return float(to_ego_axes(velocity, float(self.ego_pose()[2]))[0])

    def others(self, world: Any) -> list[Any]:
        """Every vehicle and walker but the ego, in order of id."""
        actors = world.get_actors()
        found = [*actors.filter("vehicle.*"), *actors.filter("walker.pedestrian.*")]
        return sorted((a for a in found if a.id != self._ego.id), key=lambda a: a.id)

    def motion(self, world: Any) -> Motion:
        """Heading and velocities now, to judge the next step's collisions by."""
        velocity = {int(a.id): vector_of(a.get_velocity()) for a in [self._ego, *self.others(world)]}
        return Motion(float(self.ego_pose()[2]), velocity)

    def actors(self, world: Any) -> NDArray[np.float32]:
        """Actors (num_rows, 9) as simworld.episode.ACTOR_FIELDS says, nearest first, NaN where absent.

        Velocities are over ground, turned into the ego frame.
        """
        x_y_psi = self.ego_pose()
        found = []
        for actor in self.others(world):
            if actor.id not in self._hulls:
                self._hulls[actor.id] = hull_of(actor)
            hull = self._hulls[actor.id]
            pose = _centre(actor, hull)
            place = to_ego_axes(pose[:2] - x_y_psi[:2], x_y_psi[2])
            velocity = to_ego_axes(vector_of(actor.get_velocity()), x_y_psi[2])
            heading = wrapped(float(pose[2] - x_y_psi[2]))
            size = (hull.length_m, hull.width_m, hull.mass_kg)
            found.append((ACTOR_CLASSES.index(hull.kind), *place, heading, *velocity, *size))  # type: ignore[arg-type]
        found.sort(key=lambda row: np.hypot(row[1], row[2]))
        rows = np.full((self._num_rows, 9), np.nan, np.float32)
        for i, row in enumerate(found[: self._num_rows]):
            rows[i] = row
        # Masked as well as NaN, so that two equal infos compare equal.
        return np.ma.masked_invalid(rows, copy=False)

    def ahead(self, rows: NDArray[np.float32], curvature_1pm: float) -> Ahead:
        """The next body in the path that the lane's curvature draws in front of the ego."""
        best = Ahead(GAP_CAP_M, 0.0, "")
        speed_mps = self.speed_mps()
        present = np.asarray(rows, np.float64)
        for kind, x, y, _, vx, _, length, width, _ in present[np.isfinite(present[:, 0])]:
            beside_m = abs(y - curvature_1pm * x**2 / 2)
            gap_m = x - (length + self._hull.length_m) / 2
            if x > 0 and beside_m < (width + self._hull.width_m) / 2 and gap_m < best.gap_m:
                best = Ahead(gap_m, speed_mps - vx, ACTOR_CLASSES[int(kind)])
        return best

    def state(
        self, place: Place, ahead: Ahead, accel_mps2: float, speed_limit_mps: float, steer: float, pedal: float
    ) -> NDArray[np.float32]:
        """The ego's state, float32 (s,), entries as in spec.STATE."""
        values = {
            "speed_mps": self.speed_mps(),
            "accel_mps2": accel_mps2,
            "yaw_rate_radps": -np.deg2rad(self._ego.get_angular_velocity().z),
            "lateral_m": place.lateral_m,
            "lane_index": place.lane_index,
            "num_lanes": place.num_lanes,
            "num_oncoming": place.num_oncoming,
            "lane_width_m": place.lane_width_m,
            "heading_error_rad": place.heading_error_rad,
            "gap_m": ahead.gap_m,
            "closing_mps": ahead.closing_mps,
            "curvature_1pm": place.curvature_1pm,
            "curvature_ahead_1pm": place.curvature_ahead_1pm,
            "to_right_edge_m": place.to_right_edge_m,
            "to_left_edge_m": place.to_left_edge_m,
            "speed_limit_mps": speed_limit_mps,
            "steer": steer,
            "pedal": pedal,
        }
        return np.array([values[name] for name in STATE_NAMES], np.float32)


def caption(place: Place, ahead: Ahead, light: str, town: str) -> str:
    """One true sentence on the scene."""
    bend = place.curvature_ahead_1pm
    shape = "straight" if abs(bend) < 8e-4 else "curving left" if bend > 0 else "curving right"
    lanes = f"{place.num_lanes} lane{'s' if place.num_lanes > 1 else ''} {shape}"
    if place.num_oncoming:
        lanes += f" and {place.num_oncoming} oncoming"
    where = f"{light.capitalize()} in {town}, {lanes}"
    return f"{where}; a {ahead.kind} {round(ahead.gap_m)} m ahead." if ahead.kind else f"{where}; free road ahead."


def _centre(actor: Any, hull: Hull) -> NDArray[np.float64]:
    """(3,) centre of an actor's box over the ground and its heading."""
    pose = pose_of(actor.get_transform())
    pose[:2] += to_world_axes(np.array([hull.ahead_m, hull.left_m]), pose[2])
    return pose
