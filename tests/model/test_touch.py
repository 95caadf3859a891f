"""Touch: guesses that are near say more of an event than those far away, and nobody says nothing."""

from __future__ import annotations

import torch
from torch.optim import Adam

from simworld.episode import OutcomeSpec
from simworld.model.touch import Touch

EVENTS = tuple(OutcomeSpec(name, "event") for name in ("collision", "off_road"))
PARTNER = OutcomeSpec("partner", "category", categories=("car", "tank"), given="collision")

NEAR = [0.0, 4.6, 0.0, 0.0, 2.0, 0.0, 4.5, 1.8, 1500.0]
FAR = [0.0, 30.0, 5.0, 0.0, 12.0, 0.0, 4.5, 1.8, 1500.0]
NOBODY = [torch.nan] * 9
SPEED = torch.tensor(12.0)


def test_it_starts_at_nothing_and_nobody_says_nothing() -> None:
    touch = Touch((*EVENTS, PARTNER), {"collision": 5, "off_road": 5, "partner": 2})
    rows = torch.tensor([[[NEAR, NOBODY], [NOBODY, NOBODY]]])
    told = touch(rows, SPEED.expand(rows.shape[:-2]))
    assert told.keys() == {"collision", "off_road", "partner"}
    assert told["collision"].shape == (1, 2, 5) and told["partner"].shape == (1, 2, 2)
    assert not any(x.any() for x in told.values())
    torch.nn.init.ones_(touch.out.weight)
    torch.nn.init.ones_(touch.what.weight)
    told = touch(rows, SPEED.expand(rows.shape[:-2]))
    assert all(told[name][0, 0].any() and not told[name][0, 1].any() for name in ("collision", "partner"))


def test_it_learns_that_the_near_one_is_hit_and_the_order_does_not_matter() -> None:
    torch.manual_seed(0)
    touch = Touch((EVENTS[0], PARTNER), {"collision": 1, "partner": 2})
    rows, hit = torch.tensor([[NEAR, FAR], [FAR, NOBODY]]), torch.tensor([[1.0], [0.0]])
    optimizer = Adam(touch.parameters(), lr=0.02)
    for _ in range(100):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            touch(rows, SPEED.expand(rows.shape[:-2]))["collision"], hit
        )
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    told = touch(rows, SPEED.expand(rows.shape[:-2]))["collision"].detach()
    assert float(told[0]) > 2 and float(told[1]) < -2
    torch.testing.assert_close(touch(rows.flip(1), SPEED.expand(2))["collision"].detach(), told)


def test_it_learns_who_is_hit() -> None:
    torch.manual_seed(0)
    touch = Touch((EVENTS[0], PARTNER), {"collision": 1, "partner": 2})
    tank = [4.0, *NEAR[1:6], 7.0, 3.5, 50000.0]
    rows, hit = torch.tensor([[NEAR, FAR], [FAR, tank], [[4.0, *FAR[1:]], NEAR]]), torch.tensor([0, 1, 0])
    optimizer = Adam(touch.parameters(), lr=0.02)
    for _ in range(100):
        loss = torch.nn.functional.cross_entropy(touch(rows, SPEED.expand(3))["partner"], hit)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.equal(touch(rows, SPEED.expand(3))["partner"].argmax(-1), hit)
