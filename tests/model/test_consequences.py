"""Consequences: what is told of an action's end, from what was seen, whoever chose it."""

from __future__ import annotations

import torch

from simworld.model.consequences import Consequences

SIZES = {"reward": 1, "terminated": 1, "collision": 4, "side": 3}
NOBODY = [torch.nan] * 9


def made(guesses: bool = True) -> Consequences:
    torch.manual_seed(0)
    return Consequences(
        SIZES, ["terminated", "collision"], size=8, action_size=2, num_state=2, guesses=guesses
    ).requires_grad_(False)


def told(num: int, steps: int) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(1)
    actions, states = (torch.randn(num, steps, 2, generator=rng) for _ in range(2))
    guesses = torch.tensor([[0.0, 9.0, 0.5, 0.0, 11.0, 0.0, 4.5, 1.8, 1500.0], NOBODY]).expand(num, steps, -1, -1)
    return torch.randn(num, 8, generator=rng), actions, states, guesses, torch.tensor([12.0, 0.0]).expand(num, steps, 2)


def test_what_follows_is_what_steps_make_of_it() -> None:
    cell, (seen, *given) = made(), told(3, 4)
    held = seen
    for step, then in enumerate(cell.follow(seen, *given).unbind(1)):
        held = cell(held, *(x[:, step] for x in given))
        torch.testing.assert_close(held, then)
    assert {name: x.shape[-1] for name, x in cell.read(held).items()} == SIZES


def test_events_are_rare_before_anything_is_learned() -> None:
    cell, (seen, *given) = made(), told(3, 4)
    says = cell.read(cell.follow(seen, *given))
    assert all(bool((says[name].sigmoid() < 0.02).all()) for name in ("collision", "terminated"))
    assert float(says["side"].abs().max()) < 1.0


def test_nobody_says_nothing() -> None:
    cell, (seen, actions, states, guesses, ego) = made(), told(2, 1)
    alone = cell.follow(seen, actions, states, torch.full_like(guesses, torch.nan), ego)
    more = torch.cat([guesses, torch.full_like(guesses, torch.nan)], dim=2)
    assert bool(alone.isfinite().all())
    torch.testing.assert_close(
        cell.follow(seen, actions, states, more, ego), cell.follow(seen, actions, states, guesses, ego)
    )
    assert not torch.equal(alone, cell.follow(seen, actions, states, guesses, ego))
    blind = made(guesses=False)
    torch.testing.assert_close(
        blind.follow(seen, actions, states, guesses, ego), blind.follow(seen, actions, states, more, ego)
    )


def test_nothing_counts_until_it_has_learned() -> None:
    cell = made()
    raw = {name: torch.full((2, n), 7.0) for name, n in (SIZES | {"state": 2}).items()}
    held = torch.randn(2, 8)
    assert all(torch.equal(x, raw[name]) for name, x in cell.instead(raw, held).items())
    cell.learned.fill_(1.0)
    instead = cell.instead(raw, held)
    assert torch.equal(instead["state"], raw["state"])
    torch.testing.assert_close(instead["collision"], cell.read(held)["collision"])
