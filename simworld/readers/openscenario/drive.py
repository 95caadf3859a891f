"""The driver that stands in where a file leaves the ego to an outside controller: keeps its lane, brakes in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simworld.readers.contacts import Box, touching
from simworld.readers.openscenario.distances import ahead_m, aside_m, straight_m
from simworld.readers.openscenario.world import Entity, World


@dataclass(frozen=True)
class DriverConfig:
    """The intelligent driver model (Treiber 2000) with a town's speed and firm brakes."""

    cruise_mps: float = 8.0
    headway_s: float = 1.2
    standstill_gap_m: float = 3.0
    acceleration_mps2: float = 2.0
    comfortable_mps2: float = 3.0
    hardest_mps2: float = 8.0
    side_margin_m: float = 0.6
    sight_m: float = 60.0
    foresight_s: float = 3.0


def drive(world: World, entity: Entity, dt_s: float, config: DriverConfig) -> None:
    """Set the entity's speed for the next step from what is, or soon will be, in its way."""
    speed = entity.speed_mps
    free = 1 - (speed / config.cruise_mps) ** 4
    wish = free
    for other in world.entities.values():
        if other is entity or not other.present:
            continue
        gap, closing = _in_the_way(world, entity, other, config)
        if gap is None:
            continue
        root = 2 * math.sqrt(config.acceleration_mps2 * config.comfortable_mps2)
        wanted = config.standstill_gap_m + max(speed * config.headway_s + speed * closing / root, 0.0)
        wish = min(wish, free - (wanted / max(gap, 0.1)) ** 2)
    change = min(max(config.acceleration_mps2 * wish, -config.hardest_mps2), config.acceleration_mps2)
    entity.speed_mps = max(speed + change * dt_s, 0.0)


def _in_the_way(world: World, entity: Entity, other: Entity, config: DriverConfig) -> tuple[float | None, float]:
    """Gap and closing speed to the other: to where it is, if ahead in the lane, or to where it will cross."""
    along = math.cos(other.pose.heading_rad - entity.pose.heading_rad)
    gap = ahead_m(world, entity, other, "road", freespace=True)
    in_front = ahead_m(world, entity, other, "entity", freespace=False) > 0
    if not in_front or straight_m(entity, other, freespace=False) > config.sight_m:
        return None, 0.0
    aside = abs(aside_m(world, entity, other, "road", freespace=True))
    if 0 <= gap < config.sight_m and aside <= config.side_margin_m:
        return gap, entity.speed_mps - other.speed_mps * along
    if abs(along) < 0.7:  # crossing rather than keeping beside or coming towards
        for tenths in range(5, int(config.foresight_s * 10) + 1, 2):
            if touching(_later(entity, tenths / 10), _later(other, tenths / 10), config.side_margin_m):
                return max(entity.speed_mps * tenths / 10 - config.standstill_gap_m, 0.1), entity.speed_mps
    return None, 0.0


def _later(entity: Entity, t_s: float) -> Box:
    """The entity's box after driving straight on for a while."""
    vx, vy = entity.velocity()
    box = entity.box()
    return box._replace(x_m=box.x_m + vx * t_s, y_m=box.y_m + vy * t_s)
