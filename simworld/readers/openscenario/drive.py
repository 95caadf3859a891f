"""The driver that stands in where a file leaves the ego to an outside controller: keeps its lane, brakes in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simworld.readers.openscenario.distances import ahead_m, aside_m
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


def drive(world: World, entity: Entity, dt_s: float, config: DriverConfig) -> None:
    """Set the entity's speed for the next step from what is ahead in its way."""
    speed = entity.speed_mps
    wish = 1 - (speed / config.cruise_mps) ** 4
    for other in world.entities.values():
        if other is entity or not other.present:
            continue
        gap = ahead_m(world, entity, other, "road", freespace=True)
        centre_ahead = ahead_m(world, entity, other, "entity", freespace=False)
        aside = abs(aside_m(world, entity, other, "road", freespace=True))
        if not 0 <= gap < config.sight_m or centre_ahead <= 0 or aside > config.side_margin_m:
            continue
        closing = speed - other.speed_mps * math.cos(other.pose.heading_rad - entity.pose.heading_rad)
        root = 2 * math.sqrt(config.acceleration_mps2 * config.comfortable_mps2)
        wanted = config.standstill_gap_m + max(speed * config.headway_s + speed * closing / root, 0.0)
        wish = min(wish, 1 - (speed / config.cruise_mps) ** 4 - (wanted / max(gap, 0.1)) ** 2)
    change = min(max(config.acceleration_mps2 * wish, -config.hardest_mps2), config.acceleration_mps2)
    entity.speed_mps = max(speed + change * dt_s, 0.0)
