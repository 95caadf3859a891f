"""Clearance: distances between boxes, turned as they may be."""

from __future__ import annotations

import math

import torch

from simworld.model.clearance import clearance
from simworld.scenario import ACTOR_CLASSES, BODIES

CAR, BUS = (ACTOR_CLASSES.index(k) for k in ("car", "bus"))
EGO = BODIES["car"]


def actor(kind: int, x: float, y: float, heading: float = 0.0) -> list[float]:
    body = BODIES[ACTOR_CLASSES[kind]]
    return [kind, x, y, heading, 3.0, -2.0, body.length_m, body.width_m, body.mass_kg]


def test_distances_are_from_skin_to_skin() -> None:
    rows = torch.tensor([actor(CAR, 10.0, 0.0), actor(CAR, 0.0, -3.0), actor(BUS, 0.0, 8.0, math.pi / 2)])
    want = [10.0 - EGO.length_m, 3.0 - EGO.width_m, 8.0 - 6.0 - EGO.width_m / 2]
    torch.testing.assert_close(clearance(rows), torch.tensor(want))
    assert float(clearance(torch.tensor(actor(CAR, 3.0, 1.0)))) == 0.0


def test_a_corner_may_be_nearest_of_either() -> None:
    turned = torch.tensor(actor(CAR, 10.0, 0.3, math.pi / 4))
    reach = (EGO.length_m + EGO.width_m) / 2 * math.sqrt(0.5)
    torch.testing.assert_close(clearance(turned), torch.tensor(10.0 - reach - EGO.length_m / 2))
    broadside = torch.tensor(actor(BUS, 5.0, 0.3, math.pi / 2))  # no corner of the bus is before the ego
    torch.testing.assert_close(clearance(broadside), torch.tensor(5.0 - BODIES["bus"].width_m / 2 - EGO.length_m / 2))
