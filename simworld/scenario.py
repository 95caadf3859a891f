"""Scenario: a road, the actors on it with their tracks or behaviours, and where the ego starts.

One frame of reference: metres, x east, y north (left of x), headings in radians counter-clockwise from x,
times in seconds from the scenario's start. Readers convert into it; every world replays from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from simworld.shapes import expect

ACTOR_CLASSES = ("car", "van", "bus", "truck", "tank", "motorcycle", "cyclist", "pedestrian", "static")
ActorClass = Literal["car", "van", "bus", "truck", "tank", "motorcycle", "cyclist", "pedestrian", "static"]


@dataclass(frozen=True)
class Body:
    """Size and mass of an actor; the box is centred on the actor's position."""

    length_m: float
    width_m: float
    height_m: float
    mass_kg: float


ROAD_USERS: tuple[ActorClass, ...] = ("car", "van", "bus", "truck", "tank", "motorcycle", "cyclist", "pedestrian")
# How fast they go in constructed conflicts; others go as fast as the conflict has it.
CONFLICT_SPEED_MPS = {"tank": 15.0, "bus": 22.0, "truck": 22.0, "cyclist": 6.0, "pedestrian": 2.0}


# Typical sizes and kerb masses; the tank is a Leopard 2 without its gun.
BODIES: dict[str, Body] = {
    "car": Body(4.5, 1.8, 1.5, 1500.0),
    "van": Body(5.5, 2.0, 2.3, 2500.0),
    "bus": Body(12.0, 2.55, 3.1, 13000.0),
    "truck": Body(9.0, 2.5, 3.4, 16000.0),
    "tank": Body(7.7, 3.7, 2.6, 50000.0),
    "motorcycle": Body(2.2, 0.8, 1.5, 280.0),
    "cyclist": Body(1.8, 0.6, 1.7, 90.0),
    "pedestrian": Body(0.5, 0.6, 1.75, 75.0),
    "static": Body(1.0, 1.0, 1.0, 500.0),
}


@dataclass(frozen=True)
class Track:
    """Where an actor is over time: t_s (n,) rising, pose (n, 3) [x_m, y_m, heading_rad], speed_mps (n,)."""

    t_s: NDArray[np.float64]
    pose: NDArray[np.float64]
    speed_mps: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = expect(self.t_s, "n", name="track t_s")["n"]
        expect(self.pose, "n 3", name="track pose", n=n)
        expect(self.speed_mps, "n", name="track speed_mps", n=n)
        if n == 0 or (np.diff(self.t_s) <= 0).any():
            raise ValueError("a track needs at least one sample and times that rise")

    def at(self, t_s: float) -> NDArray[np.float64]:
        """[x_m, y_m, heading_rad, speed_mps] at a time, linear between samples, held at both ends."""
        heading = np.unwrap(self.pose[:, 2])
        columns = (self.pose[:, 0], self.pose[:, 1], heading, self.speed_mps)
        return np.array([np.interp(t_s, self.t_s, c) for c in columns])

    def sample(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """`at` for many times (n,): (n, 4)."""
        heading = np.unwrap(self.pose[:, 2])
        columns = (self.pose[:, 0], self.pose[:, 1], heading, self.speed_mps)
        return np.stack([np.interp(t_s, self.t_s, c) for c in columns], axis=1)

    def covers(self, t_s: float) -> bool:
        """Whether the source has the actor at this time; outside, the actor is not there."""
        return bool(self.t_s[0] - 1e-9 <= t_s <= self.t_s[-1] + 1e-9)


@dataclass(frozen=True)
class ScenarioActor:
    """One road user. It follows `track` where given, else `behaviour` from its start pose.

    With a track it exists only while the track covers the time. `behaviour` names its ``kind``:
    ``parked`` (it stands where it starts), ``storyboard`` (``actions``: what a scenario made it do and when),
    ``route`` (``waypoints`` [[x_m, y_m], ...] and a ``goal``) or ``start`` (the source says where it starts, and
    where it shall go if ``goal`` is there, but not how it moves). The last two wait for a policy:
    until one drives them they are not there.
    """

    id: str
    kind: ActorClass
    body: Body
    start: tuple[float, float, float]  # x_m, y_m, heading_rad
    speed_mps: float = 0.0
    track: Track | None = None
    behaviour: dict[str, Any] = field(default_factory=dict)

    @property
    def needs_policy(self) -> bool:
        """Whether the source leaves open how this actor moves."""
        return self.track is None and self.behaviour.get("kind") in ("route", "start")

    def present(self, t_s: float) -> bool:
        """Whether the source puts this actor on the road at this time."""
        return not self.needs_policy and (self.track is None or self.track.covers(t_s))


@dataclass(frozen=True)
class Lane:
    """A strip of road: centre line (n, 2) in m, in driving direction, and its width (n,) in m."""

    id: str
    centre: NDArray[np.float64]
    width_m: NDArray[np.float64]
    kind: str = "driving"  # driving, shoulder, sidewalk, biking, parking, border, other
    left_mark: str = "none"  # solid, broken, none
    right_mark: str = "none"
    speed_limit_mps: float | None = None
    successors: tuple[str, ...] = ()
    left: str = ""  # the lane beside that runs the same way, where there is one
    right: str = ""


@dataclass(frozen=True)
class Road:
    """Lanes, by id unique."""

    lanes: tuple[Lane, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Signal:
    """A traffic sign or light; `pose` (x_m, y_m, heading_rad) heads with the traffic that it is meant for."""

    id: str
    kind: str
    pose: tuple[float, float, float]
    value: float | None = None
    dynamic: bool = False  # a light that changes, rather than a sign


@dataclass(frozen=True)
class SourceEvent:
    """Something the source says happens, e.g. a trigger that starts an action."""

    t_s: float | None
    name: str
    actor: str = ""


@dataclass(frozen=True)
class Unsupported:
    """An element of a source that a reader could not honour, and what it did instead."""

    element: str
    line: int | None
    instead: str


@dataclass(frozen=True)
class Scenario:
    """A road, its actors (the ego among them) and what the source says happens."""

    name: str
    road: Road
    actors: tuple[ScenarioActor, ...]
    ego_id: str
    duration_s: float
    dt_s: float = 0.1
    events: tuple[SourceEvent, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()
    source: str = ""
    signals: tuple[Signal, ...] = ()

    def __post_init__(self) -> None:
        ids = [a.id for a in self.actors]
        if len(set(ids)) != len(ids):
            raise ValueError("two actors of the scenario have the same id")
        if self.ego_id and self.ego_id not in ids:
            raise ValueError(f"the ego {self.ego_id!r} is not among the scenario's actors")

    def actor(self, actor_id: str) -> ScenarioActor:
        """The actor with this id; ValueError naming the nearest ids where there is none."""
        for actor in self.actors:
            if actor.id == actor_id:
                return actor
        near = get_close_matches(actor_id, [a.id for a in self.actors]) or [a.id for a in self.actors][:5]
        raise ValueError(f"the scenario has no actor {actor_id!r}; did you mean {', '.join(near)}?")
