"""Road geometry: a reference line with lanes beside it, in road coordinates s (along) and d (left of the line)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Frenet(NamedTuple):
    """Road coordinates of points: along the line and to its left."""

    s_m: Array
    d_m: Array


@dataclass(frozen=True)
class Polyline:
    """A smooth line sampled every `step_m`: xy (n, 2), unwrapped heading (n,), curvature (n,) in 1/m."""

    step_m: float
    xy: Array
    heading_rad: Array
    curvature_1pm: Array

    @property
    def length_m(self) -> float:
        return self.step_m * (len(self.xy) - 1)

    @classmethod
    def from_curvature(cls, curvature_1pm: Array, step_m: float, heading_rad: float = 0.0) -> Polyline:
        """Integrate a curvature profile from the origin; a piecewise linear profile gives clothoids."""
        mid = 0.5 * (curvature_1pm[:-1] + curvature_1pm[1:])
        heading = heading_rad + np.concatenate([[0.0], np.cumsum(mid * step_m)])
        half = 0.5 * (heading[:-1] + heading[1:])
        steps = step_m * np.stack([np.cos(half), np.sin(half)], axis=1)
        return cls(step_m, np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), heading, curvature_1pm)

    @classmethod
    def from_points(cls, points: Array, step_m: float = 1.0) -> Polyline:
        """Resample any polyline (n, 2) evenly; its direction is that of the points."""
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        s = np.arange(0.0, arc[-1] + 1e-9, step_m)
        xy = np.stack([np.interp(s, arc, points[:, 0]), np.interp(s, arc, points[:, 1])], axis=1)
        tangent = np.gradient(xy, axis=0)
        heading = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
        return cls(step_m, xy, heading, np.gradient(heading, step_m))

    def _locate(self, s_m: ArrayLike) -> tuple[NDArray[np.int64], Array]:
        position = np.asarray(s_m, dtype=np.float64) / self.step_m
        i = np.minimum(np.maximum(position.astype(np.int64), 0), len(self.xy) - 2)
        return i, position - i

    def heading(self, s_m: ArrayLike) -> Array:
        i, w = self._locate(s_m)
        w = np.minimum(np.maximum(w, 0.0), 1.0)
        return self.heading_rad[i] * (1 - w) + self.heading_rad[i + 1] * w

    def curvature(self, s_m: ArrayLike) -> Array:
        i, w = self._locate(s_m)
        w = np.minimum(np.maximum(w, 0.0), 1.0)
        return self.curvature_1pm[i] * (1 - w) + self.curvature_1pm[i + 1] * w

    def point(self, s_m: ArrayLike, d_m: ArrayLike = 0.0) -> Array:
        """World xy (..., 2) of road coordinates; straight on beyond both ends."""
        i, w = self._locate(s_m)
        xy = self.xy[i] * (1 - w)[..., None] + self.xy[i + 1] * w[..., None]
        psi = self.heading(s_m)
        normal = np.stack([-np.sin(psi), np.cos(psi)], axis=-1)
        return xy + np.asarray(d_m, dtype=np.float64)[..., None] * normal

    def project(self, xy: Array, hint_s_m: Array, iterations: int = 3) -> Frenet:
        """Road coordinates of points (n, 2), by Newton steps from a nearby `hint_s_m` (n,)."""
        s, last = np.array(hint_s_m, dtype=np.float64), len(self.xy) - 2
        for k in range(iterations + 1):
            position = s / self.step_m
            i = np.minimum(np.maximum(position.astype(np.int64), 0), last)
            w = position - i
            u = np.minimum(np.maximum(w, 0.0), 1.0)
            psi = self.heading_rad[i] + u * (self.heading_rad[i + 1] - self.heading_rad[i])
            cos, sin = np.cos(psi), np.sin(psi)
            off = xy - self.xy[i] - w[:, None] * (self.xy[i + 1] - self.xy[i])
            d = cos * off[:, 1] - sin * off[:, 0]
            if k < iterations:
                along = cos * off[:, 0] + sin * off[:, 1]
                s = s + along / np.maximum(1.0 - self.curvature_1pm[i] * d, 0.2)
        return Frenet(s, d)


@dataclass(frozen=True)
class RoadLayout:
    """Lanes beside a reference line, which divides the ego's direction (right, d < 0) from oncoming lanes.

    Lane 0 is the rightmost of the ego's direction, lane num_lanes - 1 lies next to the line.
    """

    line: Polyline
    num_lanes: int
    num_oncoming: int
    lane_width_m: float
    shoulder_m: float
    left_barrier: bool
    right_barrier: bool
    kerb: bool
    speed_limit_mps: float

    @property
    def right_edge_m(self) -> float:
        """d of the right edge of the paved surface."""
        return -self.num_lanes * self.lane_width_m - self.shoulder_m

    @property
    def left_edge_m(self) -> float:
        """d of the left edge of the paved surface."""
        return self.num_oncoming * self.lane_width_m + self.shoulder_m

    def lane_centre_m(self, lane: int) -> float:
        """d of a lane's centre; -1, -2 are the oncoming lanes from the line outwards."""
        if lane < 0:
            return (-lane - 0.5) * self.lane_width_m
        return -(self.num_lanes - lane - 0.5) * self.lane_width_m

    def lane_at(self, d_m: float) -> int:
        """The lane of the ego's direction nearest to d."""
        return int(np.clip(np.floor(self.num_lanes + d_m / self.lane_width_m), 0, self.num_lanes - 1))


# Name -> largest curvature in 1/m that the road shows.
CURVINESS = {"straight": 0.0002, "mild": 1 / 500, "curvy": 1 / 200, "winding": 1 / 90}


def make_line(rng: np.random.Generator, max_curvature_1pm: float, length_m: float, step_m: float = 1.0) -> Polyline:
    """A line of straights, arcs and clothoids whose heading stays within 70 degrees of x, so it never meets itself."""
    knots_s, knots_k, heading = [0.0, 40.0], [0.0, 0.0], 0.0
    while knots_s[-1] < length_m + step_m:
        ramp, hold = rng.uniform(30.0, 70.0), rng.uniform(20.0, 140.0)
        k = max_curvature_1pm * rng.choice([0.0, 0.35, 0.7, 1.0], p=[0.25, 0.2, 0.25, 0.3]) * rng.choice([-1.0, 1.0])
        turn = 0.5 * (knots_k[-1] + k) * ramp + k * hold
        if abs(heading + turn) > 1.2:
            k = -np.sign(heading) * abs(k)
            turn = 0.5 * (knots_k[-1] + k) * ramp + k * hold
            hold = hold if abs(heading + turn) <= 1.2 else 20.0
            turn = 0.5 * (knots_k[-1] + k) * ramp + k * hold
        heading += turn
        knots_s += [knots_s[-1] + ramp, knots_s[-1] + ramp + hold]
        knots_k += [k, k]
    s = np.arange(0.0, length_m + step_m, step_m)
    return Polyline.from_curvature(np.interp(s, knots_s, knots_k), step_m, heading_rad=0.0)


def make_layout(
    rng: np.random.Generator,
    length_m: float,
    p_oncoming: float,
    num_lanes: int | None = None,
    curviness: str | None = None,
) -> RoadLayout:
    """Draw a road of two to four lanes; `num_lanes` (of the ego's direction) and `curviness` may be given."""
    bend = curviness or str(rng.choice(list(CURVINESS), p=[0.2, 0.3, 0.3, 0.2]))
    oncoming_drawn = rng.random() < p_oncoming
    if num_lanes is None:
        num_lanes = int(rng.choice([1, 2, 3], p=[0.4, 0.45, 0.15])) if oncoming_drawn else int(rng.integers(2, 5))
    num_oncoming = int(rng.integers(1, max(1, min(2, 4 - num_lanes)) + 1)) if oncoming_drawn and num_lanes < 4 else 0
    max_curvature = CURVINESS[bend]
    # Lateral acceleration at the limit stays near 3.5 m/s2, what drivers accept.
    limit = min(float(rng.uniform(16.0, 33.0)), float(np.sqrt(3.5 / max_curvature)))
    return RoadLayout(
        line=make_line(rng, max_curvature, length_m),
        num_lanes=num_lanes,
        num_oncoming=num_oncoming,
        lane_width_m=float(rng.uniform(3.3, 3.8)),
        shoulder_m=float(rng.uniform(0.8, 2.5)),
        left_barrier=bool(rng.random() < 0.45),
        right_barrier=bool(rng.random() < 0.35),
        kerb=bool(rng.random() < 0.6),
        speed_limit_mps=limit,
    )
