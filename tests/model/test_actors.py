"""Actors as tokens: who is absent is unseen, order does not matter, and half of the windows learn without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simworld.model.actors import ActorTokens, hide_absent, present, tell_some
from simworld.model.noise import NoiseStream

from ..tiny_world import film_batch, lively_model

CAR = [0.0, 20.0, 1.0, 0.1, 8.0, 0.0, 4.5, 1.8, 1500.0]
TANK = [4.0, 9.0, -3.0, 1.5, 0.0, 4.0, 7.7, 3.7, 50000.0]
NOBODY = [float("nan")] * 9


def step_with(actors: Tensor | None) -> Tensor:
    model = lively_model()
    frames, actions = film_batch(1, 3)
    state = model.start(frames, actions, seed=torch.tensor([1]))
    return model.step(state, actions[:, 0], actors)[1].frames["front"].int()


def test_features_are_finite_scaled_and_tell_who_is_there() -> None:
    tokens = ActorTokens(8)
    rows = torch.tensor([CAR, TANK, NOBODY])
    tokens.measure(rows)
    assert torch.isfinite(tokens.features(rows)).all()
    assert present(rows).tolist() == [True, True, False]
    assert not torch.equal(tokens.features(rows)[0], tokens.features(rows)[1])
    bias = hide_absent(rows[None, None], num_tokens=4)
    assert bias.flatten().tolist() == [0, 0, 0, 0, 0, 0, float("-inf")]


def test_the_frame_follows_its_actors_whatever_their_order() -> None:
    free, one = step_with(None), step_with(torch.tensor([[CAR]]))
    both, turned = step_with(torch.tensor([[CAR, TANK]])), step_with(torch.tensor([[TANK, CAR, NOBODY]]))
    assert not torch.equal(free, one) and not torch.equal(one, both)
    assert int((both - turned).abs().max()) <= 1
    assert torch.equal(free, step_with(torch.tensor([[NOBODY]])))


def test_actors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="actors must be"):
        step_with(torch.tensor([CAR]))


def test_a_share_of_the_windows_loses_its_actors() -> None:
    noise = NoiseStream(torch.arange(2000), torch.zeros(2000, dtype=torch.int64))
    left, told = tell_some(torch.tensor([CAR]).expand(2000, 3, 1, 9), 0.5, noise)
    gone = ~present(left)[:, :, 0]
    assert (gone == ~told[:, None]).all()
    assert abs(float(gone[:, 0].float().mean()) - 0.5) < 0.04
