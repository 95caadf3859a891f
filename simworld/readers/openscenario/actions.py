"""OpenSCENARIO's actions as objects that run: started on an entity, stepped until they are done."""

from __future__ import annotations

from lxml import etree

from simworld.readers.opendrive import plan_route
from simworld.readers.openscenario.action import Action, Instant
from simworld.readers.openscenario.lateral import parse_lateral
from simworld.readers.openscenario.longitudinal import parse_longitudinal
from simworld.readers.openscenario.positions import parse_route, resolve, resolve_pose
from simworld.readers.openscenario.synchronize import parse_synchronize
from simworld.readers.openscenario.trajectories import TrajectoryFollower, parse_clock, parse_path
from simworld.readers.openscenario.world import Entity, World
from simworld.readers.xml import child, number, only_child, to_number, where, word


class FollowTrajectory:
    """Moves the entity along a path until its end."""

    channel = "trajectory"

    def __init__(self, element: etree._Element) -> None:
        self._element = element
        self._follower: TrajectoryFollower | None = None

    def start(self, world: World, entity: Entity | None) -> None:
        assert entity is not None
        trajectory = self._element.find("Trajectory")
        if trajectory is None:
            trajectory = only_child(child(self._element, "TrajectoryRef"))
        path = parse_path(trajectory, lambda e: resolve_pose(e, world), world.notes, entity.pose)
        if trajectory.get("closed") == "true":
            world.notes.add("closed trajectory", trajectory.sourceline, "driven once from its start to its end")
        clock = parse_clock(self._element, world.t_s)
        if clock is not None and path.t_s is None:
            world.notes.add("TimeReference", self._element.sourceline, "no usable times in the path; driven by speed")
        self._follower = TrajectoryFollower(path, number(self._element, "initialDistanceOffset", 0.0), clock)
        entity.follower = self._follower
        entity.lane = None
        if not entity.placed:
            entity.pose = path.pose(self._follower.along_m, 0.0)
            entity.placed = entity.present = True

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        assert entity is not None
        return entity.follower is not self._follower

    def describe(self) -> dict[str, object]:
        return {"action": "FollowTrajectoryAction"}


def teleport(world: World, entity: Entity | None, position: etree._Element) -> None:
    """Put an entity at a position; it is on the road from then on."""
    assert entity is not None
    place = resolve(position, world)
    if place is None:
        return
    entity.pose = place.pose
    entity.placed = entity.present = True
    entity.follower = None
    entity.lateral_mps = 0.0
    entity.lane, entity.forward = place.lane, place.forward
    world.settle(entity)


def parse_private(element: etree._Element, world: World) -> list[Action]:
    """The action inside a <PrivateAction>: a list, empty (and noted) for what has no effect on motion."""
    thing = only_child(element)
    tag = str(thing.tag)
    if tag == "LongitudinalAction":
        return [parse_longitudinal(only_child(thing), world)]
    if tag == "LateralAction":
        return parse_lateral(only_child(thing), world)
    if tag == "SynchronizeAction":
        return [parse_synchronize(thing, world)]
    if tag == "TeleportAction":
        position = child(thing, "Position")
        only_child(position)
        return [Instant(tag, lambda w, e: teleport(w, e, position))]
    if tag == "RoutingAction":
        return _parse_routing(only_child(thing), world)
    remedies = {
        "ControllerAction": "ignored: the storyboard alone moves the entity",
        "ActivateControllerAction": "ignored: the storyboard alone moves the entity",
        "VisibilityAction": "ignored: every entity is seen",
        "AppearanceAction": "ignored: lights and animations are not shown",
    }
    world.notes.add(tag, thing.sourceline, remedies.get(tag, "ignored"))
    return []


def _parse_routing(thing: etree._Element, world: World) -> list[Action]:
    tag = str(thing.tag)
    if tag == "FollowTrajectoryAction":
        return [FollowTrajectory(thing)]
    if tag == "AssignRouteAction":
        route = thing.find("Route")
        if route is None:
            route = child(thing, "Route")
        return [Instant(tag, lambda w, e: _assign(w, e, route))]
    if tag == "AcquirePositionAction":
        position = child(thing, "Position")
        return [Instant(tag, lambda w, e: _acquire(w, e, position))]
    world.notes.add(tag, thing.sourceline, "ignored")
    return []


def _assign(world: World, entity: Entity | None, route: etree._Element) -> None:
    assert entity is not None
    entity.route = parse_route(route, world)


def _acquire(world: World, entity: Entity | None, position: etree._Element) -> None:
    """Route the entity from where it is to the position."""
    assert entity is not None
    place = resolve(position, world)
    lane = world.current_lane(entity)
    if place is None or world.network is None or lane is None:
        return
    goal = place.lane or world.network.locate(place.pose.x_m, place.pose.y_m, kinds=("driving",))
    if goal is not None:
        route = plan_route(world.network, [lane, goal])
        entity.route = route if route.legs else None
        if not route.reached:
            world.notes.add(
                "AcquirePositionAction", position.sourceline, "no way leads there; the entity goes straight"
            )


def parse_global(element: etree._Element, world: World) -> list[Action]:
    """The action inside a <GlobalAction>."""
    thing = only_child(element)
    tag = str(thing.tag)
    if tag in ("ParameterAction", "VariableAction"):
        store = world.parameters if tag == "ParameterAction" else world.variables
        name = word(thing, "parameterRef", word(thing, "variableRef", ""))
        change = only_child(thing)
        return [Instant(tag, lambda w, e: _change(store, name, change))]
    if tag == "EntityAction":
        name, change = word(thing, "entityRef"), only_child(thing)
        if name not in world.entities:
            raise ValueError(f"{where(thing)} refers to the entity {name!r}, which does not exist")
        return [Instant(tag, lambda w, e: _appear(w, w.entities[name], change))]
    remedies = {
        "EnvironmentAction": "ignored: light, weather and friction are the world's own",
        "InfrastructureAction": "ignored: traffic lights are not run",
        "TrafficAction": "ignored: no traffic is added beside the entities",
    }
    world.notes.add(tag, thing.sourceline, remedies.get(tag, "ignored"))
    return []


def _change(store: dict[str, str], name: str, change: etree._Element) -> None:
    if change.tag == "SetAction":
        store[name] = word(change, "value")
        return
    for kind in ("AddValue", "MultiplyByValue"):
        rule = change.find(f"Rule/{kind}")
        if rule is not None:
            old = to_number(store.get(name, "0") or "0", f"{where(change)} {name}", lowest=-1e300, highest=1e300)
            value = number(rule, "value")
            store[name] = repr(old + value if kind == "AddValue" else old * value)


def _appear(world: World, entity: Entity, change: etree._Element) -> None:
    if change.tag == "DeleteEntityAction":
        entity.present = False
    elif change.tag == "AddEntityAction" and not entity.present:
        teleport(world, entity, child(change, "Position"))
