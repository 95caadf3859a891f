"""Trajectories: polylines, clothoids and NURBS as sampled paths, and what moves along them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from simworld.readers.notes import Notes
from simworld.readers.opendrive import Pose
from simworld.readers.opendrive.geometry import Geometry
from simworld.readers.xml import child, integer, number, where, word

Resolve = Callable[[etree._Element], Pose]
SAMPLE_M = 0.5
MAX_POINTS = 100_000


@dataclass(frozen=True)
class Path:
    """Points in driving order: xy (n, 2), distance from the start along_m (n,), times t_s (n,) where it has them."""

    xy: NDArray[np.float64]
    along_m: NDArray[np.float64]
    t_s: NDArray[np.float64] | None

    @property
    def length_m(self) -> float:
        return float(self.along_m[-1])

    def pose(self, along_m: float, heading_rad: float) -> Pose:
        """Pose at a distance along the path, heading with it; `heading_rad` where the path has no length."""
        along = min(max(along_m, 0.0), self.length_m)
        i = min(max(bisect_right(self.along_m, along) - 1, 0), len(self.along_m) - 2)
        (x0, y0), (x1, y1) = self.xy[i], self.xy[i + 1]
        length = self.along_m[i + 1] - self.along_m[i]
        if length <= 0:
            return Pose(float(x0), float(y0), heading_rad)
        f = (along - self.along_m[i]) / length
        return Pose(float(x0 + f * (x1 - x0)), float(y0 + f * (y1 - y0)), math.atan2(y1 - y0, x1 - x0))


@dataclass
class TrajectoryFollower:
    """Moves along a path, by speed or by the path's own clock.

    clock  None to drive at the entity's speed; else (start_s, scale): path time = start_s + scale * elapsed
    """

    path: Path
    along_m: float = 0.0
    clock: tuple[float, float] | None = None
    elapsed_s: float = 0.0

    def advance(self, speed_mps: float, dt_s: float) -> tuple[float, bool]:
        """Move on for dt; the metres moved, and whether the end is reached."""
        before = self.along_m
        self.elapsed_s += dt_s
        if self.clock is None or self.path.t_s is None:
            self.along_m = min(self.along_m + max(speed_mps, 0.0) * dt_s, self.path.length_m)
            return self.along_m - before, self.along_m >= self.path.length_m
        at = self.clock[0] + self.clock[1] * self.elapsed_s
        self.along_m = float(np.interp(at, self.path.t_s, self.path.along_m))
        return self.along_m - before, at >= self.path.t_s[-1]


def parse_path(trajectory: etree._Element, resolve: Resolve, notes: Notes, start: Pose | None = None) -> Path:
    """The path of a <Trajectory>; ValueError where it has none.

    `resolve` turns its positions into poses; `start` is where a path begins that does not say so itself.
    """
    shape = child(trajectory, "Shape")
    if shape.find("Polyline") is not None:
        return _polyline(child(shape, "Polyline"), resolve, notes)
    if shape.find("Clothoid") is not None:
        return _clothoid(child(shape, "Clothoid"), resolve)
    if shape.find("ClothoidSpline") is not None:
        return _clothoid_spline(child(shape, "ClothoidSpline"), resolve, start)
    if shape.find("Nurbs") is not None:
        return _nurbs(child(shape, "Nurbs"), resolve)
    raise ValueError(f"{where(trajectory)} has no known shape")


def _path(xy: NDArray[np.float64], t_s: NDArray[np.float64] | None) -> Path:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    if t_s is not None and (len(t_s) != len(along) or (np.diff(t_s) < 0).any() or t_s[-1] <= t_s[0]):
        t_s = None
    return Path(xy, along, t_s)


def _polyline(shape: etree._Element, resolve: Resolve, notes: Notes) -> Path:
    vertices = shape.findall("Vertex")
    if not 2 <= len(vertices) <= MAX_POINTS:
        raise ValueError(f"{where(shape)} has {len(vertices)} vertices; a path has 2 to {MAX_POINTS}")
    poses = [resolve(child(v, "Position")) for v in vertices]
    times = [number(v, "time", math.nan) for v in vertices]
    for vertex in vertices:
        if vertex.find("Position/*/Orientation") is not None:
            notes.add("Orientation of a trajectory vertex", vertex.sourceline, "it heads along the trajectory")
    t_s = np.array(times) if all(map(math.isfinite, times)) else None
    return _path(np.array([p[:2] for p in poses]), t_s)


def _clothoid(shape: etree._Element, resolve: Resolve) -> Path:
    start = resolve(child(shape, "Position"))
    length = number(shape, "length", lowest=0.01, highest=1e4)
    curvature = number(shape, "curvature", lowest=-100, highest=100)
    # 1.0 calls the rate curvatureDot, later versions curvaturePrime; both are per metre.
    rate = number(shape, "curvatureDot", number(shape, "curvaturePrime", 0.0), lowest=-100, highest=100)
    xy = _spiral(start, length, curvature, curvature + rate * length)[:, :2]
    times = (number(shape, "startTime", math.nan), number(shape, "stopTime", math.nan))
    t_s = np.linspace(*times, len(xy)) if all(map(math.isfinite, times)) else None
    return _path(xy, t_s)


def _clothoid_spline(shape: etree._Element, resolve: Resolve, start: Pose | None) -> Path:
    pieces: list[NDArray[np.float64]] = []
    times: list[float] = []
    pose = start
    for segment in shape.iterfind("ClothoidSplineSegment"):
        place = segment.find("PositionStart")
        if place is None:
            place = segment.find("Position")
        if place is not None:
            pose = resolve(place)
        if pose is None:
            raise ValueError(f"{where(segment)} has no start position and follows no other segment")
        length = number(segment, "length", lowest=0.01, highest=1e4)
        curvatures = (number(segment, k, lowest=-100, highest=100) for k in ("curvatureStart", "curvatureEnd"))
        poses = _spiral(pose, length, *curvatures)
        pieces.append(poses[:, :2] if not pieces else poses[1:, :2])
        pose = Pose(*(float(v) for v in poses[-1]))
        times.append(number(segment, "timeStart", math.nan))
        if sum(map(len, pieces)) > MAX_POINTS:
            raise ValueError(f"{where(shape)} has more than {MAX_POINTS} points")
    if not pieces:
        raise ValueError(f"{where(shape)} has no segments")
    end = number(shape, "timeEnd", math.nan)
    t_s = None
    if all(map(math.isfinite, (*times, end))):
        knots = np.cumsum([0, len(pieces[0]) - 1, *(len(p) for p in pieces[1:])])
        t_s = np.interp(np.arange(knots[-1] + 1), knots, [*times, end])
    return _path(np.concatenate(pieces), t_s)


def _spiral(start: Pose, length_m: float, curvature: float, end_curvature: float) -> NDArray[np.float64]:
    geometry = Geometry("spiral", 0.0, *start, length_m, (curvature, end_curvature))
    return geometry.at(np.linspace(0.0, length_m, 2 + int(length_m / SAMPLE_M)))


def _nurbs(shape: etree._Element, resolve: Resolve) -> Path:
    """De Boor's recursion on homogeneous points, sampled evenly over the knots."""
    order = integer(shape, "order")
    elements = shape.findall("ControlPoint")
    knots = np.array([number(k, "value") for k in shape.iterfind("Knot")])
    if not 2 <= order <= 12 or not order <= len(elements) <= 5_000 or len(knots) != len(elements) + order:
        raise ValueError(
            f"{where(shape)}: {len(elements)} points, {len(knots)} knots and order {order} don't fit together"
        )
    if (np.diff(knots) < 0).any() or knots[-order] <= knots[order - 1]:
        raise ValueError(f"{where(shape)} has knots that do not rise")
    weights = np.array([number(e, "weight", 1.0, lowest=1e-6, highest=1e6) for e in elements])
    places = np.array([resolve(child(e, "Position"))[:2] for e in elements])
    points = np.column_stack([places * weights[:, None], weights])
    times = np.array([number(e, "time", math.nan) for e in elements])
    span = float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())
    parameters = np.linspace(knots[order - 1], knots[-order], 20 + min(MAX_POINTS // 10, int(span / SAMPLE_M)))
    curve = np.array([_de_boor(points, knots, order - 1, u) for u in parameters])
    t_s = None
    if np.isfinite(times).all():
        timed = np.column_stack([times * weights, weights])
        curve_t = np.array([_de_boor(timed, knots, order - 1, u) for u in parameters])
        t_s = np.maximum.accumulate(curve_t[:, 0] / curve_t[:, 1])
    return _path(curve[:, :2] / curve[:, 2:], t_s)


def _de_boor(points: NDArray[np.float64], knots: NDArray[np.float64], degree: int, u: float) -> NDArray[np.float64]:
    k = int(np.clip(np.searchsorted(knots, u, side="right") - 1, degree, len(points) - 1))
    work = points[k - degree : k + 1].copy()
    for r in range(1, degree + 1):
        for j in range(degree, r - 1, -1):
            low, high = knots[j + k - degree], knots[j + 1 + k - r]
            alpha = 0.0 if high <= low else (u - low) / (high - low)
            work[j] = (1 - alpha) * work[j - 1] + alpha * work[j]
    return np.asarray(work[degree])


def parse_clock(action: etree._Element, t_s: float) -> tuple[float, float] | None:
    """(path time now, path seconds per second) of a <TimeReference>, None where the path is driven by speed."""
    timing = action.find("TimeReference/Timing")
    if timing is None:
        return None
    scale = number(timing, "scale", 1.0, lowest=1e-6, highest=1e6)
    offset = number(timing, "offset", 0.0)
    # Absolute: the path's times are scenario times, t_path * scale + offset = t.
    now = t_s if word(timing, "domainAbsoluteRelative", "relative") == "absolute" else 0.0
    return (now - offset) / scale, 1.0 / scale
