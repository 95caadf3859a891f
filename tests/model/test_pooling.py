"""Pooling: the quantiles of a mixture."""

from __future__ import annotations

import pytest
import torch

from simworld.model.outcomes import QUANTILES
from simworld.model.pooling import SHARES, pooled

LOW = torch.arange(1.0, 8.0)


def test_shares_are_a_distribution() -> None:
    assert sum(SHARES) == pytest.approx(1) and len(SHARES) == len(QUANTILES)


def test_one_alone_is_told_as_it_is() -> None:
    told = torch.stack([LOW, 100 + LOW, -LOW.flip(0)])
    for which in range(3):
        likely = torch.nn.functional.one_hot(torch.tensor(which), 3).float()
        torch.testing.assert_close(pooled(told, likely), told[which])
    torch.testing.assert_close(pooled(told[:1], torch.tensor([0.3])), told[0])


def test_a_median_is_that_of_the_likelier_and_not_between_both() -> None:
    told = torch.stack([LOW, 100 + LOW])
    middle = QUANTILES.index(0.5)
    for likely, least, most in ((0.8, 1, 7), (0.2, 101, 107)):
        found = pooled(told, torch.tensor([likely, 1 - likely]))
        assert least <= float(found[middle]) <= most
        assert (found.diff() >= 0).all() and float(found[0]) < 10 < float(found[-1])


def test_every_place_is_pooled_alone() -> None:
    told = torch.rand(2, 5, 3, 7, generator=torch.Generator().manual_seed(0)).sort(dim=-1).values
    likely = torch.rand(2, 5, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pooled(told, likely)[1, 2], pooled(told[1, 2], likely[1, 2]))
