"""Who takes part in an OpenSCENARIO file: class, body, and where the body sits on the reference point."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.xml import number, where, word
from simworld.scenario import BODIES, ActorClass, Body

_VEHICLES: dict[str, ActorClass] = {
    "car": "car",
    "van": "van",
    "truck": "truck",
    "semitrailer": "truck",
    "trailer": "truck",
    "bus": "bus",
    "tram": "bus",
    "train": "bus",
    "motorbike": "motorcycle",
    "bicycle": "cyclist",
    "microcar": "car",
    "standup_scooter": "cyclist",
    "workmachine": "truck",
}
# OpenSCENARIO has no class for a tank; a scenario says it by this property of the vehicle.
CLASS_PROPERTY = "simworld_class"
MAX_SIZE_M = 1_000.0  # walls and buildings are entities too
_EGO_NAMES = ("ego", "hero", "ego_vehicle", "egovehicle", "host")


@dataclass(frozen=True)
class EntitySpec:
    """One scenario object.

    centre_ahead_m, centre_left_m  from the reference point (a car's rear axle) to the centre of its box
    max_*                          what its Performance allows; infinite where not given
    """

    name: str
    kind: ActorClass
    body: Body
    centre_ahead_m: float = 0.0
    centre_left_m: float = 0.0
    max_speed_mps: float = math.inf
    max_acceleration_mps2: float = math.inf
    max_deceleration_mps2: float = math.inf
    is_ego: bool = False
    controllers: tuple[str, ...] = ()
    line: int | None = None


def parse_entities(entities: etree._Element, carla_frame: bool, notes: Notes) -> tuple[EntitySpec, ...]:
    """The <ScenarioObject>s; `carla_frame` puts the reference point in the middle of the box, as CARLA does."""
    objects = entities.findall("ScenarioObject")
    if len(objects) > LIMITS.storyboard_entities:
        raise ValueError(
            f"the scenario has {len(objects)} entities, more than the {LIMITS.storyboard_entities} run here"
        )
    specs = [_entity(e, carla_frame, notes) for e in objects]
    names = [s.name for s in specs]
    repeated = {n for n in names if names.count(n) > 1}
    if repeated:
        raise ValueError(f"the scenario has two entities named {sorted(repeated)[0]!r}")
    for selection in entities.iterfind("EntitySelection"):
        notes.add("EntitySelection", selection.sourceline, "left out: conditions and actions that name it do nothing")
    return tuple(specs)


def choose_ego(specs: tuple[EntitySpec, ...]) -> str:
    """The ego by property, by name, or else the first vehicle; empty where there are no entities."""
    for test in (lambda s: s.is_ego, lambda s: s.name.lower() in _EGO_NAMES, lambda s: s.kind not in _NOT_EGO):
        for spec in specs:
            if test(spec):
                return spec.name
    return specs[0].name if specs else ""


_NOT_EGO = ("pedestrian", "static")


def _entity(element: etree._Element, carla_frame: bool, notes: Notes) -> EntitySpec:
    name = word(element, "name")
    thing = next((e for e in element if e.tag in ("Vehicle", "Pedestrian", "MiscObject")), None)
    if thing is None:
        found = next((str(e.tag) for e in element if e.tag != "ObjectController"), "nothing")
        notes.add(f"{name}: {found}", element.sourceline, "taken as a typical car")
        return EntitySpec(name, "car", BODIES["car"], line=element.sourceline)
    kind = _kind(thing, notes)
    body, ahead, left = _body(thing, kind, carla_frame, notes)
    properties = {word(p, "name", ""): word(p, "value", "") for p in thing.iterfind("Properties/Property")}
    speed = up = down = math.inf
    performance = thing.find("Performance")
    if performance is not None:
        names = ("maxSpeed", "maxAcceleration", "maxDeceleration")
        given = (number(performance, k, math.inf, lowest=0.0, highest=math.inf) or math.inf for k in names)
        speed, up, down = given
    if thing.find("Trailer") is not None and thing.find("Trailer/Trailer") is not None:
        notes.add(f"{name}: Trailer", thing.sourceline, "the trailer is left out")
    controllers = tuple(word(c, "name", "") for c in element.iterfind("ObjectController/Controller"))
    for controller in controllers:
        notes.add(f"controller {controller}", element.sourceline, f"ignored: {name} follows the storyboard alone")
    return EntitySpec(
        name,
        kind,
        body,
        ahead,
        left,
        speed,
        up,
        down,
        is_ego=properties.get("type") == "ego_vehicle",
        controllers=controllers,
        line=element.sourceline,
    )


def _kind(thing: etree._Element, notes: Notes) -> ActorClass:
    for item in thing.iterfind("Properties/Property"):
        if item.get("name") == CLASS_PROPERTY:
            given = word(item, "value")
            match = next((k for k in BODIES if k == given), None)
            if match is None:
                raise ValueError(f"{where(item)}: {CLASS_PROPERTY} {given!r} is none of {', '.join(BODIES)}")
            return match  # type: ignore[return-value]
    if thing.tag == "Pedestrian":
        category = word(thing, "pedestrianCategory", "pedestrian")
        if category != "pedestrian":
            notes.add(f"pedestrianCategory {category}", thing.sourceline, "taken as a pedestrian of its size")
        return "pedestrian"
    if thing.tag == "MiscObject":
        return "static"
    category = word(thing, "vehicleCategory", "car")
    if category not in _VEHICLES:
        notes.add(f"vehicleCategory {category}", thing.sourceline, "taken as a car of its size")
    return _VEHICLES.get(category, "car")


def _body(thing: etree._Element, kind: ActorClass, carla_frame: bool, notes: Notes) -> tuple[Body, float, float]:
    typical = BODIES[kind]
    mass = number(thing, "mass", typical.mass_kg, lowest=0.0, highest=1e6) or typical.mass_kg
    box, centre = thing.find("BoundingBox/Dimensions"), thing.find("BoundingBox/Center")
    if box is None:
        notes.add("BoundingBox", thing.sourceline, f"missing: taken as a typical {kind}")
        return Body(typical.length_m, typical.width_m, typical.height_m, mass), 0.0, 0.0
    length, width, height = (number(box, k, lowest=0.0, highest=MAX_SIZE_M) for k in ("length", "width", "height"))
    if kind == "pedestrian" and max(length, width) > 3.0 and thing.get("pedestrianCategory") != "animal":
        notes.add(
            "BoundingBox", box.sourceline, f"{length:g} m by {width:g} m is no pedestrian: a typical size is used"
        )
        return Body(typical.length_m, typical.width_m, typical.height_m, mass), 0.0, 0.0
    body = Body(max(length, 0.05), max(width, 0.05), max(height, 0.05), mass)
    if centre is None or carla_frame:
        return body, 0.0, 0.0
    return body, number(centre, "x", 0.0, lowest=-50, highest=50), number(centre, "y", 0.0, lowest=-50, highest=50)
