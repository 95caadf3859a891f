"""Remembering: who was spotted a moment ago goes on, and is told of once more."""

from __future__ import annotations

import math

import torch

from simworld.model.actors import present
from simworld.model.carrying import Motion
from simworld.model.guesses import coasted
from simworld.model.remembering import remembered
from simworld.scenario import ACTOR_CLASSES, BODIES

SPANS_S = (0.4, 0.2, 0.0)
EGO = torch.tensor([[10.0, 0.3]])
NOBODY = [math.nan] * 9


def actor(kind: str, x: float, y: float, vx: float, vy: float) -> list[float]:
    body = BODIES[kind]
    return [ACTOR_CLASSES.index(kind), x, y, 0.1, vx, vy, body.length_m, body.width_m, body.mass_kg]


CAR, CYCLIST = actor("car", 20.0, 1.0, 5.0, 0.0), actor("cyclist", 9.0, 7.0, 2.0, -3.0)


def later(row: list[float], span_s: float) -> torch.Tensor:
    return coasted(torch.tensor([[row]]), Motion.of(EGO[:, 0], EGO[:, 1], span_s))[0, 0]


def test_who_is_not_spotted_any_more_goes_on_as_he_was_seen_to() -> None:
    looks = torch.tensor([[[CYCLIST, NOBODY], [NOBODY, NOBODY], [CAR, NOBODY]]])
    told = remembered(looks, SPANS_S, EGO)
    torch.testing.assert_close(told[:, :2], looks[:, :2], equal_nan=True)
    torch.testing.assert_close(told[0, 2], torch.stack([torch.tensor(CAR), later(CYCLIST, 0.4)]))


def test_who_is_still_spotted_is_told_of_once() -> None:
    now = later(CAR, 0.2).tolist()
    looks = torch.tensor([[[NOBODY, NOBODY], [CAR, NOBODY], [now, NOBODY]]])
    told = remembered(looks, SPANS_S, EGO)[0, 2]
    torch.testing.assert_close(told, looks[0, 2], equal_nan=True)


def test_the_latest_look_counts_and_none_finds_more_room_than_there_is() -> None:
    again = later(CYCLIST, 0.2).tolist()
    again[1] += 0.5  # about where he was thought to go
    looks = torch.tensor([[[CYCLIST, CAR], [again, NOBODY], [NOBODY, NOBODY]]])
    told = remembered(looks, SPANS_S, EGO)[0, 2]
    torch.testing.assert_close(told, torch.stack([later(again, 0.2), later(CAR, 0.4)]))
    full = torch.tensor([[[CYCLIST], [NOBODY], [CAR]]])
    torch.testing.assert_close(remembered(full, SPANS_S, EGO)[0, 2], full[0, 2])


def test_where_nobody_was_spotted_nobody_is_remembered() -> None:
    assert not bool(present(remembered(torch.full((1, 3, 2, 9), torch.nan), SPANS_S, EGO)).any())
