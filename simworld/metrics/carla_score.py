"""Driving score of the CARLA Leaderboard 2.0: route completion times a product of penalties.

Source: leaderboard.carla.org, evaluation criteria of Leaderboard 2.0, and its `statistics_manager` (branch
leaderboard-2.0). Every infraction multiplies, so two collisions with vehicles cost 0.6 * 0.6.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

# Factor per infraction. Minimum speed is the only one whose factor depends on a measured share.
PENALTIES: dict[str, float] = {
    "pedestrian_collisions": 0.50,
    "vehicle_collisions": 0.60,
    "static_collisions": 0.65,
    "red_lights": 0.70,
    "stop_signs": 0.80,
    "scenario_timeouts": 0.70,
    "emergency_yields_missed": 0.70,
}
MIN_SPEED_PENALTY = 0.70


@dataclass(frozen=True)
class Infractions:
    """How often each rule was broken on one route.

    min_speed_share      mean speed as a share of the surrounding traffic's, at each check; 1 when fast enough
    off_route_share      share of the driven route that lay outside the route's lanes, which does not count as route
    """

    pedestrian_collisions: int = 0
    vehicle_collisions: int = 0
    static_collisions: int = 0
    red_lights: int = 0
    stop_signs: int = 0
    scenario_timeouts: int = 0
    emergency_yields_missed: int = 0
    min_speed_share: tuple[float, ...] = ()
    off_route_share: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in PENALTIES and value < 0:
                raise ValueError(f"{field.name} must be 0 or more, got {value}")
        if not 0 <= self.off_route_share <= 1:
            raise ValueError(f"off_route_share must lie in [0, 1], got {self.off_route_share}")


@dataclass(frozen=True)
class CarlaScore:
    """Score in [0, 100]; None, as `route_completion`, where the completed share of the route is not known."""

    score: float | None
    route_completion: float | None
    penalty: float
    infractions: Infractions


def infraction_penalty(infractions: Infractions) -> float:
    """Product of all penalties, in [0, 1]."""
    penalty = 1.0
    for name, factor in PENALTIES.items():
        penalty *= factor ** getattr(infractions, name)
    for share in infractions.min_speed_share:
        # A vehicle at or above the traffic's speed loses nothing, a standing one the whole 30 %.
        penalty *= 1.0 - (1.0 - MIN_SPEED_PENALTY) * (1.0 - min(max(share, 0.0), 1.0))
    return penalty * (1.0 - infractions.off_route_share)


def carla_score(route_completion: float | None, infractions: Infractions) -> CarlaScore:
    """Score from the completed share of the route, in percent [0, 100], and what was broken on the way."""
    penalty = infraction_penalty(infractions)
    if route_completion is None:
        return CarlaScore(None, None, penalty, infractions)
    if not 0 <= route_completion <= 100:
        raise ValueError(f"route_completion is a percentage in [0, 100], got {route_completion}")
    return CarlaScore(route_completion * penalty, route_completion, penalty, infractions)
