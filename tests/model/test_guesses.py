"""Guesses: others go on as they were seen to, in the frame of an ego that moves itself."""

from __future__ import annotations

import math

import torch

from simworld.model.carrying import Motion
from simworld.model.guesses import GuessTokens, coasted

STANDING = [0.0, 20.0, 3.0, 0.5, 0.0, 0.0, 4.5, 1.8, 1500.0]
BESIDE = [1.0, 0.0, 3.5, 0.0, 12.0, 0.0, 5.5, 2.0, 2500.0]


def motion(speed: float, yaw_rate: float, dt_s: float = 0.1) -> Motion:
    return Motion.of(torch.tensor([speed]), torch.tensor([yaw_rate]), dt_s)


def test_what_stands_stays_where_it_is_in_the_world() -> None:
    """Half a circle around the origin brings the ego to the far side of it, looking back."""
    rows, steps = torch.tensor([[STANDING]]), 1000
    for _ in range(steps):
        rows = coasted(rows, motion(math.pi * 10 / 1.0, math.pi, 1 / steps))
    # the circle's radius is 10 m: the ego has come to (0, 20), turned by half a turn
    torch.testing.assert_close(rows[0, 0, 1:3], torch.tensor([-20.0, 20.0 - 3.0]), rtol=0, atol=0.05)
    assert abs(math.remainder(float(rows[0, 0, 3]) - (0.5 - math.pi), 2 * math.pi)) < 1e-3


def test_who_drives_as_fast_stays_beside_and_keeps_what_he_is() -> None:
    rows = torch.tensor([[BESIDE, STANDING, [math.nan] * 9]])
    after = coasted(rows, motion(12.0, 0.0))
    torch.testing.assert_close(after[0, 0], rows[0, 0])
    torch.testing.assert_close(after[0, 1, 1], torch.tensor(20.0 - 1.2))
    assert bool(after[0, 2].isnan().all())


def test_tokens_tell_near_from_far() -> None:
    tokens = GuessTokens(6)
    rows = torch.tensor([STANDING, BESIDE])
    features = tokens.features(rows)
    assert features.shape[-1] == tokens.embed[0].in_features
    near, far = features[1, -3:], features[0, -3:]
    assert float(near[0]) > float(far[0]) and float(near[2]) < float(far[2])
