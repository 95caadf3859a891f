"""Storyboard conditions: what an entity, a value or the storyboard itself must do for a trigger to fire."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from lxml import etree

from simworld.readers.contacts import touching
from simworld.readers.openscenario.distances import ahead_m, aside_m, straight_m
from simworld.readers.openscenario.rules import RULES, Rule, Spot
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import child, flag, number, only_child, where, word


class ElementStates(Protocol):
    """Answers what state a storyboard element is in, or has just gone through."""

    def is_in(self, kind: str, name: str, state: str, since: int) -> bool:
        """Whether an element is in a state, or has made a transition after tick `since`."""
        ...

    def tick(self) -> int:
        """A number that grows with every transition and every call."""
        ...


Check = Callable[[World, ElementStates], bool]
EntityCheck = Callable[[World, Entity], bool]


def parse_check(condition: etree._Element, world: World) -> Check:
    """What a <Condition> asks, without its edge and delay. Kinds that can't be known here never hold, and are noted."""
    group = only_child(condition)
    if group.tag == "ByEntityCondition":
        return _by_entity(group, world)
    if group.tag == "ByValueCondition":
        thing = only_child(group)
        parse = _BY_VALUE.get(str(thing.tag))
        if parse is not None:
            return parse(thing, world)
        world.notes.add(str(thing.tag), thing.sourceline, "this condition never holds")
        return _never
    world.notes.add(str(group.tag), group.sourceline, "this condition never holds")
    return _never


def _never(world: World, states: ElementStates) -> bool:
    return False


def _by_entity(group: etree._Element, world: World) -> Check:
    triggering = child(group, "TriggeringEntities")
    names = [word(e, "entityRef") for e in triggering.iterfind("EntityRef")]
    for name in names:
        if name not in world.entities:
            raise ValueError(f"{where(triggering)} refers to the entity {name!r}, which does not exist")
    combine = all if word(triggering, "triggeringEntitiesRule", "any") == "all" else any
    thing = only_child(child(group, "EntityCondition"))
    parse = _BY_ENTITY.get(str(thing.tag))
    if parse is None:
        world.notes.add(str(thing.tag), thing.sourceline, "this condition never holds")
        return _never
    check = parse(thing, world)

    def holds(world: World, states: ElementStates) -> bool:
        # A list, so that conditions with a memory see every entity at every step.
        results = [check(world, e) for e in (world.entity(n) for n in names) if e is not None]
        return bool(results) and combine(results)

    return holds


def _other(thing: etree._Element, world: World) -> str:
    name = word(thing, "entityRef")
    if name not in world.entities:
        raise ValueError(f"{where(thing)} refers to the entity {name!r}, which does not exist")
    return name


def _system(thing: etree._Element, default: str = "entity") -> str:
    # Before 1.1, alongRoute said what coordinateSystem says now.
    return word(thing, "coordinateSystem", "road" if flag(thing, "alongRoute") else default)


def _time_headway(thing: etree._Element, world: World) -> EntityCheck:
    other, rule = _other(thing, world), Rule(thing, number(thing, "value"))
    freespace, system = flag(thing, "freespace"), _system(thing)

    def check(world: World, entity: Entity) -> bool:
        target = world.entity(other)
        if target is None or entity.speed_mps < 1e-3:
            return False
        gap = ahead_m(world, entity, target, system, freespace)
        return gap >= 0 and rule.holds(gap / entity.speed_mps, entity.name)

    return check


def _time_to_collision(thing: etree._Element, world: World) -> EntityCheck:
    rule, freespace = Rule(thing, number(thing, "value"), "lessThan"), flag(thing, "freespace")
    target = only_child(child(thing, "TimeToCollisionConditionTarget"))
    system = _system(thing)
    if target.tag == "EntityRef":
        name = _other(target, world)
        return lambda w, e: (t := w.entity(name)) is not None and _closes(w, e, t, system, freespace, rule)
    place = Spot(target)

    def check(world: World, entity: Entity) -> bool:
        there = place.at(world)
        if there is None:
            return False
        left = math.hypot(there.pose.x_m - entity.pose.x_m, there.pose.y_m - entity.pose.y_m)
        return entity.speed_mps > 1e-3 and rule.holds(left / entity.speed_mps, entity.name)

    return check


def _closes(world: World, a: Entity, b: Entity, system: str, freespace: bool, rule: Rule) -> bool:
    """Time to collision by the gap ahead and the speed at which it shrinks; undefined (False) where it does not."""
    gap = ahead_m(world, a, b, system, freespace)
    turn = b.pose.heading_rad - a.pose.heading_rad
    closing = a.speed_mps - b.speed_mps * math.cos(turn)
    if gap < 0:
        gap, closing = -gap, -closing
    return closing > 1e-3 and rule.holds(gap / closing, a.name)


def _distance(measure: str, freespace: bool, system: str) -> Callable[[World, Entity, Entity], float]:
    if measure == "longitudinal":
        return lambda w, a, b: abs(ahead_m(w, a, b, system, freespace))
    if measure == "lateral":
        return lambda w, a, b: abs(aside_m(w, a, b, system, freespace))
    return lambda w, a, b: straight_m(a, b, freespace)


def _relative_distance(thing: etree._Element, world: World) -> EntityCheck:
    other, rule = _other(thing, world), Rule(thing, number(thing, "value"))
    kind = word(thing, "relativeDistanceType")
    if kind not in ("longitudinal", "lateral", "euclidianDistance", "euclideanDistance", "cartesianDistance"):
        raise ValueError(f"{where(thing)} has the relativeDistanceType {kind!r}, which does not exist")
    measure = _distance(kind, flag(thing, "freespace"), _system(thing))
    return lambda w, e: (t := w.entity(other)) is not None and rule.holds(measure(w, e, t), e.name)


def _to_place(thing: etree._Element, world: World, holds: Callable[[float, str], bool]) -> EntityCheck:
    spot = Spot(thing)

    def check(world: World, entity: Entity) -> bool:
        there = spot.at(world)
        if there is None:
            return False
        x, y, _ = there.pose
        return holds(math.hypot(x - entity.pose.x_m, y - entity.pose.y_m), entity.name)

    return check


def _reach_position(thing: etree._Element, world: World) -> EntityCheck:
    tolerance = number(thing, "tolerance", lowest=0.0)
    return _to_place(thing, world, lambda distance, name: distance <= tolerance)


def _distance_to_place(thing: etree._Element, world: World) -> EntityCheck:
    if _system(thing) != "entity" or word(thing, "relativeDistanceType", "euclidianDistance") == "lateral":
        world.notes.add("DistanceCondition", thing.sourceline, "measured in a straight line")
    rule = Rule(thing, number(thing, "value"))
    return _to_place(thing, world, rule.holds)


def _collision(thing: etree._Element, world: World) -> EntityCheck:
    ref, kind = thing.find("EntityRef"), thing.find("ByType")
    name = None if ref is None else _other(ref, world)
    wanted = None if kind is None else word(kind, "type", "vehicle")

    def touches(entity: Entity, other: Entity) -> bool:
        if other is entity or not other.present or (name is not None and other.name != name):
            return False
        group = {"pedestrian": "pedestrian", "static": "miscellaneous"}.get(other.spec.kind, "vehicle")
        return (wanted is None or group == wanted) and touching(entity.box(), other.box())

    return lambda w, e: any(touches(e, other) for other in w.entities.values())


def _relative_speed(thing: etree._Element, world: World) -> EntityCheck:
    other, rule = _other(thing, world), Rule(thing, number(thing, "value"))
    return lambda w, e: (t := w.entity(other)) is not None and rule.holds(e.speed_mps - t.speed_mps, e.name)


def _scalar(read: Callable[[Entity], float]) -> Callable[[etree._Element, World], EntityCheck]:
    def parse(thing: etree._Element, world: World) -> EntityCheck:
        if thing.get("direction") not in (None, "longitudinal"):
            world.notes.add("direction", thing.sourceline, "the value along the heading is taken")
        rule = Rule(thing, number(thing, "value"))
        return lambda w, e: rule.holds(read(e), e.name)

    return parse


def _at_least(attribute: str, read: Callable[[Entity], float]) -> Callable[[etree._Element, World], EntityCheck]:
    def parse(thing: etree._Element, world: World) -> EntityCheck:
        least = number(thing, attribute, lowest=0.0)
        return lambda w, e: read(e) > 0 and read(e) >= least - 1e-9

    return parse


def _simulation_time(thing: etree._Element, world: World) -> Check:
    rule = Rule(thing, number(thing, "value"))
    return lambda w, s: rule.holds(w.t_s)


def _element_state(thing: etree._Element, world: World) -> Check:
    kind, name, state = (word(thing, k) for k in ("storyboardElementType", "storyboardElementRef", "state"))
    asked = 0

    def check(world: World, states: ElementStates) -> bool:
        # A transition is seen once by each condition: at the first look after it, within a step.
        nonlocal asked
        holds = states.is_in(kind, name, state, asked)
        asked = states.tick()
        return holds

    return check


def _stored(reference: str, stores: Callable[[World], dict[str, str]]) -> Callable[[etree._Element, World], Check]:
    def parse(thing: etree._Element, world: World) -> Check:
        name, value, rule = word(thing, reference), word(thing, "value", ""), word(thing, "rule", "equalTo")
        if name not in stores(world):
            world.notes.add(f"{thing.tag} {name}".strip(), thing.sourceline, "it is not declared: never holds")
            return _never
        if rule not in RULES:
            raise ValueError(f"{where(thing)} has the rule {rule!r}; known are {', '.join(RULES)}")
        return lambda w, s: _compare(stores(w).get(name, ""), value, rule)

    return parse


def _compare(now: str, value: str, rule: str) -> bool:
    try:
        return RULES[rule](float(now), float(value))
    except ValueError:
        return rule in ("equalTo", "notEqualTo") and (now == value) == (rule == "equalTo")


_BY_VALUE: dict[str, Callable[[etree._Element, World], Check]] = {
    "SimulationTimeCondition": _simulation_time,
    "StoryboardElementStateCondition": _element_state,
    "ParameterCondition": _stored("parameterRef", lambda w: w.parameters),
    "VariableCondition": _stored("variableRef", lambda w: w.variables),
}
_BY_ENTITY: dict[str, Callable[[etree._Element, World], EntityCheck]] = {
    "TimeHeadwayCondition": _time_headway,
    "TimeToCollisionCondition": _time_to_collision,
    "RelativeDistanceCondition": _relative_distance,
    "DistanceCondition": _distance_to_place,
    "ReachPositionCondition": _reach_position,
    "CollisionCondition": _collision,
    "SpeedCondition": _scalar(lambda e: e.speed_mps),
    "RelativeSpeedCondition": _relative_speed,
    "AccelerationCondition": _scalar(lambda e: e.acceleration_mps2),
    "TraveledDistanceCondition": _at_least("value", lambda e: e.travelled_m),
    "StandStillCondition": _at_least("duration", lambda e: e.still_s),
    "EndOfRoadCondition": _at_least("duration", lambda e: e.end_of_road_s),
    "OffroadCondition": _at_least("duration", lambda e: e.off_road_s),
}
