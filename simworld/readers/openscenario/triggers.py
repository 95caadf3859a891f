"""Triggers: groups of conditions with edges and delays."""

from __future__ import annotations

from dataclasses import dataclass, field

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.openscenario.conditions import Check, ElementStates, parse_check
from simworld.readers.openscenario.world import World
from simworld.readers.xml import number, where, word

EDGES = ("none", "rising", "falling", "risingOrFalling")


@dataclass
class Condition:
    """One condition. With `latch` it stays true once it was, as CARLA's runner has it, and edges do not count."""

    check: Check
    edge: str
    delay_s: float
    latch: bool
    _before: bool | None = None  # unknown at the first look, which therefore is no edge
    _true: bool = False
    _due_s: list[float] = field(default_factory=list)

    def update(self, world: World, states: ElementStates) -> bool:
        """Whether the condition holds at this step; to be asked at every step."""
        now = self.check(world, states)
        rising, falling = now and self._before is False, self._before is True and not now
        self._before = now
        if self.latch:
            fires = now
        else:
            fires = {"none": now, "rising": rising, "falling": falling}.get(self.edge, rising or falling)
        if self.delay_s > 0:
            if fires and not (self.latch and self._due_s):
                self._due_s.append(world.t_s + self.delay_s)
            fires = bool(self._due_s) and self._due_s[0] <= world.t_s + 1e-9
            while self._due_s and self._due_s[0] <= world.t_s + 1e-9:
                self._due_s.pop(0)
        self._true = fires or (self.latch and self._true)
        return self._true

    def reset(self) -> None:
        """Forget the past, as for the first look."""
        self._before, self._true, self._due_s = None, False, []


class Trigger:
    """True when every condition of any one group holds; a trigger without groups never is."""

    def __init__(self, groups: list[list[Condition]]) -> None:
        self._groups = groups

    def fires(self, world: World, states: ElementStates) -> bool:
        """Update all conditions, so that none misses an edge, and combine them."""
        return any([bool(group) and all([c.update(world, states) for c in group]) for group in self._groups])

    def reset(self) -> None:
        """Make all conditions forget the past."""
        for group in self._groups:
            for condition in group:
                condition.reset()


def parse_trigger(element: etree._Element | None, world: World) -> Trigger | None:
    """A <StartTrigger> or <StopTrigger>; None where there is none, or one without conditions."""
    if element is None or element.find("ConditionGroup") is None:
        return None
    groups = []
    for group in element.iterfind("ConditionGroup"):
        groups.append([_condition(c, world) for c in group.iterfind("Condition")])
    return Trigger(groups)


def _condition(element: etree._Element, world: World) -> Condition:
    edge = word(element, "conditionEdge", "none")
    if edge not in EDGES:
        raise ValueError(f"{where(element)} has the edge {edge!r}; known are {', '.join(EDGES)}")
    delay = number(element, "delay", 0.0, lowest=0.0, highest=LIMITS.duration_s)
    return Condition(parse_check(element, world), edge, delay, world.carla_frame)
