"""Actions across the lane: changing lanes and shifting within one, along a transition shape."""

from __future__ import annotations

import math

from lxml import etree

from simworld.readers.openscenario.action import Action
from simworld.readers.openscenario.positions import lane_beside
from simworld.readers.openscenario.transitions import Dynamics, parse_dynamics
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import child, flag, integer, number, only_child, where, word

LANE_WIDTH_M = 3.5  # of a lane change where no road is known
FREE_ACCELERATION_MPS2 = 2.0  # of a shift within the lane where the file sets no limit: about a second for a metre


class Shift:
    """Moves the entity to a lateral offset, in its own lane or another, and holds it there.

    Without a road it moves as far to the side of its heading. `continuous` keeps it from ever ending.
    """

    channel = "lateral"

    def __init__(self, element: etree._Element, dynamics: Dynamics | None, *, change_lane: bool) -> None:
        self._element = element
        self._dynamics = dynamics
        self._change_lane = change_lane
        self._continuous = flag(element, "continuous")
        self._from_m = self._to_m = self._done = self._at_m = 0.0

    def start(self, world: World, entity: Entity | None) -> None:
        assert entity is not None
        self._done = 0.0
        if entity.lane is None or world.network is None:
            self._from_m, self._to_m = 0.0, self._free_target(world, entity)
        elif self._change_lane:
            self._enter_lane(world, entity)
        else:
            lane = world.current_lane(entity)
            assert lane is not None
            entity.lane = lane
            self._from_m, self._to_m = lane.offset_m, self._offset_target(world, entity)
        if entity.lane is not None and not entity.forward:
            # Kept as metres to the entity's left, so that a road that runs the other way changes nothing.
            self._from_m, self._to_m = -self._from_m, -self._to_m
        self._at_m = self._from_m
        if self._dynamics is None:
            self._dynamics = self._by_acceleration(self._to_m - self._from_m)

    def _by_acceleration(self, change_m: float) -> Dynamics:
        """A sine that keeps to the greatest lateral acceleration: its peak is change / 2 (pi / T)²."""
        text = self._element.find("LaneOffsetActionDynamics")
        limit = FREE_ACCELERATION_MPS2
        if text is not None:
            limit = number(text, "maxLateralAcc", limit, lowest=0.01)
            if word(text, "dynamicsShape", "sinusoidal") == "step":
                return Dynamics("step", "time", 0.0)
        return Dynamics("sinusoidal", "time", math.pi * math.sqrt(abs(change_m) / (2 * limit)))

    def _lanes_to_left(self, world: World, entity: Entity) -> int:
        target = only_child(child(self._element, "LaneChangeTarget"))
        return integer(target, "value") if target.tag == "RelativeTargetLane" else 0

    def _free_target(self, world: World, entity: Entity) -> float:
        if self._change_lane:
            world.notes.add("LaneChangeAction", self._element.sourceline, f"off the road: {LANE_WIDTH_M} m to the side")
            return self._lanes_to_left(world, entity) * LANE_WIDTH_M
        target = only_child(child(self._element, "LaneOffsetTarget"))
        return number(target, "value")

    def _offset_target(self, world: World, entity: Entity) -> float:
        target = only_child(child(self._element, "LaneOffsetTarget"))
        value = number(target, "value")
        if world.carla_frame:
            value = -value if entity.forward else value
        if target.tag == "RelativeTargetLaneOffset":
            other = world.entities.get(word(target, "entityRef"))
            beside = None if other is None else world.current_lane(other)
            return value + (beside.offset_m if beside is not None else 0.0)
        return value

    def _enter_lane(self, world: World, entity: Entity) -> None:
        """Count the offset from the target lane on, so that it runs out to zero (or the wanted offset) there."""
        assert entity.lane is not None and world.network is not None
        target = only_child(child(self._element, "LaneChangeTarget"))
        road = world.network.roads[entity.lane.key.road]
        section = road.sections[entity.lane.key.section]
        if target.tag == "AbsoluteTargetLane":
            lane = integer(target, "value")
        else:
            other = world.entities.get(word(target, "entityRef", entity.name))
            at = None if other is None else world.current_lane(other)
            if other is None or at is None:
                at, other = entity.lane, entity
            lane = lane_beside(at.key.lane, integer(target, "value"), other.forward)
        t = world.network.lateral(entity.lane)
        if lane not in section.lanes:
            world.notes.add("LaneChangeAction", self._element.sourceline, f"no lane {lane} there: the lane is kept")
            lane = entity.lane.key.lane
        centre, _ = road.lane_span(entity.lane.key.section, lane, entity.lane.s_m)
        entity.lane = entity.lane._replace(key=entity.lane.key._replace(lane=lane), offset_m=t - centre)
        self._from_m, self._to_m = t - centre, number(self._element, "targetLaneOffset", 0.0)

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        assert entity is not None and self._dynamics is not None
        if entity.lane is not None:
            # On entering a road the offset may count from another lane's centre than before.
            moved = (entity.lane.offset_m if entity.forward else -entity.lane.offset_m) - self._at_m
            self._from_m, self._to_m, self._at_m = self._from_m + moved, self._to_m + moved, self._at_m + moved
        by_distance = self._dynamics.dimension == "distance"
        self._done += abs(entity.speed_mps) * dt_s if by_distance else dt_s
        change = self._to_m - self._from_m
        extent = self._dynamics.extent(change)
        progress = self._done / extent if extent > 0 else 1.0
        at = self._from_m + change * self._dynamics.fraction(progress)
        done = progress >= 1.0 - 1e-9
        rate = (at - self._at_m) / dt_s if extent > 0 else 0.0
        self._at_m = at
        if entity.lane is not None:
            entity.lane = entity.lane._replace(offset_m=at if entity.forward else -at)
        entity.lateral_mps = 0.0 if done else rate
        return done and not self._continuous

    def describe(self) -> dict[str, object]:
        return {"action": str(self._element.tag), "shift_m": self._to_m - self._from_m}


def parse_lateral(thing: etree._Element, world: World) -> list[Action]:
    """The action inside a <LateralAction>."""
    if thing.tag == "LaneChangeAction":
        target = only_child(child(thing, "LaneChangeTarget"))
        integer(target, "value")
        if target.tag == "RelativeTargetLane" and word(target, "entityRef") not in world.entities:
            raise ValueError(f"{where(target)} refers to an entity that does not exist")
        dynamics = parse_dynamics(thing.find("LaneChangeActionDynamics"), world.notes)
        return [Shift(thing, dynamics, change_lane=True)]
    if thing.tag == "LaneOffsetAction":
        number(only_child(child(thing, "LaneOffsetTarget")), "value")
        return [Shift(thing, None, change_lane=False)]
    world.notes.add(str(thing.tag), thing.sourceline, "ignored: the entity keeps its place in the lane")
    return []
