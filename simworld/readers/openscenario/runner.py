"""Runs a storyboard in time: a kinematic world in which every entity does what it is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from lxml import etree

from simworld.readers.opendrive import Pose
from simworld.readers.openscenario.drive import DriverConfig, drive
from simworld.readers.openscenario.motion import move
from simworld.readers.openscenario.plot import build_storyboard, init_actions
from simworld.readers.openscenario.positions import NotPlacedYet
from simworld.readers.openscenario.world import Entity, World
from simworld.scenario import ScenarioActor, SourceEvent, Track

STEP_S = 0.01
CROWD = 12  # with more entities than this the clock ticks coarser, so that a crowd is still run in reasonable time
AFTERMATH_S = 5.0  # how long the world is watched after all stories have ended


@dataclass(frozen=True)
class ExternalState:
    """Where something outside the storyboard, such as a physics world, has put an entity's box centre."""

    pose: Pose
    speed_mps: float


@dataclass
class _Record:
    t_s: list[float] = field(default_factory=list)
    pose: list[Pose] = field(default_factory=list)
    speed_mps: list[float] = field(default_factory=list)


class Runner:
    """Steps the storyboard and moves the entities; what moves from outside may be handed in at each step.

    >>> runner = open_storyboard("cut-in.xosc")
    >>> while not runner.done:
    ...     runner.step(external={"Ego": ExternalState(pose, speed_mps)})
    """

    def __init__(self, storyboard: etree._Element, world: World, ego: str, driver: DriverConfig | None = None) -> None:
        self.world = world
        self.ego = ego
        self.step_s = STEP_S if len(world.entities) <= CROWD else 5 * STEP_S
        self._storyboard = build_storyboard(storyboard, world)
        self._steps = 0
        self._ended_s: float | None = None
        self._records: dict[str, _Record] = {name: _Record() for name in world.entities}
        self._run_init(storyboard)
        self._driver = (driver or DriverConfig()) if self._ego_is_left_alone(storyboard) else None

    def _run_init(self, storyboard: etree._Element) -> None:
        """Init actions, those that lean on an entity without a place put off until it has one."""
        waiting = init_actions(storyboard, self.world)
        while waiting:
            later = []
            for entity, action, line in waiting:
                try:
                    self._storyboard.run_init(self.world, entity, action)
                except NotPlacedYet:
                    later.append((entity, action, line))
            if len(later) == len(waiting):
                names = ", ".join(sorted({e.name for e, _, _ in later if e is not None}))
                raise ValueError(f"the start positions of {names} lean on each other, or on entities without one")
            waiting = later
        for entity in self.world.entities.values():
            if not entity.placed:
                self.world.notes.add(
                    f"entity {entity.name}", entity.spec.line, "it has no start position: not there unless put there"
                )

    def _ego_is_left_alone(self, storyboard: etree._Element) -> bool:
        """Whether the file hands the ego to a controller and gives it no speed, nor any action, of its own."""
        entity = self.world.entities.get(self.ego)
        if entity is None or not entity.placed or entity.speed_mps != 0:
            return False
        init = [p for p in storyboard.iterfind("Init/Actions/Private") if p.get("entityRef") == self.ego]
        handed = entity.spec.controllers or any(
            p.find(f"PrivateAction/{tag}") is not None
            for p in init
            for tag in ("ControllerAction", "ActivateControllerAction")
        )
        acts = any(e.get("entityRef") == self.ego for e in storyboard.iterfind(".//ManeuverGroup/Actors/EntityRef"))
        if handed and not acts:
            text = f"{self.ego} keeps its lane at {DriverConfig.cruise_mps:g} m/s and brakes for what is ahead"
            self.world.notes.add("external controller", entity.spec.line, text)
        return bool(handed) and not acts

    @property
    def done(self) -> bool:
        """Whether the stop trigger fired, or all stories ended a while ago."""
        if self._storyboard.stopped:
            return True
        return self._ended_s is not None and self.world.t_s > self._ended_s + AFTERMATH_S

    def step(self, external: Mapping[str, ExternalState] | None = None) -> None:
        """One time step of `step_s`; entities in `external` are put where it says and not moved otherwise."""
        world, dt_s = self.world, self.step_s
        before = {name: entity.speed_mps for name, entity in world.entities.items()}
        self._storyboard.step(world, dt_s)
        outside = external or {}
        for name, entity in world.entities.items():
            if not entity.present:
                continue
            if name in outside:
                _put(world, entity, outside[name])
            else:
                if name == self.ego and self._driver is not None:
                    drive(world, entity, dt_s, self._driver)
                move(world, entity, dt_s)
            entity.acceleration_mps2 = (entity.speed_mps - before[name]) / dt_s
            entity.off_road_s = entity.off_road_s + dt_s if entity.lane is None and entity.follower is None else 0.0
            entity.end_of_road_s += dt_s if entity.end_of_road_s > 0 else 0.0
        self._steps += 1
        world.t_s = self._steps * dt_s
        if self._ended_s is None and self._storyboard.exhausted:
            self._ended_s = world.t_s

    def run(self, dt_s: float, max_duration_s: float) -> None:
        """Step until done or `max_duration_s`, keeping every entity's state each `dt_s`."""
        every = max(round(dt_s / self.step_s), 1)
        self.record()
        while not self.done and self.world.t_s < max_duration_s - 1e-9:
            self.step()
            if self._steps % every == 0:
                self.record()
        if not self.done:
            self.world.notes.add("StopTrigger", None, f"not reached in {max_duration_s:g} s: the run ends there")

    def record(self) -> None:
        """Keep the state of every entity that is there now."""
        for name, entity in self.world.entities.items():
            if entity.present:
                record = self._records[name]
                record.t_s.append(self.world.t_s)
                record.pose.append(entity.centre())
                record.speed_mps.append(entity.speed_mps)

    def actors(self) -> tuple[ScenarioActor, ...]:
        """The entities as actors, with the tracks recorded so far and what the storyboard made them do."""
        actors = []
        for name, entity in self.world.entities.items():
            record = self._records[name]
            if not record.t_s:
                continue
            pose = np.array(record.pose)
            pose[:, 2] = np.unwrap(pose[:, 2])
            track = Track(np.array(record.t_s), pose, np.array(record.speed_mps))
            start = (float(pose[0, 0]), float(pose[0, 1]), float(pose[0, 2]))
            behaviour = {"kind": "storyboard", "actions": self._performed(name)}
            spec = entity.spec
            actors.append(ScenarioActor(name, spec.kind, spec.body, start, record.speed_mps[0], track, behaviour))
        return tuple(actors)

    def _performed(self, name: str) -> list[dict[str, object]]:
        return [
            {"t_s": round(p.start_s, 3), "end_s": None if p.end_s is None else round(p.end_s, 3), **p.action.describe()}
            for p in self._storyboard.performances
            if p.actor == name
        ]

    def events(self) -> tuple[SourceEvent, ...]:
        """Starts and ends of acts and events so far."""
        return tuple(
            SourceEvent(round(h.t_s, 3), f"{h.element} {h.name}: {h.what}", ",".join(h.actors))
            for h in self._storyboard.happenings
        )


def _put(world: World, entity: Entity, state: ExternalState) -> None:
    before = entity.pose
    x, y, heading = state.pose
    cos, sin = math.cos(heading), math.sin(heading)
    ahead, left = entity.spec.centre_ahead_m, entity.spec.centre_left_m
    entity.pose = Pose(x - ahead * cos + left * sin, y - ahead * sin - left * cos, heading)
    entity.speed_mps = state.speed_mps
    entity.placed = entity.present = True
    entity.follower = None
    entity.travelled_m += math.hypot(entity.pose.x_m - before.x_m, entity.pose.y_m - before.y_m)
    entity.still_s = entity.still_s + STEP_S if abs(entity.speed_mps) < 0.01 else 0.0
    world.attach(entity)
