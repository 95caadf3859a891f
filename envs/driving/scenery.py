"""What stands still: asphalt, lane marks, kerbs, barriers, trees, poles and buildings, as meshes in a moving window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from .bodies import MESHES
from .road import Polyline, RoadLayout

Array = NDArray[np.float64]

LIGHTS = ("daylight", "dusk", "fog")
WINDOW_BEHIND_M = 110.0
WINDOW_AHEAD_M = 230.0
WINDOW_STEP_M = 20.0  # the window jumps in steps of this size
DASH_M, DASH_PERIOD_M = 4.0, 12.0
SLOT_M = 14.0  # one place for scenery on each side every so many metres


@dataclass(frozen=True)
class Look:
    """Colours and light of one episode; rgb in [0, 1]."""

    light: str  # daylight, dusk, fog
    sky_top: tuple[float, float, float]
    sky_low: tuple[float, float, float]
    ambient: float
    sun: tuple[float, float, float]
    fog_start_m: float
    fog_end_m: float
    ground: tuple[float, float, float]
    colours: dict[str, tuple[float, float, float]]  # mesh name -> rgb


@dataclass(frozen=True)
class Slots:
    """Scenery places along the road: s, d, kind (0 none, 1 tree, 2 pole, 3 building, 4 post) and size, each (n,)."""

    s_m: Array
    d_m: Array
    kind: NDArray[np.int64]
    size: Array


def draw_look(rng: np.random.Generator, light: str | None) -> Look:
    """Draw an episode's look; `light` may be given."""
    light = light or str(rng.choice(LIGHTS, p=[0.6, 0.2, 0.2]))
    jitter = rng.uniform(0.9, 1.1, size=3)
    grass = np.array([(0.33, 0.46, 0.22), (0.42, 0.47, 0.24), (0.55, 0.5, 0.34), (0.27, 0.4, 0.24)][rng.integers(4)])
    grey = rng.uniform(0.27, 0.4)
    if light == "daylight":
        sky_top, sky_low, ambient, sun = (0.36, 0.56, 0.86), (0.74, 0.83, 0.92), 0.5, (0.55, 0.54, 0.5)
        fog = (90.0, 330.0)
    elif light == "dusk":
        sky_top, sky_low, ambient, sun = (0.2, 0.2, 0.36), (0.85, 0.56, 0.42), 0.42, (0.36, 0.27, 0.24)
        fog = (70.0, 280.0)
    else:
        sky_top, sky_low, ambient, sun = (0.7, 0.72, 0.74), (0.75, 0.76, 0.78), 0.55, (0.22, 0.22, 0.22)
        fog = (8.0, float(rng.uniform(60.0, 130.0)))
    walls = [(0.62, 0.4, 0.32), (0.7, 0.66, 0.56), (0.5, 0.52, 0.58), (0.76, 0.74, 0.7)][rng.integers(4)]
    colours = {
        "asphalt": (grey, grey, grey * 1.04),
        "marks": (0.95, 0.95, 0.93),
        "divider": (0.95, 0.78, 0.15),
        "kerb": (0.62, 0.61, 0.58),
        "barrier": (0.72, 0.73, 0.75) if rng.random() < 0.6 else (0.75, 0.45, 0.4),
        "foliage": tuple(np.clip(grass * 0.62 * jitter, 0, 1)),
        "trunk": (0.36, 0.28, 0.2),
        "building": walls,
    }
    return Look(light, sky_top, sky_low, ambient, sun, *fog, tuple(np.clip(grass * jitter, 0, 1)), colours)


def draw_slots(rng: np.random.Generator, layout: RoadLayout) -> Slots:
    """Draw all scenery of a road: woods, villages and open fields follow one another, moderately sparse."""
    n = int(layout.line.length_m // SLOT_M)
    mixes = np.array([[0.55, 0.1, 0.0, 0.35], [0.15, 0.65, 0.05, 0.15], [0.35, 0.2, 0.3, 0.15], [0.4, 0.45, 0.1, 0.05]])
    biome = np.repeat(rng.integers(0, len(mixes), size=n // 12 + 1), 12)[:n]
    columns: list[list[Array]] = [[], [], [], []]
    for side in (1.0, -1.0):
        cumulative = np.cumsum(mixes[biome], axis=1)
        kind = (rng.random(n)[:, None] > cumulative).sum(axis=1)
        kind = np.select([kind == 0, kind == 1, kind == 2], [0, 1, 3], 2)
        edge = layout.left_edge_m if side > 0 else -layout.right_edge_m
        away = np.where(kind == 2, 1.4, np.where(kind == 3, rng.uniform(12, 20, n), rng.uniform(3.0, 11.0, n)))
        s = (np.arange(n) + 0.5) * SLOT_M + np.where(kind == 2, 0.0, rng.uniform(-4, 4, n))
        for column, value in zip(columns, (s, side * (edge + away), kind, rng.uniform(0.75, 1.35, n)), strict=True):
            column.append(value)
    s, d, kind, size = (np.concatenate(c) for c in columns)
    return Slots(s, d, kind.astype(np.int64), size)


def quads(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Triangles (2 n, 3, 3) of quads with corners (n, 3) in counter-clockwise order seen from outside."""
    return np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


def _edge(line: Polyline, s: Array, d_m: float, z_m: float) -> Array:
    return np.concatenate([line.point(s, np.full_like(s, d_m)), np.full((len(s), 1), z_m)], axis=1)


def _ribbon(line: Polyline, s: Array, left: tuple[float, float], right: tuple[float, float]) -> Array:
    """A strip between two edges (d, z), its face to the left of the direction right -> left seen along the road."""
    near_l, near_r = _edge(line, s, *left), _edge(line, s, *right)
    return quads(near_r[:-1], near_r[1:], near_l[1:], near_l[:-1])


def _dashes(line: Polyline, starts: Array, d_m: float, half_m: float, z_m: float) -> Array:
    near, far = starts, starts + DASH_M
    return quads(
        *(_edge(line, s, d_m + o, z_m) for s, o in ((near, -half_m), (far, -half_m), (far, half_m), (near, half_m)))
    )


def prism(centre: Array, heading: Array, half: Array, z0: Array, z1: Array, taper: float = 1.0) -> Array:
    """Boxes (n,) with half sizes (n, 2) from z0 to z1, the top scaled by `taper` (0 makes a pyramid)."""
    cos, sin = np.cos(heading), np.sin(heading)
    corners = []
    for sx, sy in ((1, -1), (1, 1), (-1, 1), (-1, -1)):
        u, v = sx * half[:, 0], sy * half[:, 1]
        corners.append(np.stack([u * cos - v * sin, u * sin + v * cos], axis=1))
    low = [np.concatenate([centre + c, z0[:, None]], axis=1) for c in corners]
    top = [np.concatenate([centre + taper * c, z1[:, None]], axis=1) for c in corners]
    sides = [quads(low[i], low[(i + 1) % 4], top[(i + 1) % 4], top[i]) for i in range(4)]
    lid = [quads(*top)] if taper > 0 else []
    return np.concatenate(sides + lid)


def build_window(layout: RoadLayout, slots: Slots, s_m: float) -> dict[str, Array]:
    """Triangles (n, 3, 3) in world coordinates of every scenery mesh around road position `s_m`."""
    line, low, high = layout.line, s_m - WINDOW_BEHIND_M, s_m + WINDOW_AHEAD_M
    s = np.arange(low, high + 1e-6, 5.0)
    right, left = layout.right_edge_m, layout.left_edge_m
    parts: dict[str, list[Array]] = {name: [] for name in MESHES}
    parts["asphalt"].append(_ribbon(line, s, (left, 0.0), (right, 0.0)))
    dashes = np.arange(np.ceil(low / DASH_PERIOD_M), high // DASH_PERIOD_M) * DASH_PERIOD_M
    inner = [layout.lane_centre_m(i) + layout.lane_width_m / 2 for i in range(layout.num_lanes - 1)]
    inner += [j * layout.lane_width_m for j in range(1, layout.num_oncoming)]
    for d in inner:
        parts["marks"].append(_dashes(line, dashes, d, 0.1, 0.02))
    solid = [-layout.num_lanes * layout.lane_width_m + 0.05, layout.num_oncoming * layout.lane_width_m - 0.05]
    for d in solid if layout.num_oncoming else solid[:1]:
        parts["marks"].append(_ribbon(line, s, (d + 0.1, 0.02), (d - 0.1, 0.02)))
    # The line on the left is yellow: it parts the directions, or ends the carriageway.
    for d in (-0.2, 0.2) if layout.num_oncoming else (-0.05,):
        parts["divider"].append(_ribbon(line, s, (d + 0.09, 0.02), (d - 0.09, 0.02)))
    for edge, sign, barrier in ((right, -1.0, layout.right_barrier), (left, 1.0, layout.left_barrier)):
        if barrier:
            parts["barrier"].append(_wall(line, s, edge, sign, 0.4, 0.85))
        elif layout.kerb:
            parts["kerb"].append(_wall(line, s, edge, sign, 0.35, 0.14))
    near = (slots.s_m > low) & (slots.s_m < high)
    _add_scenery(parts, line, slots, near)
    return {name: np.concatenate(p) if p else np.zeros((0, 3, 3)) for name, p in parts.items()}


def _wall(line: Polyline, s: Array, edge_m: float, sign: float, thick_m: float, height_m: float) -> Array:
    """A wall outside an edge of the road: both faces and the top."""
    lo, hi = sorted((edge_m, edge_m + sign * thick_m))
    right_face = _ribbon(line, s, (lo, height_m), (lo, 0.0))
    left_face = _ribbon(line, s, (hi, 0.0), (hi, height_m))
    return np.concatenate([right_face, left_face, _ribbon(line, s, (hi, height_m), (lo, height_m))])


def _add_scenery(parts: dict[str, list[Array]], line: Polyline, slots: Slots, near: NDArray[np.bool_]) -> None:
    for kind in (1, 2, 3):
        pick = near & (slots.kind == kind)
        n, size, s = int(pick.sum()), slots.size[pick], slots.s_m[pick]
        if n == 0:
            continue
        xy, heading, zero = line.point(s, slots.d_m[pick]), line.heading(s), np.zeros(n)
        if kind == 1:
            crown = np.stack([1.5 * size, 1.5 * size], axis=1)
            parts["foliage"].append(prism(xy, heading + 0.6, crown, 1.4 * size, 6.0 * size, taper=0.0))
            stem = np.full((n, 2), 0.22)
            parts["trunk"].append(prism(xy, heading, stem, zero, 1.6 * size)[: 8 * n])
        elif kind == 2:
            parts["trunk"].append(prism(xy, heading, np.full((n, 2), 0.12), zero, zero + 6.0))
        else:
            half = np.stack([5.0 * size, 3.5 * size], axis=1)
            parts["building"].append(prism(xy, heading, half, zero, 5.0 * size))


def write_window(model: mujoco.MjModel, triangles: dict[str, Array], capacities: Mapping[str, int]) -> None:
    """Put scenery triangles and their face normals into the model's meshes; the renderer uploads them."""
    for name, tri in triangles.items():
        capacity = capacities[name]
        if len(tri) > capacity:
            raise ValueError(f"scenery mesh {name!r} needs {len(tri)} triangles and holds {capacity}")
        mesh = model.mesh(name)
        lo, n = int(mesh.vertadr[0]), 3 * capacity
        vertex = np.zeros((n, 3))
        vertex[: 3 * len(tri)] = tri.reshape(-1, 3)
        normal = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        model.mesh_vert[lo : lo + n] = vertex
        at = int(model.mesh_normaladr[mesh.id])
        model.mesh_normal[at : at + n] = 0.0
        model.mesh_normal[at : at + 3 * len(tri)] = np.repeat(normal, 3, axis=0)
