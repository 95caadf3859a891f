"""The storyboard's elements: what is in which state, and which transitions it has just made."""

from __future__ import annotations

from dataclasses import dataclass, field

from simworld.readers.openscenario.action import Action
from simworld.readers.openscenario.triggers import Trigger
from simworld.readers.openscenario.world import Entity


class Clock:
    """Counts transitions and looks at them, so that it is known which came first."""

    def __init__(self) -> None:
        self.now = 0

    def tick(self) -> int:
        self.now += 1
        return self.now


@dataclass
class Element:
    """A storyboard element: its state, and at which ticks it made the transitions of this step and the one before."""

    kind: str
    name: str
    clock: Clock
    state: str = "standby"
    fresh: dict[str, int] = field(default_factory=dict)
    recent: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.state = "running"
        self.fresh["startTransition"] = self.clock.tick()

    def finish(self, transition: str, state: str = "complete") -> None:
        """Leave the running state by ``endTransition`` or ``stopTransition``."""
        self.state = state
        self.fresh[transition] = self.clock.tick()

    def made(self, transition: str, since: int) -> bool:
        """Whether it made the transition after tick `since`, in this step or the one before."""
        return max(self.fresh.get(transition, 0), self.recent.get(transition, 0)) > since

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def complete(self) -> bool:
        return self.state == "complete"


class ActionRun(Element):
    """An <Action> on all its actors; `runs` pairs each actor (None for a global action) with its own object."""

    def __init__(self, name: str, clock: Clock, runs: list[tuple[Entity | None, Action]]) -> None:
        super().__init__("action", name, clock)
        self.runs = runs
        self.active: list[tuple[Entity | None, Action]] = []


class Event(Element):
    """Runs its actions when its trigger fires, as often as it may."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        actions: list[ActionRun],
        trigger: Trigger | None,
        priority: str,
        most: int,
        actors: list[str],
    ) -> None:
        super().__init__("event", name, clock)
        self.actions = actions
        self.trigger = trigger
        self.priority = priority
        self.most = most
        self.actors = actors
        self.count = 0


class Group(Element):
    """A maneuver, maneuver group or story: running with its parent, complete when all its children are."""

    def __init__(self, kind: str, name: str, clock: Clock, children: list[Element], most: int = 1) -> None:
        super().__init__(kind, name, clock)
        self.children = children
        self.most = most
        self.count = 0


class Act(Group):
    """An act: starts and stops by its triggers."""

    def __init__(
        self, name: str, clock: Clock, children: list[Element], start: Trigger | None, stop: Trigger | None
    ) -> None:
        super().__init__("act", name, clock, children)
        self.start = start
        self.stop = stop


@dataclass
class Happening:
    """What the storyboard did, for the scenario's events: ``start``, ``end`` or ``stop`` of an act or event."""

    t_s: float
    element: str
    name: str
    what: str
    actors: tuple[str, ...] = ()


@dataclass
class Performance:
    """One action as an actor performed it."""

    actor: str
    action: Action
    start_s: float
    end_s: float | None = None


def reset(group: Group) -> None:
    """Make a group ready to run again."""
    for child in group.children:
        child.state = "standby"
        if isinstance(child, Event):
            child.count = 0
            if child.trigger is not None:
                child.trigger.reset()
            for run in child.actions:
                run.state = "standby"
        elif isinstance(child, Group):
            child.count = 0
            reset(child)
