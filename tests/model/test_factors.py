"""Factors: a scalar outcome is told in common for all categories, and times what each has of its own."""

from __future__ import annotations

import torch
from torch.optim import Adam

from simworld.episode import OutcomeSpec
from simworld.model.factors import Factors, one_of

HIT, HARD = OutcomeSpec("hit", "event"), OutcomeSpec("hard", "scalar", unit="m/s", given="hit", scale=1.0)
WHO = OutcomeSpec("who", "category", categories=("tank", "fly", "car"), given="hit")
ALWAYS = OutcomeSpec("speed", "scalar", unit="m/s", scale=1.0)


def test_at_first_and_where_no_category_shares_the_event_nothing_changes() -> None:
    factors = Factors((HIT, HARD, WHO, ALWAYS))
    p = {"who": torch.tensor([[0.2, 0.3, 0.5]])}
    torch.testing.assert_close(factors(HARD, p), torch.ones(1, 1))
    assert factors(ALWAYS, p) == 1.0 and len(factors.logs) == 1


def test_the_law_is_found_from_what_is_known_and_told_by_what_is_likely() -> None:
    """Impacts of any speed, of which each category takes its own share: one number of the network's does for all."""
    factors, share = Factors((HIT, HARD, WHO)), torch.tensor([0.97, 0.001, 0.5])
    common = torch.nn.Parameter(torch.ones(()))
    optimizer = Adam([*factors.parameters(), common], lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        kind = torch.randint(3, (64,), generator=generator)
        speed = 1 + 20 * torch.rand(64, generator=generator)
        told = common * speed * factors(HARD, {"who": one_of(kind.float(), torch.zeros(64, 3))})[:, 0]
        ((told + 1e-3).log() - (speed * share[kind] + 1e-3).log()).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    found = common.detach() * torch.cat([factors(HARD, {"who": one}) for one in torch.eye(3)[:, None]]).flatten()
    assert float((found.detach() / share).log().abs().max()) < 0.2
    unsure = common.detach() * factors(HARD, {"who": torch.tensor([[0.5, 0.0, 0.5]])})
    torch.testing.assert_close(unsure.detach().flatten(), (found[:1] + found[2:]).detach() / 2)


def test_an_unknown_category_counts_as_likely_as_it_is_told() -> None:
    p = one_of(torch.tensor([1.0, torch.nan]), torch.tensor([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(p, torch.tensor([[0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]))
