"""Who is ahead: the nearest in each lane, as beliefs tell of them and as they are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simworld.model.ahead import FAR_LOG, LANES, NUM_VALUES, ROAD, SIDE_M, SPEED_MPS, Ahead
from simworld.model.carrying import Motion
from simworld.scenario import ACTOR_CLASSES, BODIES

CAR, TRUCK, PEDESTRIAN = (float(ACTOR_CLASSES.index(k)) for k in ("car", "truck", "pedestrian"))
LATERAL, LANE, HEADING, CURVATURE = 0.4, 3.5, 0.02, 0.004


def actor(kind: float, x: float, side: float, facing: float = 0.0, speed: float = 12.0) -> list[float]:
    """At x m ahead and `side` m to the left of the middle of the ego's lane, on a bend."""
    body, along = BODIES[ACTOR_CLASSES[int(kind)]], CURVATURE * x - HEADING
    y = side - LATERAL - HEADING * x + CURVATURE * x * x / 2
    return [kind, x, y, along + facing, speed, speed * math.tan(along), body.length_m, body.width_m, body.mass_kg]


STATE = torch.tensor([[LATERAL, LANE, HEADING, CURVATURE]])
OWN, LEFT = actor(CAR, 20.0, 0.3), actor(TRUCK, 60.0, 3.2, facing=math.pi, speed=-9.0)
SCENE = torch.tensor([[OWN, actor(TRUCK, 35.0, -0.5), LEFT, actor(CAR, -8.0, -3.5), actor(CAR, 30.0, 7.5)]])


def ahead() -> Ahead:
    torch.manual_seed(0)
    return Ahead(8, ROAD)


def telling(reader: Ahead, rows: list[list[float] | None], monkeypatch: pytest.MonkeyPatch, sure: float = 6.0) -> None:
    """Have beliefs read as these actors in the lanes."""
    raw = torch.zeros(1, len(LANES), 1 + NUM_VALUES + len(ACTOR_CLASSES))
    raw[..., 0] = -6.0
    for i, row in enumerate(rows):
        if row is not None:
            kind, x, y, heading, speed = row[:5]
            side = y + LATERAL + HEADING * x - CURVATURE * x * x / 2
            values = [math.log(x) - FAR_LOG, side / SIDE_M, speed / SPEED_MPS, math.cos(heading + HEADING)]
            raw[0, i, : 1 + NUM_VALUES] = torch.tensor([sure, *values])
            raw[0, i, 1 + NUM_VALUES + int(kind)] = 9.0
    monkeypatch.setattr(reader, "forward", lambda belief: raw)


def belief() -> Tensor:
    return torch.zeros(1, 8)


def test_the_nearest_in_each_lane_of_a_bend() -> None:
    who = ahead().who(SCENE, STATE)
    torch.testing.assert_close(who[0, 0], torch.tensor(OWN))
    torch.testing.assert_close(who[0, 1], torch.tensor(LEFT))
    assert who[0, 2].isnan().all()  # whoever is beside or behind is not ahead


def test_what_is_told_rightly_costs_little_and_is_drawn_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ahead()
    unread = float(reader.loss(belief(), SCENE, STATE).detach())
    telling(reader, [OWN, LEFT, None], monkeypatch)
    assert float(reader.loss(belief(), SCENE, STATE)) < 0.02 < unread
    rows = reader.believed(belief(), STATE)
    torch.testing.assert_close(rows[0, :2], torch.tensor([OWN, LEFT]), rtol=1e-4, atol=1e-3)
    assert rows[0, 2].isnan().all()


def test_who_was_there_is_not_given_up_at_once_and_keeps_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ahead()
    before = torch.tensor([[OWN, [math.nan] * 9, [math.nan] * 9]])
    telling(reader, [actor(TRUCK, 20.4, 0.3), None, None], monkeypatch, sure=-0.2)
    assert reader.believed(belief(), STATE).isnan().all()
    assert float(reader.believed(belief(), STATE, before)[0, 0, 0]) == CAR
    telling(reader, [actor(TRUCK, 40.0, 0.3), None, None], monkeypatch, sure=-0.2)  # somebody else
    assert reader.believed(belief(), STATE, before).isnan().all()


def test_who_was_there_goes_on_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """As fast as it is believed to be, and only slowly to the place that is believed of it anew."""
    reader = ahead()
    before = torch.tensor([[OWN, [math.nan] * 9, [math.nan] * 9]])
    telling(reader, [actor(CAR, 23.0, 0.3, speed=12.0), actor(CAR, 30.0, 3.5), None], monkeypatch)
    motion = Motion.of(torch.tensor([10.0]), torch.tensor([0.0]), 0.1)
    rows = reader.believed(belief(), STATE, before, motion)
    assert float(rows[0, 0, 1]) == pytest.approx(0.85 * (20.0 + 1.2 - 1.0) + 0.15 * 23.0, abs=0.01)
    assert float(rows[0, 1, 1]) == pytest.approx(30.0, abs=0.01)  # who is new is where it is believed to be
    assert float(reader.believed(belief(), STATE, before)[0, 0, 1]) == pytest.approx(23.0, abs=0.01)


def test_beliefs_learn_who_is_ahead() -> None:
    reader = ahead()
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.02)
    beliefs, scenes = torch.eye(8)[:2], torch.cat([SCENE, torch.full_like(SCENE, torch.nan)])
    for _ in range(150):
        optimizer.zero_grad()
        reader.loss(beliefs, scenes, STATE.expand(2, -1)).sum().backward()
        optimizer.step()
    rows = reader.believed(beliefs, STATE.expand(2, -1))
    off = (rows[0, 0, 1:3] - torch.tensor(OWN[1:3])).abs().max().detach()
    assert float(off) < 2.0 and rows[1].isnan().all()
    crossing = torch.tensor([[actor(PEDESTRIAN, 12.0, 0.0, facing=math.pi / 2, speed=0.0)]])
    assert float(reader.who(crossing, STATE)[0, 0, 0]) == PEDESTRIAN
