"""What conditions compare and where: rules on values that change over time, and the places they ask about."""

from __future__ import annotations

from collections.abc import Callable

from lxml import etree

from simworld.readers.openscenario.positions import Place, resolve
from simworld.readers.openscenario.world import World
from simworld.readers.xml import only_child, where, word

EQUAL = 1e-3  # how near numbers that change over time count as equal


class Rule:
    """Compares a value that changes over time; `equalTo` also holds at the step in which the value passes by."""

    def __init__(self, element: etree._Element, value: float, default: str = "greaterThan") -> None:
        self._rule = word(element, "rule", default)
        self._value = value
        self._before: dict[str, float] = {}
        if self._rule not in RULES:
            raise ValueError(f"{where(element)} has the rule {self._rule!r}; known are {', '.join(RULES)}")

    def holds(self, now: float, key: str = "") -> bool:
        before = self._before.get(key, now)
        self._before[key] = now
        if self._rule in ("equalTo", "notEqualTo"):
            equal = abs(now - self._value) <= EQUAL or (before - self._value) * (now - self._value) < 0
            return equal == (self._rule == "equalTo")
        return RULES[self._rule](now, self._value)


RULES: dict[str, Callable[[float, float], bool]] = {
    "greaterThan": lambda a, b: a > b,
    "lessThan": lambda a, b: a < b,
    "equalTo": lambda a, b: a == b,
    "greaterOrEqual": lambda a, b: a >= b,
    "lessOrEqual": lambda a, b: a <= b,
    "notEqualTo": lambda a, b: a != b,
}


class Spot:
    """A <Position> that a condition asks about: worked out once unless it moves with an entity."""

    def __init__(self, wrapper: etree._Element) -> None:
        position = wrapper.find("Position")
        self._position = wrapper if position is None else position
        self._moves = str(only_child(self._position).tag).startswith("Relative")
        self._place: Place | None = None

    def at(self, world: World) -> Place | None:
        if self._place is None or self._moves:
            try:
                self._place = resolve(self._position, world)
            except ValueError:
                if not self._moves:
                    raise
                return None
        return self._place
