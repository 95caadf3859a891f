"""Severity: who is hit tells how hard, and it is learned of him who was."""

from __future__ import annotations

import pytest
import torch
from torch.optim import Adam

from simworld.data.cache import NEVER
from simworld.model.outcomes import QUANTILES, OutcomeTargets
from simworld.model.severity import gathered, spread
from simworld.phases.touch import hardness_loss

from .test_touch import DELTA_V, FAR, NEAR, NOBODY, TANK, made, told

MEDIAN = QUANTILES.index(0.5)


def met(*values: float, partner: list[float], to_event: list[int]) -> OutcomeTargets:
    """One step of each window, what is met after it and how hard that is."""
    column = torch.tensor(values)[:, None]
    return OutcomeTargets(
        reward=torch.zeros_like(column),
        terminated=torch.zeros_like(column, dtype=torch.bool),
        outcomes={},
        steps_to_event={"collision": torch.tensor(to_event)[:, None]},
        steps_left=torch.full_like(column, 20, dtype=torch.int64),
        value_at_event={"delta_v": column, "partner": torch.tensor(partner)[:, None]},
        state=torch.zeros(len(values), 1, 2),
    )


def test_values_are_spread_and_gathered() -> None:
    values = torch.tensor([0.0, 0.01, 0.3, 7.0, -2.0])
    torch.testing.assert_close(gathered(spread(values)), values)


def test_it_learns_of_him_who_is_hit() -> None:
    """Beside each stands somebody else, of whom nothing is learned: a tank takes ten times as much as a car."""
    touch = made()
    rows = torch.tensor([[[NEAR, TANK]], [[TANK, NEAR]]])
    targets = met(1.0, 10.0, partner=[0.0, 1.0], to_event=[0, 1])
    state, ego, age = torch.zeros(2, 1, 2), torch.tensor([12.0, 0.0]).expand(2, 1, 2), torch.full((2, 1), 0.1)
    with torch.no_grad():  # cars and tanks are known to be what they are
        each = touch.each(rows, state, ego, age)
    logits = torch.tensor([[[9.0, -9.0], [-9.0, 9.0], [0.0, 0.0]], [[-9.0, 9.0], [9.0, -9.0], [0.0, 0.0]]])[:, None]
    optimizer = Adam(touch.severity.parameters(), lr=0.01)
    for _ in range(400):
        now = touch.each(rows, state, ego, age)
        hardness_loss(touch, DELTA_V, each._replace(told=now.told | {"partner": logits}), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    hard = DELTA_V.scale * gathered(touch.each(rows, state, ego, age).told["delta_v"][..., MEDIAN]).detach()
    torch.testing.assert_close(hard[:, 0, :2], torch.tensor([[1.0, 10.0], [10.0, 1.0]]), rtol=0.2, atol=0)
    alone = told(touch, torch.tensor([[NOBODY, NOBODY], [FAR, NOBODY]]))["delta_v"]
    assert alone.shape == (2, len(QUANTILES)) and bool(alone.isfinite().all())


@pytest.mark.parametrize("change", ["far off", "unknown", "not on record"])
def test_what_is_far_off_or_unknown_teaches_nothing(change: str) -> None:
    touch = made()
    rows, state = torch.tensor([[[NEAR, FAR]]]), torch.zeros(1, 1, 2)
    each = touch.each(rows, state, torch.tensor([[[12.0, 0.0]]]), torch.full((1, 1), 0.1))
    targets = met(1.0, partner=[0.0], to_event=[0])
    assert float(hardness_loss(touch, DELTA_V, each, targets).detach()) > 0
    if change == "far off":
        targets = targets._replace(steps_to_event={"collision": torch.full((1, 1), NEVER)})
    elif change == "unknown":
        targets.value_at_event["delta_v"].fill_(torch.nan)
    else:
        targets.steps_left.fill_(-1)
    loss = hardness_loss(touch, DELTA_V, each, targets)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in touch.severity.parameters())


def test_a_partner_nobody_recorded_leaves_it_to_who_is_likely() -> None:
    touch = made()
    rows, state = torch.tensor([[[NEAR, FAR]]]), torch.zeros(1, 1, 2)
    each = touch.each(rows, state, torch.tensor([[[12.0, 0.0]]]), torch.full((1, 1), 0.1))
    assert float(hardness_loss(touch, DELTA_V, each, met(1.0, partner=[torch.nan], to_event=[0])).detach()) > 0


@pytest.mark.parametrize(("to_event", "matters"), [((1, 0), True), ((0, 0), False), ((0, 3), True)])
def test_how_an_event_goes_on_teaches_nothing(to_event: tuple[int, int], matters: bool) -> None:
    """Two steps of one window: the second is the first of an event, or one of the same that goes on."""
    touch = made()
    rows, state = torch.tensor([[[NEAR, FAR]]]).expand(1, 2, 2, 9), torch.zeros(1, 2, 2)
    each = touch.each(rows, state, torch.tensor([[[12.0, 0.0]]]).expand(1, 2, 2), torch.full((1, 2), 0.1))

    def loss(second: float) -> float:
        values = {"delta_v": torch.tensor([[1.0, second]]), "partner": torch.zeros(1, 2)}
        targets = met(1.0, partner=[0.0], to_event=[0])._replace(
            steps_to_event={"collision": torch.tensor([to_event])},
            steps_left=torch.full((1, 2), 20),
            value_at_event=values,
        )
        return float(hardness_loss(touch, DELTA_V, each, targets).detach())

    assert (loss(2.0) != loss(9.0)) == matters
