"""Paths on the tabletop: a shortest way for a disc between round obstacles, on a grid."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

CELL_M = 0.02
LOW_M = np.array([0.22, -0.38])
REACH_LOW_M, REACH_HIGH_M = np.array([0.24, -0.36]), np.array([0.74, 0.36])  # of the env's pusher
SHAPE = (27, 39)  # cells in x and y: up to 0.76 m away and 0.40 m to the left
BLOCKED_COST = 40.0  # finite, so that there always is a path, if need be through an obstacle


class Circles(NamedTuple):
    """Round obstacles that a point must stay out of: centre_m (n, 2), radius_m (n,)."""

    centre_m: NDArray[Any]
    radius_m: NDArray[Any]


class _Grid(NamedTuple):
    centre_m: NDArray[np.float64]  # (cells, 2)
    tail: NDArray[np.int64]  # (edges,)
    head: NDArray[np.int64]
    length: NDArray[np.float64]


@cache
def _grid() -> _Grid:
    index = np.arange(SHAPE[0] * SHAPE[1]).reshape(SHAPE)
    rows, columns = np.indices(SHAPE)
    centre = LOW_M + CELL_M * (np.stack([rows, columns], -1).reshape(-1, 2) + 0.5)
    tails, heads, lengths = [], [], []
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        here = index[: SHAPE[0] - dx, max(0, -dy) : SHAPE[1] - max(0, dy)].ravel()
        there = index[dx:, max(0, dy) : SHAPE[1] + min(0, dy)].ravel()
        tails += [here, there]
        heads += [there, here]
        lengths.append(np.full(2 * len(here), np.hypot(dx, dy)))
    return _Grid(centre, np.concatenate(tails), np.concatenate(heads), np.concatenate(lengths))


def is_clear(start_m: NDArray[Any], end_m: NDArray[Any], circles: Circles) -> bool:
    """Whether the straight line between two points stays out of every circle."""
    along = end_m - start_m
    square = max(float(along @ along), 1e-12)
    share = np.clip((circles.centre_m - start_m) @ along / square, 0.0, 1.0)
    nearest = start_m + share[:, None] * along
    return bool((np.linalg.norm(circles.centre_m - nearest, axis=1) >= circles.radius_m).all())


def next_waypoint(start_m: NDArray[Any], end_m: NDArray[Any], circles: Circles, edge_m: float = 0.0) -> NDArray[Any]:
    """The furthest point (2,) of a shortest way from start to end that is in sight of the start.

    The way keeps out of the circles and, except where it starts or ends there, `edge_m` off the edge of the reach.
    """
    if is_clear(start_m, end_m, circles):
        return end_m
    grid = _grid()
    gap = np.linalg.norm(grid.centre_m[:, None] - circles.centre_m, axis=2) - circles.radius_m
    to_edge = np.minimum(grid.centre_m - REACH_LOW_M, REACH_HIGH_M - grid.centre_m).min(axis=1) - edge_m
    nearest = np.minimum(gap.min(axis=1, initial=1.0), to_edge)
    # Cells close to an obstacle cost a little more, which keeps the way off its edge where there is room.
    cost = 1.0 + np.where(nearest < 0.0, BLOCKED_COST, np.clip(0.02 - nearest, 0.0, 0.02) / 0.02)
    cells = len(grid.centre_m)
    graph = csr_matrix((grid.length * (cost[grid.tail] + cost[grid.head]), (grid.tail, grid.head)), (cells, cells))
    _, previous = dijkstra(graph, indices=_cell(end_m), return_predecessors=True)
    return _furthest_in_sight(start_m, end_m, previous, circles)


def _furthest_in_sight(
    start_m: NDArray[Any], end_m: NDArray[Any], previous: NDArray[Any], circles: Circles
) -> NDArray[Any]:
    """Follow the tree of shortest ways, rooted at the end, from the start's cell."""
    cell, goal = _cell(start_m), _cell(end_m)
    # An obstacle that the start is already inside of can't be in the way of leaving it.
    outside = np.linalg.norm(circles.centre_m - start_m, axis=1) > circles.radius_m
    ahead = Circles(circles.centre_m[outside], circles.radius_m[outside])
    way = []
    while cell != goal and previous[cell] >= 0:
        cell = int(previous[cell])
        way.append(_grid().centre_m[cell])
    if not way:
        return end_m
    for i in range(len(way) - 1, 1, -1):
        if outside.all() and is_clear(start_m, way[i], ahead):
            return way[i]
    return way[min(1, len(way) - 1)]


def _cell(point_m: NDArray[Any]) -> int:
    row, column = np.clip(((point_m - LOW_M) / CELL_M).astype(int), 0, np.array(SHAPE) - 1)
    return int(row * SHAPE[1] + column)
