"""Who is ahead, lane by lane: what a belief holds of the nearest others, as actors that can be drawn.

A belief is a vector, and a network that draws by it lets whom it has lost sight of fade away. Read as actors, with a
class and a place, the same knowledge is drawn as road users that stay as long as they are believed to be there.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import NUM_FIELDS, present, typical_bodies
from simworld.model.carrying import CURVATURE, HEADING, LANE, LATERAL, Motion
from simworld.model.guesses import coasted
from simworld.scenario import ACTOR_CLASSES

ROAD = (LATERAL, LANE, HEADING, CURVATURE)  # the states that say how the road runs
LANES = (0, 1, -1)  # the ego's own, and those to its left and right
NEAREST_M, FARTHEST_M = 1.0, 75.0
NUM_VALUES = 4  # logarithm of the distance, place in the lane, speed, and whether it faces along the road
SIDE_M, SPEED_MPS, FAR_LOG = 4.0, 10.0, 3.0  # scales of these
TURNED = 0.8  # who faces the road's direction less than this crosses it
WAS_THERE, JUMP_M = 2.0, 5.0  # how much sooner who was there is believed to be there still, and how far it can have got
PLACED_ANEW = 0.15  # how much of a place is what is believed of it now, and not where the step before and speed lead


class Ahead(nn.Module):
    """Reads beliefs (..., d) as the nearest actor ahead in each of LANES; states are in the units of the spec."""

    bodies: Tensor  # length, width and mass of every class

    def __init__(self, believed: int, state_names: tuple[str, ...], *, width: int = 128) -> None:
        super().__init__()
        self.at = [state_names.index(name) for name in ROAD]
        self.read = nn.Sequential(
            nn.Linear(believed, width), nn.GELU(), nn.Linear(width, len(LANES) * (1 + NUM_VALUES + len(ACTOR_CLASSES)))
        )
        last = self.read[2]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.1)
        self.register_buffer("bodies", typical_bodies(), persistent=False)

    def forward(self, belief: Tensor) -> Tensor:
        """(..., lanes, numbers) in float32: a logit of whether anybody is there, NUM_VALUES, and logits of classes."""
        read = self.read(F.rms_norm(belief, belief.shape[-1:]))
        return read.float().unflatten(-1, (len(LANES), 1 + NUM_VALUES + len(ACTOR_CLASSES)))

    def _road(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """ROAD (..., 1) of states (..., s)."""
        lateral, lane, heading, curvature = (x[..., None] for x in state[..., self.at].unbind(-1))
        return lateral, lane, heading, curvature

    def _middle(self, state: Tensor, x: Tensor) -> Tensor:
        """How far to the left the middle of the ego's lane runs at x m ahead (..., k), by states (..., s)."""
        lateral, _, heading, curvature = self._road(state)
        return curvature * x.square() / 2 - heading * x - lateral

    def who(self, actors: Tensor, state: Tensor) -> Tensor:
        """The nearest of the actors (..., n, 9) in each lane (..., lanes, 9), NaN where nobody is, by the true state
        (..., s)."""
        _, lane, _, _ = self._road(state)
        x, y = (torch.nan_to_num(actors[..., i]) for i in (1, 2))
        number = ((y - self._middle(state, x)) / lane.clamp(min=1.0)).round()
        shown = present(actors) & (x > NEAREST_M) & (x < FARTHEST_M)
        nearest = torch.stack([torch.where(shown & (number == n), x, torch.inf) for n in LANES], dim=-2).min(-1)
        rows = actors.gather(-2, nearest.indices[..., None].expand(*nearest.indices.shape, NUM_FIELDS))
        return torch.where(nearest.values.isfinite()[..., None], rows, torch.nan)

    def loss(self, belief: Tensor, actors: Tensor, state: Tensor) -> Tensor:
        """How wrong (...) beliefs (..., d) are of actors (..., n, 9) at the true state (..., s)."""
        who, read = self.who(actors, state), self(belief)
        there, rows = present(who), torch.nan_to_num(who)
        _, _, heading, _ = self._road(state)
        x = rows[..., 1].clamp(min=NEAREST_M)
        side = rows[..., 2] - self._middle(state, x)
        values = torch.stack(
            [x.log() - FAR_LOG, side / SIDE_M, rows[..., 4] / SPEED_MPS, (rows[..., 3] + heading).cos()], dim=-1
        )
        logit, told, kind = read.split([1, NUM_VALUES, len(ACTOR_CLASSES)], dim=-1)
        anybody = F.binary_cross_entropy_with_logits(logit[..., 0], there.float(), reduction="none")
        off = F.smooth_l1_loss(told, values, reduction="none", beta=0.1).mean(-1)
        wrong = F.cross_entropy(kind.movedim(-1, 1), rows[..., 0].long(), reduction="none")
        return (anybody + (2 * off + 0.3 * wrong) * there).mean(-1)

    def believed(
        self, belief: Tensor, state: Tensor, before: Tensor | None = None, motion: Motion | None = None
    ) -> Tensor:
        """Actors (b, lanes, 9), NaN where nobody is believed to be, by belief (b, d) and state (b, s).

        Who was there `before` (b, lanes, 9), the step before, is not given up at once, and stays of its class; and as
        the ego's `motion` since is known, it goes on from where it was, as fast as it is believed to. Places that are
        believed anew at every step tremble, and a picture shows that more than that they are all off alike.
        """
        logit, told, kinds = self(belief).split([1, NUM_VALUES, len(ACTOR_CLASSES)], dim=-1)
        _, _, heading, curvature = self._road(state)
        x = (told[..., 0] + FAR_LOG).exp().clamp(NEAREST_M, FARTHEST_M)
        logit, kind = logit[..., 0], kinds.argmax(-1)
        still = torch.zeros_like(logit, dtype=torch.bool) if before is None else same(before, x)
        if before is not None:
            logit = logit + WAS_THERE * still
            kind = torch.where(still, torch.nan_to_num(before[..., 0]).long(), kind)
        facing = torch.where(told[..., 3] > TURNED, 0.0, torch.where(told[..., 3] < -TURNED, math.pi, math.pi / 2))
        along = curvature * x - heading
        vx = told[..., 2] * SPEED_MPS
        y = told[..., 1] * SIDE_M + self._middle(state, x)
        rows = torch.stack([kind.float(), x, y, along + facing, vx, vx * along.tan()], dim=-1)
        rows = torch.cat([rows, self.bodies[kind]], dim=-1)
        if before is not None and motion is not None:
            led = coasted(torch.cat([before[..., :4], rows[..., 4:6], before[..., 6:]], dim=-1), motion)[..., 1:3]
            place = torch.where(still[..., None], torch.lerp(led, rows[..., 1:3], PLACED_ANEW), rows[..., 1:3])
            rows = torch.cat([rows[..., :1], place, rows[..., 3:]], dim=-1)
        return torch.where((logit > 0)[..., None], rows, torch.nan)


def same(before: Tensor, x: Tensor) -> Tensor:
    """Whether who is at x (b, lanes) may be the actor of its lane a step before (b, lanes, 9)."""
    return (x - before[..., 1]).abs() < JUMP_M  # NaN is near to nothing
