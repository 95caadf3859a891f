"""A scenario's road as meshes in the look of the driving env: asphalt, marks, kerbs, and trees where no lane is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from simworld.scenario import Lane, Road

from ..driving.scenery import DASH_M, DASH_PERIOD_M, SLOT_M, prism, quads

Array = NDArray[np.float64]

# The most triangles that a mesh may hold at a time; a window that has more keeps the nearest.
MOST = {"asphalt": 5000, "marks": 5000, "divider": 2500, "kerb": 2500, "foliage": 900, "trunk": 700}
MOST |= dict.fromkeys(("barrier", "building"), 0)  # no format that is read has them
STEP_M = 3.0
REACH_M = 260.0  # what is further from the ego is left out
HALF_MARK_M = 0.1
PAVED = ("driving", "shoulder", "parking", "biking", "border")
PLANE_M = 400.0


def road_triangles(road: Road, origin_m: Array, centre_m: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Triangles (n, 3, 3) of every scenery mesh; without lanes a plane of asphalt around `centre_m` (2,)."""
    parts: dict[str, list[Array]] = {name: [] for name in MOST}
    lanes = [_Strip(lane, origin_m) for lane in road.lanes if len(lane.centre) > 1]
    lanes = [strip for strip in lanes if len(strip.s_m) > 1]
    unmarked = all(s.lane.left_mark == "none" == s.lane.right_mark for s in lanes)
    by_id = {strip.lane.id: strip.lane for strip in lanes}
    for strip in lanes:
        if strip.lane.kind in PAVED:
            parts["asphalt"].append(strip.ribbon(0.5 * strip.width_m, -0.5 * strip.width_m, 0.0))
        elif strip.lane.kind == "sidewalk":
            parts["kerb"].append(strip.ribbon(0.5 * strip.width_m, -0.5 * strip.width_m, 0.04))
        if strip.lane.kind == "driving":
            _add_marks(parts, strip, by_id, unmarked)
    if lanes:
        _add_trees(parts, lanes, rng)
    else:
        far = PLANE_M * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float64)
        far[:, :2] += centre_m - origin_m
        parts["asphalt"].append(quads(*(corner[None] for corner in far)))
    return {name: np.concatenate(p) if p else np.zeros((0, 3, 3)) for name, p in parts.items()}


def capacities(triangles: dict[str, Array]) -> dict[str, int]:
    """How many triangles each mesh must be able to hold; MuJoCo wants some in every mesh."""
    return {name: max(8, min(len(tri), MOST[name])) for name, tri in triangles.items()}


def window(triangles: dict[str, Array], place_m: Array, capacity: dict[str, int]) -> dict[str, Array]:
    """The triangles around a place (2,)."""
    out = {}
    for name, tri in triangles.items():
        away = np.linalg.norm(tri.mean(axis=1)[:, :2] - place_m, axis=1)
        near = np.flatnonzero(away < REACH_M) if len(tri) > 2 else np.arange(len(tri))
        if len(near) > capacity[name]:
            near = near[np.argsort(away[near], kind="stable")[: capacity[name]]]
        out[name] = tri[near]
    return out


class _Strip:
    """A lane resampled evenly: points (n, 2), normals to the left (n, 2), widths (n,)."""

    def __init__(self, lane: Lane, origin_m: Array) -> None:
        self.lane = lane
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lane.centre, axis=0), axis=1))])
        self.s_m = np.linspace(0.0, arc[-1], max(2, int(arc[-1] / STEP_M) + 1)) if arc[-1] > 0.05 else np.zeros(1)
        self.centre = np.stack([np.interp(self.s_m, arc, lane.centre[:, k]) for k in (0, 1)], axis=1) - origin_m
        self.width_m = np.interp(self.s_m, arc, lane.width_m)
        if len(self.s_m) > 1:
            tangent = np.gradient(self.centre, axis=0)
            tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
            self.normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)

    def edge(self, left_m: Array, z_m: float) -> Array:
        """A line (n, 3) beside the centre."""
        flat = self.centre + self.normal * left_m[:, None]
        return np.concatenate([flat, np.full((len(flat), 1), z_m)], axis=1)

    def ribbon(self, left_m: Array, right_m: Array, z_m: float) -> Array:
        left, right = self.edge(left_m, z_m), self.edge(right_m, z_m)
        return quads(right[:-1], right[1:], left[1:], left[:-1])

    def dashes(self, left_m: Array, z_m: float) -> Array:
        """Broken marks along a line beside the centre."""
        start = np.arange(0.0, self.s_m[-1] - DASH_M, DASH_PERIOD_M)
        if len(start) == 0:
            return np.zeros((0, 3, 3))

        def at(s: Array, aside: float) -> Array:
            line = self.edge(left_m + aside, z_m)
            return np.stack([np.interp(s, self.s_m, line[:, k]) for k in range(3)], axis=1)

        far, h = start + DASH_M, HALF_MARK_M
        return quads(at(start, -h), at(far, -h), at(far, h), at(start, h))


def _add_marks(parts: dict[str, list[Array]], strip: _Strip, by_id: dict[str, Lane], unmarked: bool) -> None:
    """Both sides of a lane, but a line that two lanes share once; the line that parts directions is yellow."""
    lane = strip.lane
    for side, mark, beside in ((1.0, lane.left_mark, lane.left), (-1.0, lane.right_mark, lane.right)):
        neighbour = by_id.get(beside)
        shared = neighbour is not None and neighbour.kind == "driving"
        if unmarked:
            mark = "broken" if shared else "solid"
        if mark == "none" or (side < 0 and shared and (unmarked or (neighbour and neighbour.left_mark != "none"))):
            continue
        name = "divider" if side > 0 and not shared else "marks"
        # Inside the lane, so that lines of two directions lie beside each other.
        middle = side * (0.5 * strip.width_m - (0.0 if shared else HALF_MARK_M))
        if mark == "broken":
            parts[name].append(strip.dashes(middle, 0.02))
        else:
            parts[name].append(strip.ribbon(middle + HALF_MARK_M, middle - HALF_MARK_M, 0.02))


def _add_trees(parts: dict[str, list[Array]], lanes: list[_Strip], rng: np.random.Generator) -> None:
    """Trees and poles along the outer edges, kept off every lane."""
    points = np.concatenate([s.centre for s in lanes])
    tree, widest = cKDTree(points), max(float(s.width_m.max()) for s in lanes)
    places = []
    for strip in lanes:
        for s in np.arange(SLOT_M / 2, strip.s_m[-1], SLOT_M):
            i = int(np.searchsorted(strip.s_m, s))
            away = 0.5 * strip.width_m[i] + rng.uniform(3.0, 11.0)
            places.append(strip.centre[i] + strip.normal[i] * away * rng.choice([-1.0, 1.0]))
    spots = np.array(places).reshape(-1, 2)
    size, kind = rng.uniform(0.75, 1.35, len(spots)), rng.random(len(spots))
    free = tree.query(spots)[0] > 0.5 * widest + STEP_M + 1.0 if len(spots) else np.zeros(0, bool)
    tall, pole = free & (kind < 0.45), free & (kind > 0.85)
    n, zero = int(tall.sum()), np.zeros(int(tall.sum()))
    crown = np.stack([1.5 * size[tall], 1.5 * size[tall]], axis=1)
    parts["foliage"].append(prism(spots[tall], zero + 0.6, crown, 1.4 * size[tall], 6.0 * size[tall], taper=0.0))
    stem = prism(spots[tall], zero, np.full((n, 2), 0.22), zero, 1.6 * size[tall])
    parts["trunk"].append(stem[: 8 * n])
    poles = np.zeros(int(pole.sum()))
    parts["trunk"].append(prism(spots[pole], poles, np.full((len(poles), 2), 0.12), poles, poles + 6.0))
