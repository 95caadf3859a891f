"""Changes to a scenario's other actors: `actor.NAME.brake=6`, `actor.NAME.class=tank`, and grids of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from simworld.replay.guides import Deviation, deviated
from simworld.scenario import ACTOR_CLASSES, BODIES, Scenario, ScenarioActor

WHAT = ("brake", "speed", "class", "mass")
MOST = 1e6  # of any number in a change, and far above any that makes sense
MAX_GRID = 200


@dataclass(frozen=True)
class Change:
    """One change of one actor: `brake` in m/s2, `speed` in m/s, `mass` in kg, or its `class`."""

    actor: str
    what: str
    value: str

    @property
    def text(self) -> str:
        return f"{self.actor}.{self.what}={self.value}"

    def __post_init__(self) -> None:
        if self.what not in WHAT:
            near = get_close_matches(self.what, WHAT, n=2) or list(WHAT)
            raise ValueError(f"an actor's {self.what!r} can not be changed; use {', '.join(near)}")
        if self.what == "class":
            if self.value not in ACTOR_CLASSES:
                near = get_close_matches(self.value, ACTOR_CLASSES, n=3) or list(ACTOR_CLASSES)
                raise ValueError(f"there is no class {self.value!r} of actors; use {', '.join(near)}")
        elif not 0 <= self.number <= MOST or (self.what == "mass" and self.number == 0):
            raise ValueError(f"{self.text}: give a number from 0 to {MOST:g}, and a mass above 0")

    @property
    def number(self) -> float:
        """The value as a number; ValueError where it is none."""
        try:
            number = float(self.value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{self.text} needs a number, e.g. actor.{self.actor}.{self.what}=6")
        return number


def parse_change(text: str) -> Change:
    """`actor.NAME.WHAT=VALUE`; NAME may hold dots."""
    key, equals, value = text.partition("=")
    head, _, rest = key.partition(".")
    name, _, what = rest.rpartition(".")
    if head != "actor" or not (equals and name and what and value):
        raise ValueError(f"{text!r} is no change of an actor; write it like actor.lead.brake=6")
    return Change(name, what, value)


def parse_sweep(text: str) -> list[Change]:
    """`actor.NAME.WHAT=[V,V,...]` as one change per value."""
    key, _, values = text.partition("=")
    if not (values.startswith("[") and values.endswith("]")):
        raise ValueError(f"{text!r} is no sweep; write it like sweep.actor.lead.brake=[2,4,6,8]")
    parts = [v.strip() for v in values[1:-1].split(",") if v.strip()]
    if not parts:
        raise ValueError(f"{text!r} has no values to sweep over")
    return [parse_change(f"{key}={value}") for value in parts]


def grid(sweeps: Sequence[Sequence[Change]]) -> list[tuple[Change, ...]]:
    """Every combination of one change from each sweep."""
    num = math.prod(map(len, sweeps))
    if num > MAX_GRID:
        raise ValueError(f"the sweeps make {num} combinations, more than {MAX_GRID}; give fewer values")
    return list(itertools.product(*sweeps))


def find_actor(scenario: Scenario, name: str) -> ScenarioActor:
    """The actor by its id, or by one that differs in case alone; ValueError naming the nearest."""
    folded = [a for a in scenario.actors if a.id.casefold() == name.casefold()]
    exact = [a for a in folded if a.id == name]
    return (exact or folded)[0] if exact or len(folded) == 1 else scenario.actor(name)


def changed(scenario: Scenario, changes: Sequence[Change], at_s: float, duration_s: float) -> Scenario:
    """The scenario with its actors changed from `at_s` on; an actor's new body is there from the start."""
    actors = {a.id: a for a in scenario.actors}
    for change in changes:
        actor = actors[find_actor(scenario, change.actor).id]
        if actor.id == scenario.ego_id and change.what in ("brake", "speed"):
            raise ValueError(f"{actor.id} is the ego: drive it with action=brake or policy=NAME instead")
        actors[actor.id] = _changed(actor, change, at_s, duration_s)
    return replace(scenario, actors=tuple(actors.values()))


def _changed(actor: ScenarioActor, change: Change, at_s: float, duration_s: float) -> ScenarioActor:
    if change.what == "class":
        kind = next(k for k in ACTOR_CLASSES if k == change.value)
        return replace(actor, kind=kind, body=BODIES[kind])  # type: ignore[arg-type]
    if change.what == "mass":
        return replace(actor, body=replace(actor.body, mass_kg=change.number))
    if actor.track is None or not actor.track.covers(at_s):
        raise ValueError(f"actor {actor.id} does not move at {at_s:g} s, so its speed can not be changed then")
    if change.what == "brake":
        deviation = Deviation(actor.id, at_s, brake_mps2=change.number)
    else:
        deviation = Deviation(actor.id, at_s, speed_mps=change.number)
    return deviated(actor, deviation, duration_s)


def same_bodies(a: Scenario, b: Scenario) -> bool:
    """Whether the same rig shows both."""
    return [(x.kind, x.body) for x in a.actors] == [(x.kind, x.body) for x in b.actors]


def led_anew(before: Scenario, after: Scenario) -> list[str]:
    """Actors whose track a change replaced."""
    return [b.id for a, b in zip(before.actors, after.actors, strict=True) if a.track is not b.track]
