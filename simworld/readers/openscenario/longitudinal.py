"""Actions on an entity's speed: speed with a transition, speed profiles, keeping a distance, arriving in step."""

from __future__ import annotations

import math

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.openscenario.action import Action
from simworld.readers.openscenario.distances import ahead_m
from simworld.readers.openscenario.transitions import Dynamics, parse_dynamics
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import child, flag, number, only_child, where, word

# What an entity does to keep a distance where the file sets no limits: firm, but a driver's.
DEFAULT_ACCELERATION_MPS2 = 5.0
DEFAULT_DECELERATION_MPS2 = 8.0
GAP_GAIN_PER_S = 0.8  # speed added per metre of gap too much
GAP_REACHED_M = 0.1


class SpeedAction:
    """Brings the speed to a target along a transition shape.

    The target is absolute, or relative to an entity's speed (delta or factor); with `continuous` it keeps
    following that entity and never ends by itself.
    """

    channel = "speed"

    def __init__(
        self,
        dynamics: Dynamics,
        value: float,
        *,
        relative_to: str = "",
        factor: bool = False,
        continuous: bool = False,
        hold: bool = False,
    ) -> None:
        self._dynamics = dynamics
        self._value = value
        self._relative_to = relative_to
        self._factor = factor
        self._continuous = continuous
        self._hold = hold
        self._from_mps = self._done = self._target_mps = 0.0

    def _target(self, world: World, entity: Entity) -> float:
        target = self._value
        other = world.entities.get(self._relative_to) if self._relative_to else None
        if other is not None:
            target = other.speed_mps * self._value if self._factor else other.speed_mps + self._value
        limit = entity.spec.max_speed_mps
        return min(max(target, -limit), limit)

    def start(self, world: World, entity: Entity | None) -> None:
        assert entity is not None
        self._from_mps, self._done = entity.speed_mps, 0.0
        self._target_mps = self._target(world, entity)
        if self._dynamics.shape == "step":
            entity.speed_mps = self._target_mps

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        assert entity is not None
        if self._continuous:
            self._target_mps = self._target(world, entity)
        self._done += abs(entity.speed_mps) * dt_s if self._holds_distance() else dt_s
        if self._hold and self._dynamics.shape == "step":
            entity.speed_mps = self._target_mps
            return self._done >= abs(self._dynamics.value)
        extent = self._extent_s(entity)
        progress = self._done / extent if extent > 0 else 1.0
        change = self._target_mps - self._from_mps
        entity.speed_mps = self._from_mps + change * self._dynamics.fraction(progress)
        return progress >= 1.0 - 1e-9 and not self._continuous

    def _holds_distance(self) -> bool:
        return self._hold and self._dynamics.shape == "step" and self._dynamics.dimension == "distance"

    def _extent_s(self, entity: Entity) -> float:
        """Seconds that the change takes, more than asked for where the entity can't change its speed that fast.

        Over a distance it is the time in which the mean speed covers it; all shapes are symmetric, so the mean
        is halfway, and that holds from a standstill too.
        """
        change = self._target_mps - self._from_mps
        if self._dynamics.shape == "step":
            return 0.0
        extent = self._dynamics.extent(change)
        if self._dynamics.dimension == "distance":
            mean = abs(self._from_mps + self._target_mps) / 2
            extent = abs(self._dynamics.value) / mean if mean > 1e-3 else 0.0
        limit = entity.spec.max_acceleration_mps2 if change > 0 else entity.spec.max_deceleration_mps2
        return max(extent, self._dynamics.peak * abs(change) / limit)

    def describe(self) -> dict[str, object]:
        return {"action": "SpeedAction", "target_mps": self._target_mps, "shape": self._dynamics.shape}


class SpeedProfile:
    """Speeds at times, linear between them; entries without times take what `limit_mps2` allows."""

    channel = "speed"

    def __init__(self, times: list[float], speeds: list[float], limit_mps2: float, relative_to: str) -> None:
        self._times, self._speeds = times, speeds
        self._limit = limit_mps2
        self._relative_to = relative_to
        self._elapsed = 0.0
        self._t: list[float] = []
        self._v: list[float] = []

    def start(self, world: World, entity: Entity | None) -> None:
        assert entity is not None
        base = world.entities[self._relative_to].speed_mps if self._relative_to in world.entities else 0.0
        self._t, self._v, self._elapsed = [0.0], [entity.speed_mps], 0.0
        for wait, speed in zip(self._times, self._speeds, strict=True):
            target = base + speed
            needed = wait if math.isfinite(wait) else abs(target - self._v[-1]) / self._limit
            self._t.append(self._t[-1] + needed)
            self._v.append(target)

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        assert entity is not None
        self._elapsed += dt_s
        i = 0
        while i + 1 < len(self._t) and self._t[i + 1] <= self._elapsed:
            i += 1
        if i + 1 == len(self._t):
            entity.speed_mps = self._v[-1]
            return True
        f = (self._elapsed - self._t[i]) / max(self._t[i + 1] - self._t[i], 1e-9)
        entity.speed_mps = self._v[i] + f * (self._v[i + 1] - self._v[i])
        return False

    def describe(self) -> dict[str, object]:
        return {"action": "SpeedProfileAction", "speeds_mps": list(self._v)}


class KeepDistance:
    """Closes to, and keeps, a distance or time gap to an entity, within limits of acceleration and speed."""

    channel = "speed"

    def __init__(self, element: etree._Element) -> None:
        self._other = word(element, "entityRef")
        self._distance = number(element, "distance", math.nan)
        self._time_gap = number(element, "timeGap", math.nan)
        if math.isnan(self._distance) and math.isnan(self._time_gap):
            raise ValueError(f"{where(element)} gives neither a distance nor a timeGap")
        self._freespace = flag(element, "freespace")
        self._continuous = flag(element, "continuous")
        self._leads = word(element, "displacement", "any") == "leadingReferencedEntity"
        limits = element.find("DynamicConstraints")
        top, up, down = math.inf, DEFAULT_ACCELERATION_MPS2, DEFAULT_DECELERATION_MPS2
        if limits is not None:
            top = number(limits, "maxSpeed", top, lowest=0.0, highest=math.inf)
            up = number(limits, "maxAcceleration", up, lowest=0.0, highest=math.inf)
            down = number(limits, "maxDeceleration", down, lowest=0.0, highest=math.inf)
        self._top, self._up, self._down = top, up, down

    def start(self, world: World, entity: Entity | None) -> None: ...

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        assert entity is not None
        other = world.entity(self._other)
        if other is None:
            return True
        wanted = self._distance if math.isfinite(self._distance) else self._time_gap * entity.speed_mps
        gap = ahead_m(world, entity, other, "road", self._freespace)
        error = -gap - wanted if self._leads else gap - wanted
        target = other.speed_mps + (-1 if self._leads else 1) * GAP_GAIN_PER_S * error
        change = min(max(target - entity.speed_mps, -self._down * dt_s), self._up * dt_s)
        entity.speed_mps = min(max(entity.speed_mps + change, 0.0), self._top, entity.spec.max_speed_mps)
        settled = abs(error) < GAP_REACHED_M and abs(other.speed_mps - entity.speed_mps) < GAP_REACHED_M
        return settled and not self._continuous

    def describe(self) -> dict[str, object]:
        return {"action": "LongitudinalDistanceAction", "to": self._other}


def parse_longitudinal(thing: etree._Element, world: World) -> Action:
    """The action inside a <LongitudinalAction>."""
    if thing.tag == "SpeedAction":
        return _parse_speed(thing, world)
    if thing.tag == "LongitudinalDistanceAction":
        return KeepDistance(thing)
    if thing.tag == "SpeedProfileAction":
        entries = thing.findall("SpeedProfileEntry")
        if not entries:
            raise ValueError(f"{where(thing)} has no entries")
        limits = thing.find("DynamicConstraints")
        limit = (
            DEFAULT_ACCELERATION_MPS2
            if limits is None
            else number(limits, "maxAcceleration", DEFAULT_ACCELERATION_MPS2, lowest=1e-3)
        )
        times = [number(e, "time", math.inf, lowest=0.0, highest=LIMITS.duration_s) for e in entries]
        speeds = [number(e, "speed", lowest=-LIMITS.speed_mps, highest=LIMITS.speed_mps) for e in entries]
        return SpeedProfile(times, speeds, limit, word(thing, "entityRef", ""))
    raise ValueError(f"{where(thing)} is no longitudinal action")


def _parse_speed(thing: etree._Element, world: World) -> Action:
    dynamics = parse_dynamics(thing.find("SpeedActionDynamics"), world.notes)
    target = only_child(child(thing, "SpeedActionTarget"))
    value = number(target, "value", lowest=-LIMITS.speed_mps, highest=LIMITS.speed_mps)
    # Written for CARLA, a step's value says how long the speed is held before the action is done.
    hold = world.carla_frame
    if target.tag == "AbsoluteTargetSpeed":
        return SpeedAction(dynamics, value, hold=hold)
    other = word(target, "entityRef")
    if other not in world.entities:
        raise ValueError(f"{where(target)} refers to the entity {other!r}, which does not exist")
    factor = word(target, "speedTargetValueType", "delta") == "factor"
    return SpeedAction(
        dynamics, value, relative_to=other, factor=factor, continuous=flag(target, "continuous"), hold=hold
    )
