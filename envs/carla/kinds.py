"""Which class, size and mass a CARLA actor has in simworld's terms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from simworld.scenario import BODIES

# Values of the blueprint attribute base_type (CARLA 0.9.14 and later).
BASE_TYPES = {
    "car": "car",
    "van": "van",
    "bus": "bus",
    "truck": "truck",
    "motorcycle": "motorcycle",
    "bicycle": "cyclist",
}
# Blueprints by which an actor of a class is made, the first that the server has.
BLUEPRINTS = {
    "car": ("vehicle.tesla.model3", "vehicle.audi.tt"),
    "van": ("vehicle.mercedes.sprinter", "vehicle.volkswagen.t2"),
    "bus": ("vehicle.mitsubishi.fusorosa",),
    "truck": ("vehicle.carlamotors.carlacola", "vehicle.carlamotors.firetruck"),
    "motorcycle": ("vehicle.yamaha.yzf", "vehicle.kawasaki.ninja"),
    "cyclist": ("vehicle.bh.crossbike", "vehicle.gazelle.omafiets"),
    "pedestrian": ("walker.pedestrian.0001", "walker.pedestrian.0002"),
}


@dataclass(frozen=True)
class Hull:
    """Class, box and mass of an actor; the box is `ahead_m`, `left_m` off the actor's own origin."""

    kind: str
    length_m: float
    width_m: float
    height_m: float
    mass_kg: float
    ahead_m: float = 0.0
    left_m: float = 0.0


def kind_of(actor: Any) -> str:
    """One of simworld.scenario.ACTOR_CLASSES; whatever is neither vehicle nor walker is static."""
    type_id = str(getattr(actor, "type_id", ""))
    if type_id.startswith("walker."):
        return "pedestrian"
    if not type_id.startswith("vehicle."):
        return "static"
    base = str(actor.attributes.get("base_type", "")).lower()
    if base in BASE_TYPES:
        return BASE_TYPES[base]
    return "motorcycle" if str(actor.attributes.get("number_of_wheels", "4")) == "2" else "car"


def hull_of(actor: Any) -> Hull:
    """Measure an actor. For a vehicle this asks the server for its mass: call it once per actor and keep the answer."""
    kind = kind_of(actor)
    typical = BODIES[kind]
    box = actor.bounding_box
    # Some two-wheelers of CARLA have a box without width, and walkers have no mass.
    length, width, height = (
        2 * extent if math.isfinite(extent) and extent > 0.05 else fallback
        for extent, fallback in (
            (box.extent.x, typical.length_m),
            (box.extent.y, typical.width_m),
            (box.extent.z, typical.height_m),
        )
    )
    mass_kg = float(actor.get_physics_control().mass) if actor.type_id.startswith("vehicle.") else typical.mass_kg
    return Hull(kind, length, width, height, mass_kg, float(box.location.x), -float(box.location.y))
