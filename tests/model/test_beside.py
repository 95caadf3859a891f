"""Beside: guesses by how they stand to the places of a room."""

from __future__ import annotations

import torch

from simworld.model.beside import PER_PLACE, BesideTokens

GLASS = [8.0, 0.5, 0.1, 0.0, 0.0, 0.0, 0.06, 0.06, 0.2]
NOBODY = [torch.nan] * 9


def made() -> BesideTokens:
    torch.manual_seed(0)
    tokens = BesideTokens(16, 2)
    tokens.measure(torch.tensor([[GLASS, [*GLASS[:1], 0.3, -0.2, *GLASS[3:]], NOBODY]]))
    return tokens


def ego(*tip: float) -> torch.Tensor:
    """A tip that moves, and a goal that does not."""
    return torch.tensor([[*tip, 0.7, 0.0, 0.0, 0.0]])


def test_only_how_they_stand_to_places_is_told_of_these() -> None:
    tokens = made()
    assert torch.isclose(tokens.middle, torch.tensor([0.4, -0.05])).all() and float(tokens.unit) > 0
    rows = torch.tensor([[GLASS, NOBODY]])
    near, moved = (tokens.candidates(rows, ego(0.4 + d, 0.1, 0.1, 0.0))[1] for d in (0.0, 0.05))
    assert near.shape == (1, 2, tokens.num_near) and not near[0, 1].any(), "nobody is nothing"
    own = near.shape[-1] - 2 * PER_PLACE
    assert torch.equal(near[..., :own], moved[..., :own]), "its own place and size stay"
    changed = (near - moved)[0, 0, own:].unflatten(-1, (2, PER_PLACE))
    assert changed[0].any() and not changed[1].any(), "and how it stands to the goal"


def test_what_passes_by_is_told_from_what_comes_straight_on() -> None:
    tokens = made()
    straight, aside = (tokens.candidates(torch.tensor([[GLASS]]), ego(0.4, 0.1, *v))[1] for v in ((0.2, 0), (0.0, 0.2)))
    closing, missed = PER_PLACE - 2, PER_PLACE - 1
    first = tokens.num_near - 2 * PER_PLACE
    assert float(straight[0, 0, first + closing]) > float(aside[0, 0, first + closing])
    assert abs(float(straight[0, 0, first + missed])) < 1e-5 < abs(float(aside[0, 0, first + missed]))


def test_what_stands_still_leaves_no_nan_in_the_gradient() -> None:
    tokens = made()
    places = ego(0.5, 0.1, 0.0, 0.0).requires_grad_()
    tokens.candidates(torch.tensor([[GLASS, NOBODY]]), places)[0].sum().backward()
    assert places.grad is not None and torch.isfinite(places.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in tokens.parameters() if p.grad is not None)
