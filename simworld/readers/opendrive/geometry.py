"""The curves of an OpenDRIVE reference line: line, arc, spiral, poly3 and paramPoly3, sampled along their length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simworld.readers.limits import LIMITS

Floats = NDArray[np.float64]

PARAM_COUNT = {"line": 0, "arc": 1, "spiral": 2, "poly3": 4, "paramPoly3": 9}
MAX_TURN_RAD = 200.0  # over one curve: some thirty loops, past any road
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@dataclass(frozen=True)
class Geometry:
    """One piece of a reference line, from `s_m` over `length_m`, that starts at (x_m, y_m, heading_rad).

    params  line (); arc (curvature 1/m); spiral (start and end curvature); poly3 (a, b, c, d);
            paramPoly3 (aU, bU, cU, dU, aV, bV, cV, dV, parameter at the end: the length, or 1)
    """

    kind: str
    s_m: float
    x_m: float
    y_m: float
    heading_rad: float
    length_m: float
    params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in PARAM_COUNT or len(self.params) != PARAM_COUNT[self.kind]:
            raise ValueError(f"a {self.kind!r} with {len(self.params)} parameters is no OpenDRIVE curve")
        if not 0 <= self.length_m <= LIMITS.road_length_m:
            raise ValueError(f"a road curve is {self.length_m:g} m long, outside 0 to {LIMITS.road_length_m:g}")
        if self.kind in ("arc", "spiral") and max(map(abs, self.params)) * self.length_m > MAX_TURN_RAD:
            raise ValueError(f"a road curve at s = {self.s_m:g} m turns by more than {MAX_TURN_RAD:g} rad")

    def at(self, distance_m: Floats) -> Floats:
        """Poses (n, 3) [x_m, y_m, heading_rad] at distances (n,) from this piece's start."""
        u, v, turn = _LOCAL[self.kind](distance_m, self.length_m, self.params)
        cos, sin = math.cos(self.heading_rad), math.sin(self.heading_rad)
        x = self.x_m + u * cos - v * sin
        y = self.y_m + u * sin + v * cos
        return np.stack([x, y, self.heading_rad + turn], axis=1)


Local = tuple[Floats, Floats, Floats]  # u ahead, v left, turn since the start


def _line(distance_m: Floats, length_m: float, params: tuple[float, ...]) -> Local:
    return distance_m, np.zeros_like(distance_m), np.zeros_like(distance_m)


def _arc(distance_m: Floats, length_m: float, params: tuple[float, ...]) -> Local:
    turn = params[0] * distance_m
    # sinc keeps full precision as the curvature goes to zero, where the textbook (1 - cos) / k does not.
    half = np.sinc(turn / (2 * math.pi))
    chord = distance_m * half
    return chord * np.cos(turn / 2), chord * np.sin(turn / 2), turn


def _spiral(distance_m: Floats, length_m: float, params: tuple[float, ...]) -> Local:
    """Euler spiral by Gauss-Legendre on panels of at most half a radian, exact to rounding for such panels."""
    start, end = params
    rate = (end - start) / length_m if length_m > 0 else 0.0
    panels = 1 + int(2 * max(abs(start), abs(end)) * length_m)
    edges = np.linspace(0.0, 1.0, panels + 1)
    mid, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    fraction = (mid[:, None] + half[:, None] * _NODES).ravel()
    weight = (half[:, None] * _WEIGHTS).ravel()
    at = distance_m[:, None] * fraction
    turn = start * at + rate * at**2 / 2
    u = (np.cos(turn) @ weight) * distance_m
    v = (np.sin(turn) @ weight) * distance_m
    return u, v, start * distance_m + rate * distance_m**2 / 2


def _poly3(distance_m: Floats, length_m: float, params: tuple[float, ...]) -> Local:
    """v = a + bu + cu² + du³ over u, with u found from the arc length by integrating sqrt(1 + v'²)."""
    a, b, c, d = params
    grid = np.linspace(0.0, max(length_m, 1e-9), 2 + min(20_000, int(length_m / 0.1)))
    stretch = np.hypot(1.0, b + 2 * c * grid + 3 * d * grid**2)
    arc = np.concatenate([[0.0], np.cumsum((stretch[1:] + stretch[:-1]) / 2 * np.diff(grid))])
    u = np.interp(distance_m, arc, grid)
    return u, a + u * (b + u * (c + u * d)), np.arctan(b + u * (2 * c + u * 3 * d))


def _param_poly3(distance_m: Floats, length_m: float, params: tuple[float, ...]) -> Local:
    au, bu, cu, du, av, bv, cv, dv, p_end = params
    p = distance_m * (p_end / length_m if length_m > 0 else 0.0)
    u = au + p * (bu + p * (cu + p * du))
    v = av + p * (bv + p * (cv + p * dv))
    turn = np.arctan2(bv + p * (2 * cv + p * 3 * dv), bu + p * (2 * cu + p * 3 * du))
    return u, v, np.unwrap(turn) if turn.size else turn


_LOCAL = {"line": _line, "arc": _arc, "spiral": _spiral, "poly3": _poly3, "paramPoly3": _param_poly3}
