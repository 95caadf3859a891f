"""How wrongly a state is told: what pictures are carried by counts more, and what is not known nothing."""

from __future__ import annotations

import torch

from simworld.model.state_error import COUNTS, StateError

NAMES = ("heading_error_rad", "pedal", "gap_m")


def test_each_number_costs_as_often_as_it_counts() -> None:
    error, state = StateError(NAMES), torch.zeros(3, 3)
    off = error(torch.eye(3), state)
    torch.testing.assert_close(off / off[1], torch.tensor([COUNTS["heading_error_rad"], 1.0, COUNTS["gap_m"]]))


def test_counts_change_no_error_that_all_numbers_share() -> None:
    told = torch.full((2, 5, 3), 0.4)
    some, plain = StateError(NAMES)(told, torch.zeros(2, 5, 3)), StateError(("a", "b", "c"))(told, torch.zeros(2, 5, 3))
    assert some.shape == (2, 5)
    torch.testing.assert_close(some, plain)


def test_a_small_error_is_asked_to_shrink_as_firmly_as_a_large_one() -> None:
    told = torch.tensor([[0.1, 0.0, 0.0], [2.0, 0.0, 0.0]], requires_grad=True)
    StateError(NAMES)(told, torch.zeros(2, 3)).sum().backward()
    assert told.grad is not None
    torch.testing.assert_close(told.grad[0], told.grad[1])


def test_what_is_not_known_costs_nothing() -> None:
    state = torch.tensor([[0.0, torch.nan, torch.nan]])
    told = torch.tensor([[0.0, 9.0, 9.0]], requires_grad=True)
    error = StateError(NAMES)(told, state)
    error.sum().backward()
    assert float(error.detach()) == 0 and told.grad is not None and not told.grad.any()
