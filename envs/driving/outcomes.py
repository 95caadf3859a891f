"""What a step caused: collisions with their severity, side and partner, and leaving the road."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simworld.episode import NOT_APPLICABLE
from simworld.scenario import ACTOR_CLASSES, Body

from .physics import STATIC, Contacts, Physics
from .spec import SIDES

APART_STEPS = 10  # a contact that begins anew within a second is the same collision


def fresh_partners(contacts: Contacts, last_touch: dict[int, int], step: int) -> list[int]:
    """Partners of the ego whose contact begins at this step; `last_touch` is brought up to date."""
    fresh = [p for p in contacts.ego if step - last_touch.get(p, -APART_STEPS - 1) > APART_STEPS]
    last_touch.update(dict.fromkeys(contacts.ego, step))
    return fresh


def collision_outcomes(physics: Physics, contacts: Contacts, fresh: list[int]) -> dict[str, float]:
    """Outcomes of the hardest of the `fresh` impacts, or of none.

    The impulse is that of the whole impact, though it may last into the next step; delta-v is impulse over mass.
    """
    if not fresh:
        nan = NOT_APPLICABLE
        return {"collision": 0.0, "impulse": nan, "delta_v": nan, "side": nan, "partner": nan}
    totals = {p: contacts.ego[p].impulse_ns + physics.finish_impact(p) for p in fresh}
    partner = max(fresh, key=lambda p: float(np.linalg.norm(totals[p])))
    impact = contacts.ego[partner]
    impulse = float(np.linalg.norm(totals[partner]))
    kind = "static" if partner == STATIC else physics.rig.kinds[partner]
    psi = impact.heading_rad
    turn = np.array([[np.cos(psi), np.sin(psi)], [-np.sin(psi), np.cos(psi)]])
    side = side_hit(physics.rig.bodies[0], impact.point_m / max(impact.samples, 1), turn @ totals[partner])
    return {
        "collision": 1.0,
        "impulse": impulse,
        "delta_v": impulse / float(physics.mass_kg[0]),
        "side": float(SIDES.index(side)),
        "partner": float(ACTOR_CLASSES.index(kind)),
    }


def side_hit(body: Body, point_m: NDArray[np.float64], impulse_ns: NDArray[np.float64]) -> str:
    """The side of a box hit at `point_m` (ego frame, as the impulse); at a corner the impulse's direction decides."""
    x, y = point_m / (body.length_m / 2, body.width_m / 2)
    if abs(abs(x) - abs(y)) < 0.2:
        x, y = -impulse_ns
    if abs(x) > abs(y):
        return "front" if x > 0 else "rear"
    return "left" if y > 0 else "right"
