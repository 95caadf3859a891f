"""Looks up whether a place of a scenario lies beside all of its lanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from simworld.scenario import Lane

Array = NDArray[np.float64]

SAMPLE_M = 2.0
OFF_ROAD_M = 0.5  # beyond the edge of every lane


class LaneIndex:
    """Points along lanes and half their width there, in a search tree; places are relative to `origin_m`."""

    def __init__(self, lanes: Sequence[Lane], origin_m: Array) -> None:
        points, halves = [], []
        for lane in lanes:
            arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(lane.centre, axis=0), axis=1))])
            s = np.linspace(0.0, arc[-1], max(2, int(arc[-1] / SAMPLE_M) + 1))
            points.append(np.stack([np.interp(s, arc, lane.centre[:, k]) for k in (0, 1)], axis=1) - origin_m)
            halves.append(0.5 * np.interp(s, arc, lane.width_m))
        self._tree = cKDTree(np.concatenate(points)) if points else None
        self._half_m = np.concatenate(halves) if halves else np.zeros(0)

    def beside(self, place_m: Array) -> bool:
        """Whether a place (2,) is further from every lane than its edge; False where there are no lanes."""
        if self._tree is None:
            return False
        distance, row = self._tree.query(place_m, k=min(16, len(self._half_m)))
        reach = np.hypot(self._half_m[row] + OFF_ROAD_M, SAMPLE_M / 2)
        return bool((np.atleast_1d(distance) > np.atleast_1d(reach)).all())
