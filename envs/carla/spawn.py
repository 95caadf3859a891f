"""Who is on the road: the ego, seeded traffic and walkers, or actors placed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import pose_of, to_world_axes, transform_at
from .kinds import BLUEPRINTS
from .session import Session

CLEAR_M = 12.0  # no traffic starts closer to the ego
LIFT_M = 0.3  # actors are let down from here, so that they never start inside the ground


@dataclass(frozen=True)
class PlacedActor:
    """An actor set relative to the ego along its lane, as the `actors` option of simworld/Driving-v0 gives it."""

    kind: str
    ahead_m: float
    left_m: float = 0.0
    heading_rad: float = 0.0
    speed_mps: float = 0.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> PlacedActor:
        """ValueError for an unknown class or field."""
        known = ("kind", "ahead_m", "left_m", "heading_rad", "speed_mps")
        given = {name: value for name, value in given.items() if (name, value) != ("role", "puppet")}
        foreign = [name for name in given if name not in known]
        if foreign or "kind" not in given or "ahead_m" not in given:
            raise ValueError(f"an actor has kind, ahead_m and optionally {', '.join(known[2:])}; got {dict(given)}")
        if given["kind"] not in BLUEPRINTS:
            raise ValueError(f"CARLA has no {given['kind']!r}; it has {', '.join(sorted(BLUEPRINTS))}")
        return cls(str(given["kind"]), **{name: float(given[name]) for name in known[1:] if name in given})


def spawn_ego(session: Session, rng: np.random.Generator) -> Any:
    """The ego at a drawn spawn point; further points are tried where one is taken."""
    blueprints = session.world.get_blueprint_library().filter(session.config.ego_blueprint)
    if not len(blueprints):
        raise ValueError(f"the CARLA server has no blueprint {session.config.ego_blueprint!r}")
    blueprint = blueprints[0]
    if blueprint.has_attribute("role_name"):
        blueprint.set_attribute("role_name", "hero")
    points = list(session.road_map.get_spawn_points())
    if not points:
        raise ValueError(f"map {session.town} has no spawn points")
    for i in rng.permutation(len(points)):
        ego = session.spawn(blueprint, points[int(i)])
        if ego is not None:
            return ego
    raise RuntimeError("every spawn point of the map is taken; is another client using this server?")


def spawn_traffic(session: Session, ego: Any, rng: np.random.Generator, num_actors: int) -> None:
    """`num_actors` road users near the ego, a share of them on foot, driven by the traffic manager and CARLA's AI."""
    num_walkers = int(rng.binomial(num_actors, session.config.walker_share))
    _spawn_vehicles(session, ego, rng, num_actors - num_walkers)
    _spawn_walkers(session, rng, num_walkers)


def place_actors(session: Session, ego: Any, wanted: Sequence[PlacedActor]) -> None:
    """Puppets along the ego's lane; vehicles keep their speed, walkers walk straight on."""
    carla = session.carla
    start = session.road_map.get_waypoint(ego.get_location())
    for actor in wanted:
        lane = start if actor.ahead_m == 0 else _along(start, actor.ahead_m)
        pose = pose_of(lane.transform)
        pose[:2] += to_world_axes(np.array([0.0, actor.left_m]), pose[2])
        pose[2] += actor.heading_rad
        blueprint = _first_blueprint(session, actor.kind)
        made = session.spawn(blueprint, transform_at(carla, pose, lane.transform.location.z + LIFT_M))
        if made is None:
            raise ValueError(f"there is no room for a {actor.kind} {actor.ahead_m:g} m ahead of the ego")
        if actor.kind == "pedestrian":
            direction = transform_at(carla, pose, 0.0).get_forward_vector()
            made.apply_control(carla.WalkerControl(direction, actor.speed_mps, False))
        else:
            made.enable_constant_velocity(carla.Vector3D(x=actor.speed_mps, y=0.0, z=0.0))


def set_speed(carla: Any, vehicle: Any, speed_mps: float) -> None:
    """Give a vehicle a speed along its heading."""
    forward = vehicle.get_transform().get_forward_vector()
    vehicle.set_target_velocity(
        carla.Vector3D(x=forward.x * speed_mps, y=forward.y * speed_mps, z=forward.z * speed_mps)
    )


def _along(start: Any, ahead_m: float) -> Any:
    found = start.next(ahead_m) if ahead_m > 0 else start.previous(-ahead_m)
    if not found:
        raise ValueError(f"the ego's lane ends within {abs(ahead_m):g} m; reset with another seed")
    return found[0]


def _first_blueprint(session: Session, kind: str) -> Any:
    library = session.world.get_blueprint_library()
    for name in BLUEPRINTS[kind]:
        found = library.filter(name)
        if len(found):
            return found[0]
    raise ValueError(f"the CARLA server has none of the blueprints {', '.join(BLUEPRINTS[kind])}")


def _spawn_vehicles(session: Session, ego: Any, rng: np.random.Generator, count: int) -> None:
    config, manager = session.config, session.traffic_manager
    # Sorted, because the order in which a server lists its blueprints is not part of the seed.
    blueprints = sorted(session.world.get_blueprint_library().filter("vehicle.*"), key=lambda b: b.id)
    here = pose_of(ego.get_transform())[:2]
    points = list(session.road_map.get_spawn_points())
    distance_m = np.array([np.linalg.norm(pose_of(p)[:2] - here) for p in points])
    near = np.flatnonzero((distance_m > CLEAR_M) & (distance_m < config.traffic_radius_m))
    made = 0
    for i in rng.permutation(near):
        if made == count:
            return
        blueprint = blueprints[int(rng.integers(len(blueprints)))]
        if blueprint.has_attribute("color"):
            colours = blueprint.get_attribute("color").recommended_values
            blueprint.set_attribute("color", colours[int(rng.integers(len(colours)))])
        difference, headway_m, reckless = rng.uniform(-20, 40), rng.uniform(0.5, 4.0), rng.random()
        vehicle = session.spawn(blueprint, points[int(i)])
        if vehicle is None:
            continue
        made += 1
        vehicle.set_autopilot(True, manager.get_port())
        manager.vehicle_percentage_speed_difference(vehicle, float(difference))
        manager.distance_to_leading_vehicle(vehicle, float(headway_m))
        if reckless < config.reckless_share:
            manager.ignore_lights_percentage(vehicle, 100.0)
            manager.ignore_vehicles_percentage(vehicle, 50.0)


def _spawn_walkers(session: Session, rng: np.random.Generator, count: int) -> None:
    library = session.world.get_blueprint_library()
    blueprints = sorted(library.filter("walker.pedestrian.*"), key=lambda b: b.id)
    session.world.set_pedestrians_cross_factor(0.5)
    controllers = []
    for _ in range(count):
        place = session.world.get_random_location_from_navigation()
        if place is None or not blueprints:
            return
        blueprint = blueprints[int(rng.integers(len(blueprints)))]
        if blueprint.has_attribute("is_invincible"):
            blueprint.set_attribute("is_invincible", "false")
        pose: NDArray[np.float64] = np.array([place.x, -place.y, rng.uniform(-np.pi, np.pi)])
        walker = session.spawn(blueprint, transform_at(session.carla, pose, place.z + LIFT_M))
        if walker is None:
            continue
        mind = library.find("controller.ai.walker")
        controller = session.spawn(mind, transform_at(session.carla, np.zeros(3), 0.0), attach_to=walker)
        if controller is not None:
            controllers.append((controller, float(rng.uniform(0.8, 2.0))))
    if controllers:
        session.tick()  # a controller can be started only once its walker is in the world
    for controller, speed_mps in controllers:
        controller.start()
        controller.go_to_location(session.world.get_random_location_from_navigation())
        controller.set_max_speed(speed_mps)
