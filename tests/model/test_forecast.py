"""Forecast: as they moved until it learns; then by who is in the way, whoever else is told of and in what order."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.optim import Adam

from simworld.model.forecast import Forecast

NAMES = ("speed_mps", "heading_error_rad", "curvature_1pm")
CAR = [0.0, 20.0, 3.5, 0.0, 10.0, 0.0, 4.5, 1.8, 1500.0]
SLOWER = [2.0, 32.0, 3.5, 0.0, 4.0, 0.0, 9.0, 2.5, 16000.0]
ELSEWHERE = [0.0, 32.0, 14.0, 0.0, 4.0, 0.0, 4.5, 1.8, 1500.0]
NOBODY = [torch.nan] * 9


def told(forecast: Forecast, rows: Tensor, speed_mps: float = 10.0) -> Tensor:
    state = torch.tensor([[speed_mps, 0.0, 0.0]]).expand(len(rows), -1)
    return forecast(rows, state, torch.zeros_like(state), state[:, :2])


def lively() -> Forecast:
    torch.manual_seed(0)
    forecast = Forecast(NAMES, 0.1, 16)
    torch.nn.init.normal_(forecast.out.weight, std=0.5)
    return forecast


def test_until_it_learns_they_are_as_they_have_moved() -> None:
    rows = torch.tensor([[CAR, NOBODY, SLOWER]])
    torch.testing.assert_close(told(Forecast(NAMES, 0.1, 16), rows), rows, equal_nan=True)


def test_velocity_and_heading_change_and_nothing_else() -> None:
    rows = torch.tensor([[CAR, NOBODY, SLOWER]])
    after = told(lively(), rows)
    assert after[:, 1].isnan().all()
    kept = [0, 1, 2, 6, 7, 8]
    torch.testing.assert_close(after[..., kept], rows[..., kept], equal_nan=True)
    assert (after[0, [0, 2]][:, 3:6] != rows[0, [0, 2]][:, 3:6]).any()


def test_nobody_and_the_order_make_no_difference() -> None:
    forecast = lively()
    whole = told(forecast, torch.tensor([[CAR, SLOWER, NOBODY]]))
    other = told(forecast, torch.tensor([[NOBODY, SLOWER, CAR]]))
    torch.testing.assert_close(whole[0, :2], other[0, [2, 1]])


def test_each_heeds_the_others_and_the_ego() -> None:
    forecast = lively()
    alone = told(forecast, torch.tensor([[CAR, NOBODY]]))[0, 0]
    followed = told(forecast, torch.tensor([[CAR, SLOWER]]))[0, 0]
    faster = told(forecast, torch.tensor([[CAR, NOBODY]]), speed_mps=20.0)[0, 0]
    assert not torch.allclose(alone, followed) and not torch.allclose(alone, faster)


def test_it_learns_to_brake_for_whom_one_follows() -> None:
    torch.manual_seed(0)
    forecast = Forecast(NAMES, 0.1, 16)
    optimiser = Adam(forecast.parameters(), lr=1e-2)
    rows = torch.tensor([[CAR, SLOWER], [CAR, ELSEWHERE]])
    wanted = torch.tensor([-0.4, 0.0])
    for _ in range(100):
        optimiser.zero_grad()
        (told(forecast, rows)[:, 0, 4] - 10.0 - wanted).square().mean().backward()
        optimiser.step()
    braked, free = (told(forecast, rows)[:, 0, 4] - 10.0).detach().tolist()
    assert braked == pytest.approx(-0.4, abs=0.05) and free == pytest.approx(0.0, abs=0.05)


def test_a_width_that_attention_can_not_part_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        Forecast(NAMES, 0.1, 6)
