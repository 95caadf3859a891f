"""Transition shapes: how a speed or a lateral offset goes from one value to another, over time or distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lxml import etree

from simworld.readers.notes import Notes
from simworld.readers.xml import number, where, word

SHAPES = ("linear", "cubic", "sinusoidal", "step")
DIMENSIONS = ("time", "rate", "distance")


@dataclass(frozen=True)
class Dynamics:
    """A <...Dynamics> element: `value` is seconds, metres, or the greatest change per second, by `dimension`."""

    shape: str
    dimension: str
    value: float

    def extent(self, change: float) -> float:
        """Seconds (metres with dimension distance) that a change by this much takes; 0 for a step."""
        if self.shape == "step":
            return 0.0
        if self.dimension != "rate":
            return abs(self.value)
        return self.peak * abs(change) / abs(self.value) if self.value else 0.0

    @property
    def peak(self) -> float:
        """The greatest slope of the shape over its mean slope."""
        return {"linear": 1.0, "cubic": 1.5, "sinusoidal": math.pi / 2, "step": 1.0}[self.shape]

    def fraction(self, progress: float) -> float:
        """How much of the change is done (0 to 1) when `progress` (0 to 1) of the extent is."""
        p = min(max(progress, 0.0), 1.0)
        if self.shape == "linear":
            return p
        if self.shape == "cubic":
            return p * p * (3 - 2 * p)
        return (1 - math.cos(math.pi * p)) / 2 if self.shape == "sinusoidal" else 1.0


STEP = Dynamics("step", "time", 0.0)


def parse_dynamics(element: etree._Element | None, notes: Notes) -> Dynamics:
    """Dynamics of an action; a step where the element is missing. ValueError for shapes and dimensions unknown."""
    if element is None:
        return STEP
    shape, dimension = word(element, "dynamicsShape"), word(element, "dynamicsDimension", "time")
    if shape not in SHAPES:
        raise ValueError(f"{where(element)} has the shape {shape!r}; known are {', '.join(SHAPES)}")
    if dimension not in DIMENSIONS:
        raise ValueError(f"{where(element)} has the dimension {dimension!r}; known are {', '.join(DIMENSIONS)}")
    if element.get("followingMode", "position") != "position":
        notes.add("followingMode", element.sourceline, "the transition is followed exactly")
    return Dynamics(shape, dimension, number(element, "value", 0.0))
