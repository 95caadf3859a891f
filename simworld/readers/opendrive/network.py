"""OpenDRIVE's nouns: roads of lane sections along a reference line, joined by links and junctions."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simworld.readers.opendrive.geometry import Floats, Geometry

TABLE_STEP_M = 0.5  # the chord of a 10 m radius departs by 3 mm over such a step


class Pose(NamedTuple):
    """A place in the world: metres and radians, counter-clockwise from x."""

    x_m: float
    y_m: float
    heading_rad: float


class LaneKey(NamedTuple):
    """Names a lane of one lane section; `lane` is OpenDRIVE's id, positive left of the reference line."""

    road: str
    section: int
    lane: int


@dataclass(frozen=True)
class Profile:
    """Piecewise cubics over distance: record i holds from starts[i] on, a + b ds + c ds² + d ds³."""

    starts: tuple[float, ...] = ()
    coefficients: tuple[tuple[float, float, float, float], ...] = ()

    def at(self, distance_m: float) -> float:
        """Value at one distance; 0 without records, the first record's before its start."""
        if not self.starts:
            return 0.0
        i = max(bisect_right(self.starts, distance_m) - 1, 0)
        ds = distance_m - self.starts[i]
        a, b, c, d = self.coefficients[i]
        return a + ds * (b + ds * (c + ds * d))

    def sample(self, distance_m: Floats) -> Floats:
        """Values (n,) at distances (n,)."""
        if not self.starts:
            return np.zeros_like(distance_m)
        i = np.maximum(np.searchsorted(self.starts, distance_m, side="right") - 1, 0)
        ds = distance_m - np.asarray(self.starts)[i]
        a, b, c, d = np.asarray(self.coefficients)[i].T
        return np.asarray(a + ds * (b + ds * (c + ds * d)))


@dataclass(frozen=True)
class LaneRecord:
    """One lane of a lane section; `width` runs over the distance from the section's start."""

    lane: int
    kind: str
    width: Profile
    outer_mark: str = "none"
    speed_mps: float | None = None
    predecessor: int | None = None
    successor: int | None = None


@dataclass(frozen=True)
class Section:
    """Lanes by id (without the centre lane 0) from `s_m` to `end_m` along the road."""

    s_m: float
    end_m: float
    lanes: dict[int, LaneRecord]
    centre_mark: str = "none"


@dataclass(frozen=True)
class Link:
    """What a road end meets: a road's ``start`` or ``end``, or a junction."""

    kind: str
    id: str
    contact: str = ""


@dataclass(frozen=True)
class RoadRecord:
    """One road; `speeds` are (s_m, m/s or None) and `left_hand` is the side that traffic keeps to."""

    id: str
    name: str
    length_m: float
    junction: str
    plan: tuple[Geometry, ...]
    lane_offset: Profile
    sections: tuple[Section, ...]
    predecessor: Link | None = None
    successor: Link | None = None
    speeds: tuple[tuple[float, float | None], ...] = ()
    left_hand: bool = False

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """Reference line (n, 4) [s_m, x_m, y_m, heading_rad (continuous)] every `TABLE_STEP_M` or closer."""
        pieces = []
        for geometry, following in zip(self.plan, (*self.plan[1:], None), strict=True):
            end = following.s_m if following else self.length_m
            length = max(end - geometry.s_m, 0.0)
            ds = np.linspace(0.0, length, 2 + int(length / TABLE_STEP_M))
            pieces.append(np.column_stack([geometry.s_m + ds, geometry.at(ds)]))
        table = np.concatenate(pieces)
        table[:, 3] = np.unwrap(table[:, 3])
        keep = np.concatenate([[True], np.diff(table[:, 0]) > 1e-9])
        return np.asarray(table[keep])

    @cached_property
    def columns(self) -> tuple[list[float], list[float], list[float], list[float]]:
        """The table's columns as lists: four times faster than arrays for one point at a time."""
        s, x, y, heading = (column.tolist() for column in self.table.T)
        return s, x, y, heading

    def reference(self, s_m: float) -> Pose:
        """The reference line at s, held at both ends."""
        s, x, y, heading = self.columns
        if len(s) == 1:
            return Pose(x[0], y[0], heading[0])
        i = min(max(bisect_right(s, s_m) - 1, 0), len(s) - 2)
        f = min(max((s_m - s[i]) / (s[i + 1] - s[i]), 0.0), 1.0)
        return Pose(
            x[i] + f * (x[i + 1] - x[i]), y[i] + f * (y[i + 1] - y[i]), heading[i] + f * (heading[i + 1] - heading[i])
        )

    def curvature(self, s_m: float) -> float:
        """Turn of the reference line per metre at s, in 1/m."""
        s, _, _, heading = self.columns
        if len(s) == 1:
            return 0.0
        i = min(max(bisect_right(s, s_m) - 1, 0), len(s) - 2)
        return (heading[i + 1] - heading[i]) / (s[i + 1] - s[i])

    def pose(self, s_m: float, t_m: float) -> Pose:
        """The point t metres left of the reference line at s, heading along the road."""
        x, y, heading = self.reference(s_m)
        return Pose(x - t_m * math.sin(heading), y + t_m * math.cos(heading), heading)

    def section_at(self, s_m: float) -> int:
        """Index of the lane section that holds s."""
        starts = [section.s_m for section in self.sections]
        return max(bisect_right(starts, s_m) - 1, 0)

    def lane_span(self, section: int, lane: int, s_m: float) -> tuple[float, float]:
        """Lateral position of a lane's centre, and its width, in m at s; lane 0 is the line between both sides."""
        lanes = self.sections[section].lanes
        ds = s_m - self.sections[section].s_m
        side = 1 if lane > 0 else -1
        inner = sum(lanes[i].width.at(ds) for i in range(side, lane, side) if i in lanes) if lane else 0.0
        width = lanes[lane].width.at(ds) if lane in lanes else 0.0
        return self.lane_offset.at(s_m) + side * (inner + width / 2), width

    def limit_mps(self, s_m: float) -> float | None:
        """The road's speed limit at s, None where none is given."""
        found = None
        for start, speed in self.speeds:
            if start <= s_m + 1e-6:
                found = speed
        return found

    def runs_forward(self, lane: int) -> bool:
        """Whether traffic on this lane drives towards growing s."""
        return (lane < 0) != self.left_hand


@dataclass(frozen=True)
class Connection:
    """How a junction leads from an incoming road onto a connecting road, lane by lane."""

    incoming: str
    connecting: str
    contact: str
    lanes: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SignalRecord:
    """A sign or light beside a road at (s, t)."""

    id: str
    kind: str
    road: str
    s_m: float
    t_m: float
    forward: bool
    value: float | None
    dynamic: bool
