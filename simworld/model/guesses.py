"""Guesses: other actors as a model believes them to go on when nobody tells it, and how it is told of them.

Whoever is seen goes on as fast as he was seen to, in the direction in which he was. A second later few have done
anything else, and after three many are still near to where that puts them: most collisions can be read off it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.model.actors import ActorTokens
from simworld.model.angles import turned
from simworld.model.carrying import Motion
from simworld.model.clearance import clearance

USUAL = (10.0, 0.3)  # an ego's speed in m/s and yaw rate in rad/s, by which both are scaled


def coasted(actors: Tensor, motion: Motion) -> Tensor:
    """Actors (b, n, 9) a step later, each at its own velocity, in the frame that the ego has then."""
    kind, x, y, heading, vx, vy = actors[..., :6].unbind(-1)
    forward, left, turn = (m[:, None] for m in motion[:3])
    place = turned(x + vx * motion.dt_s - forward, y + vy * motion.dt_s - left, -turn)
    rows = [kind, *place, heading - turn, *turned(vx, vy, -turn)]
    return torch.cat([torch.stack(rows, dim=-1), actors[..., 6:]], dim=-1)


def going_on(first: Tensor, ego: Tensor, dt_s: float) -> Tensor:
    """Actors (b, n, 9) after each of t steps (b, t, n, 9), by the ego's speed in m/s and yaw rate in rad/s at their
    beginnings (b, t, 2)."""
    guesses = [first]
    for speed, yaw_rate in zip(ego[..., 0].unbind(1), ego[..., 1].unbind(1), strict=True):
        guesses.append(coasted(guesses[-1], Motion.of(speed, yaw_rate, dt_s)))
    return torch.stack(guesses[1:], dim=1)


class GuessTokens(ActorTokens):
    """As actors that are told, and how far each is from the ego, from skin to skin: told ones touch only in a
    collision, guessed ones may pass through it."""

    num_own = 3

    def features(self, actors: Tensor) -> Tensor:
        distance = clearance(torch.nan_to_num(actors.float()))
        near = [(-distance / 1.5).exp(), (-distance / 6).exp(), distance.log1p() / 3]
        return torch.cat([super().features(actors), torch.stack(near, dim=-1)], dim=-1)
