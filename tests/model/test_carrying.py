"""Carrying: known ground and known boxes appear where geometry puts them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simworld.episode import Mount
from simworld.model.carrying import NUM_CARRIED, Carrier, Motion

FRONT = Mount(2.0, 0.0, 1.4, 0.0, -0.09, 50.0)
SIZE = (64, 64)


def motion(speed_mps: float, yaw_rate_radps: float = 0.0) -> Motion:
    return Motion.of(torch.tensor([speed_mps]), torch.tensor([yaw_rate_radps]), 0.1)


def pattern(x: Tensor, y: Tensor) -> Tensor:
    """Something smooth on the ground, (3, h, w)."""
    return torch.stack([torch.sin(0.3 * x), torch.cos(0.25 * y), torch.sin(0.2 * (x + y))])


def test_a_known_ground_is_carried_to_where_it_will_be_seen() -> None:
    carrier = Carrier(FRONT, SIZE)
    below = slice(34, 64)  # nearer than about 20 m
    for speed, yaw in ((10.0, 0.0), (20.0, 0.3), (5.0, -0.6)):
        move = motion(speed, yaw)
        now = pattern(*carrier.ground[:2])
        x, y = move.before(carrier.ground[0][None], carrier.ground[1][None])
        coming = pattern(x[0], y[0])
        carried = carrier(now[None], move).pictures[0, 0]
        inside = slice(16, 48)  # what comes in from the sides was not seen
        error = (carried - coming)[:, below, inside].abs().mean()
        still = (now - coming)[:, below, inside].abs().mean()
        assert error < 0.1 * still, (speed, yaw)


def test_who_stands_sees_what_he_saw() -> None:
    picture = torch.rand(1, 3, *SIZE) * 2 - 1
    carried = Carrier(FRONT, SIZE)(picture, motion(0.0)).pictures
    assert carried.shape == (1, NUM_CARRIED, 3, *SIZE)
    # the far edge of the ground is cut off at a distance, which moves nothing by as much as a pixel
    assert (carried - picture[:, None]).abs().mean() < 0.02


def test_without_a_mount_or_motion_pictures_stay() -> None:
    picture = torch.rand(2, 3, 16, 24)
    for carrier, move in ((Carrier(None, (16, 24)), motion(9.0)), (Carrier(FRONT, (16, 24)), None)):
        carried = carrier(picture, move)
        assert torch.equal(carried.pictures, picture[:, None].expand(-1, NUM_CARRIED, -1, -1, -1))
        assert not carried.hidden.any()


def actor(x: float, y: float, vx: float) -> Tensor:
    """A car (1, 1, 9)."""
    return torch.tensor([[[0.0, x, y, 0.0, vx, 0.0, 4.5, 1.8, 1500.0]]])


def test_a_told_actor_takes_its_pixels_along_and_uncovers_the_ground() -> None:
    carrier = Carrier(FRONT, SIZE)
    # ego at 10 m/s, the car ahead at 30: after the step it is 2 m farther, at 12 m, and so smaller
    then, now = actor(12.0, 0.0, 30.0), actor(10.0, 0.0, 30.0)
    boxes = [carrier._boxes(a)[0][0, 0] for a in (now, then)]
    inside_now, inside_then = (carrier._inside(b[None, None], torch.ones(1, 1, dtype=torch.bool))[0, 0] for b in boxes)
    assert inside_then.sum() < inside_now.sum()
    picture = torch.where(inside_now, 1.0, -1.0).expand(1, 3, -1, -1)
    carried = carrier(picture, motion(10.0), then)
    assert carried.pictures[0, 0, 0][inside_then].mean() > 0.9
    assert (carried.hidden[0, 0][inside_then] == -1).all()
    uncovered = carried.hidden[0, 0] > 0.5
    assert uncovered.any() and not (uncovered & inside_then).any()
    assert carried.pictures[0, 0, 0][uncovered].mean() > 0  # the ground's picture shows the car there, wrongly


def test_nobody_told_is_the_same_as_none() -> None:
    carrier, picture = Carrier(FRONT, SIZE), torch.rand(1, 3, *SIZE)
    absent = carrier(picture, motion(8.0), torch.full((1, 3, 9), math.nan))
    for a, b in zip(absent, carrier(picture, motion(8.0)), strict=True):
        torch.testing.assert_close(a, b)
