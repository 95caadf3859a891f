"""Reckoning: the belief's word until it has learned; then the action's doing, drawn towards that word by gains."""

from __future__ import annotations

import torch
from torch.optim import Adam

from simworld.model.reckoning import Reckoning


def test_until_it_has_learned_the_state_is_what_the_belief_tells() -> None:
    reckoning = Reckoning(3, 2, 8)
    state, told = torch.randn(2, 4, 3).unbind(0)
    torch.testing.assert_close(reckoning(state, torch.randn(4, 2), told), told, rtol=0, atol=0)


def test_then_it_is_the_state_before_drawn_towards_that() -> None:
    reckoning = Reckoning(3, 2, 8)
    reckoning.learned.fill_(1.0)
    with torch.no_grad():
        reckoning.gain.copy_(torch.tensor([-50.0, 0.0, 50.0]))
    state, told = torch.zeros(1, 3), torch.ones(1, 3)
    torch.testing.assert_close(reckoning(state, torch.zeros(1, 2), told), torch.tensor([[0.0, 0.5, 1.0]]))


def test_it_learns_that_a_pedal_changes_a_speed_whatever_a_blurred_belief_tells() -> None:
    torch.manual_seed(0)
    reckoning = Reckoning(1, 1, 16)
    optimiser = Adam(reckoning.parameters(), lr=1e-2)

    def off(steps: int = 8) -> torch.Tensor:
        true = state = torch.randn(64, 1)
        wrong = []
        for _ in range(steps):
            pedal = torch.randn(64, 1)
            true = true + 0.1 * pedal
            state = reckoning.reckoned(state, pedal, true + 0.5 * torch.randn(64, 1))
            wrong.append((state - true).abs().mean())
        return torch.stack(wrong).mean()

    for _ in range(200):
        optimiser.zero_grad()
        off().backward()
        optimiser.step()
    assert float(off().detach()) < 0.06, "an eighth of what the belief is off"
    assert float(reckoning.gain.detach().sigmoid()) < 0.1
