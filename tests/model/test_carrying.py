"""Carrying: known ground appears where geometry puts it, and is known not to be seen where actors are."""

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
        ground = carrier.points[:2, : SIZE[0] * SIZE[1]].unflatten(1, SIZE)
        now = pattern(*ground)
        x, y = move.before(ground[:1], ground[1:])
        coming = pattern(x[0], y[0])
        carried = carrier(now[None], now[None], carrier.ways(move, None))[0, 0]
        inside = slice(16, 48)  # what comes in from the sides was not seen
        error = (carried - coming)[:, below, inside].abs().mean()
        still = (now - coming)[:, below, inside].abs().mean()
        assert error < 0.1 * still, (speed, yaw)


def test_who_stands_sees_what_he_saw() -> None:
    picture = torch.rand(1, 3, *SIZE) * 2 - 1
    carrier = Carrier(FRONT, SIZE)
    carried = carrier(picture, picture, carrier.ways(motion(0.0), Motion.across(torch.zeros(1, 3))))
    assert carried.shape == (1, NUM_CARRIED, 3, *SIZE)
    # the far edge of the ground is cut off at a distance, which moves nothing by as much as a pixel
    assert (carried - picture[:, None]).abs().mean() < 0.02


def test_a_first_picture_is_moved_across_the_road() -> None:
    """Lines along x, seen from one place and turn, then from another."""
    carrier = Carrier(FRONT, SIZE)
    x, y = carrier.points[:2, : SIZE[0] * SIZE[1]].unflatten(1, SIZE)

    def road(left_m: float, turn_rad: float) -> Tensor:
        across = math.sin(turn_rad) * x + math.cos(turn_rad) * y + left_m
        return torch.stack([torch.sin(across), torch.cos(across), torch.sin(0.5 * across)])

    first, now = road(0.5, 0.0), road(1.5, 0.1)
    across = Motion.across(torch.tensor([[1.0, 0.1, 0.0]]))
    carried = carrier(first[None], first[None], carrier.ways(motion(9.0), across))[0, 2]
    near = (slice(None), slice(40, 64), slice(16, 64))  # what comes in from the left is seen farther ahead
    assert (carried - now)[near].abs().mean() < 0.1 * (first - now)[near].abs().mean()


def test_without_a_mount_or_motion_pictures_stay() -> None:
    picture = torch.rand(2, 3, 16, 24)
    for carrier, move in ((Carrier(None, (16, 24)), motion(9.0)), (Carrier(FRONT, (16, 24)), None)):
        assert torch.equal(
            carrier(picture, picture, carrier.ways(move, None)), picture[:, None].expand(-1, NUM_CARRIED, -1, -1, -1)
        )


def actor(x: float, y: float, vx: float) -> Tensor:
    """A car (1, 1, 9)."""
    return torch.tensor([[[0.0, x, y, 0.0, vx, 0.0, 4.5, 1.8, 1500.0]]])


def test_ground_that_an_actor_leaves_is_uncovered() -> None:
    carrier = Carrier(FRONT, SIZE)
    # ego at 10 m/s, the car ahead at 30: after the step it is 2 m farther, at 12 m, and so smaller
    before = actor(10.0, 0.0, 30.0)
    now, covered = carrier.stages(actor(12.0, 0.0, 30.0), before)
    assert torch.equal(covered, carrier.stage(before).taken)
    assert now.taken.sum() < carrier.stage(before).taken.sum()
    hidden = carrier.uncovered(covered, now, carrier.ways(motion(10.0), None))[:, 0]
    assert (hidden[now.taken] == -1).all()
    uncovered = hidden > 0.5
    assert uncovered.any() and not (uncovered & now.taken).any()


def test_the_nearest_actor_is_what_a_pixel_shows() -> None:
    both = torch.cat([actor(20.0, 0.0, 0.0), actor(10.0, 0.5, 0.0), torch.full((1, 1, 9), math.nan)], dim=1)
    stage = Carrier(FRONT, SIZE).stage(both)
    far, near, nobody = (Carrier(FRONT, SIZE).stage(both[:, i : i + 1]).taken for i in range(3))
    assert (far & near).any() and (stage.nearest[near] == 1).all() and (stage.nearest[far & ~near] == 0).all()
    assert torch.equal(stage.taken, far | near) and not nobody.any()
