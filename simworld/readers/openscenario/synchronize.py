"""SynchronizeAction: arriving at a place just when another entity arrives at its own."""

from __future__ import annotations

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.openscenario.action import Action
from simworld.readers.openscenario.distances import way_m
from simworld.readers.openscenario.positions import resolve
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import child, number, where, word


class Synchronize:
    """Reaches a place at the moment when a master entity reaches its own, at a given speed where one is given.

    Speed follows the least-effort profile to a place, time and speed (cubic in position), worked out anew
    at each step so that it holds whatever the master does.
    """

    channel = "speed"

    def __init__(self, element: etree._Element) -> None:
        self._element = element
        self._master = word(element, "masterEntityRef")
        self._way_m: tuple[float, float] | None = None  # where the odometers of master and entity shall stand

    def start(self, world: World, entity: Entity | None) -> None:
        assert entity is not None
        goal_master = resolve(child(self._element, "TargetPositionMaster"), world)
        goal = resolve(child(self._element, "TargetPosition"), world)
        master = world.entities[self._master]
        if goal_master is not None and goal is not None:
            # A place counts as reached as soon as its tolerance is.
            near_master = number(self._element, "targetToleranceMaster", 0.0, lowest=0.0)
            near = number(self._element, "targetTolerance", 0.0, lowest=0.0)
            self._way_m = (
                master.travelled_m + way_m(world, master, goal_master) - near_master,
                entity.travelled_m + way_m(world, entity, goal) - near,
            )

    def _final_mps(self, world: World, master: Entity) -> float | None:
        final = self._element.find("FinalSpeed")
        if final is None:
            return None
        absolute, relative = final.find("AbsoluteSpeed"), final.find("RelativeSpeedToMaster")
        if absolute is not None:
            return number(absolute, "value", lowest=0.0, highest=LIMITS.speed_mps)
        if relative is None:
            return None
        value = number(relative, "value")
        return (
            master.speed_mps * value if relative.get("speedTargetValueType") == "factor" else master.speed_mps + value
        )

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        assert entity is not None
        master = world.entity(self._master)
        if self._way_m is None or master is None:
            return True
        final = self._final_mps(world, master)
        distance_master, distance = self._way_m[0] - master.travelled_m, self._way_m[1] - entity.travelled_m
        if distance_master <= 0 or distance <= 0:
            entity.speed_mps = entity.speed_mps if final is None else final
            return True
        if master.speed_mps < 0.05:
            return False
        left_s = distance_master / master.speed_mps
        if left_s <= dt_s:
            entity.speed_mps = distance / left_s if final is None else final
            return True
        if final is None:
            target = distance / left_s
        else:
            effort = 6 * distance / left_s**2 - (4 * entity.speed_mps + 2 * final) / left_s
            target = entity.speed_mps + effort * dt_s
        entity.speed_mps = min(max(target, 0.0), entity.spec.max_speed_mps, LIMITS.speed_mps)
        return False

    def describe(self) -> dict[str, object]:
        return {"action": "SynchronizeAction", "master": self._master}


def parse_synchronize(thing: etree._Element, world: World) -> Action:
    """A <SynchronizeAction>."""
    if word(thing, "masterEntityRef") not in world.entities:
        raise ValueError(f"{where(thing)} refers to an entity that does not exist")
    if (
        thing.find("FinalSpeed/*/SteadyState") is not None
        or thing.find("FinalSpeed//TargetTimeSteadyState") is not None
    ):
        world.notes.add("SteadyState", thing.sourceline, "the final speed is reached at the target, not before it")
    return Synchronize(thing)
