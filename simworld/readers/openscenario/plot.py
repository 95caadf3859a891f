"""Builds the storyboard machine from a scenario's <Storyboard> element."""

from __future__ import annotations

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.openscenario.action import Action
from simworld.readers.openscenario.actions import parse_global, parse_private
from simworld.readers.openscenario.elements import Act, ActionRun, Clock, Element, Event, Group
from simworld.readers.openscenario.storyboard import Storyboard
from simworld.readers.openscenario.triggers import parse_trigger
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import flag, number, where, word

PRIORITIES = ("overwrite", "override", "parallel", "skip")
MOST = 1_000_000


def build_storyboard(element: etree._Element, world: World) -> Storyboard:
    """The storyboard ready to step, with `world` as its stage; ValueError where it makes no sense."""
    if sum(1 for _ in element.iter("Event", "Action", "Condition")) > LIMITS.storyboard_elements:
        raise ValueError(f"the storyboard has more than {LIMITS.storyboard_elements} events, actions and conditions")
    clock = Clock()
    stories = [_story(e, world, clock) for e in element.iterfind("Story")]
    storyboard = Storyboard(stories, parse_trigger(element.find("StopTrigger"), world), clock)
    for condition in element.iter("StoryboardElementStateCondition"):
        name = word(condition, "storyboardElementRef")
        if not storyboard.knows(name):
            world.notes.add(f"storyboardElementRef {name}", condition.sourceline, "no such element: never holds")
    return storyboard


def init_actions(element: etree._Element, world: World) -> list[tuple[Entity | None, Action, int | None]]:
    """The actions of <Init>, global ones first, with their lines."""
    actions: list[tuple[Entity | None, Action, int | None]] = []
    for found in element.iterfind("Init/Actions/GlobalAction"):
        actions += [(None, action, found.sourceline) for action in parse_global(found, world)]
    for found in element.iterfind("Init/Actions/UserDefinedAction"):
        world.notes.add("UserDefinedAction", found.sourceline, "ignored")
    for private in element.iterfind("Init/Actions/Private"):
        name = word(private, "entityRef")
        if name not in world.entities:
            raise ValueError(f"{where(private)} refers to the entity {name!r}, which does not exist")
        for found in private.iterfind("PrivateAction"):
            actions += [(world.entities[name], a, found.sourceline) for a in parse_private(found, world)]
    return actions


def _story(element: etree._Element, world: World, clock: Clock) -> Group:
    acts: list[Element] = [_act(e, world, clock) for e in element.iterfind("Act")]
    return Group("story", word(element, "name", "story"), clock, acts)


def _act(element: etree._Element, world: World, clock: Clock) -> Act:
    return Act(
        word(element, "name", "act"),
        clock,
        [_maneuver_group(e, world, clock) for e in element.iterfind("ManeuverGroup")],
        parse_trigger(element.find("StartTrigger"), world),
        parse_trigger(element.find("StopTrigger"), world),
    )


def _maneuver_group(element: etree._Element, world: World, clock: Clock) -> Group:
    actors = element.find("Actors")
    names = [] if actors is None else [word(e, "entityRef") for e in actors.iterfind("EntityRef")]
    if actors is not None and flag(actors, "selectTriggeringEntities"):
        world.notes.add("selectTriggeringEntities", actors.sourceline, "only the entities listed act")
    for name in names:
        if name not in world.entities:
            raise ValueError(f"{where(element)} names the actor {name!r}, which does not exist")
    maneuvers: list[Element] = []
    for maneuver in element.iterfind("Maneuver"):
        events: list[Element] = [_event(e, names, world, clock) for e in maneuver.iterfind("Event")]
        maneuvers.append(Group("maneuver", word(maneuver, "name", "maneuver"), clock, events))
    return Group("maneuvergroup", word(element, "name", "group"), clock, maneuvers, _most(element))


def _event(element: etree._Element, actors: list[str], world: World, clock: Clock) -> Event:
    priority = word(element, "priority", "parallel")
    if priority not in PRIORITIES:
        raise ValueError(f"{where(element)} has the priority {priority!r}; known are {', '.join(PRIORITIES)}")
    runs = []
    for found in element.iterfind("Action"):
        pairs: list[tuple[Entity | None, Action]] = []
        for private in found.iterfind("PrivateAction"):
            for name in actors:
                pairs += [(world.entities[name], action) for action in parse_private(private, world)]
        for common in found.iterfind("GlobalAction"):
            pairs += [(None, action) for action in parse_global(common, world)]
        for own in found.iterfind("UserDefinedAction"):
            world.notes.add("UserDefinedAction", own.sourceline, "ignored")
        runs.append(ActionRun(word(found, "name", "action"), clock, pairs))
    trigger = parse_trigger(element.find("StartTrigger"), world)
    return Event(word(element, "name", "event"), clock, runs, trigger, priority, _most(element), actors)


def _most(element: etree._Element) -> int:
    return int(number(element, "maximumExecutionCount", 1.0, lowest=0, highest=MOST))
