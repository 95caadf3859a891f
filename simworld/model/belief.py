"""The belief: what a model holds to be the case beyond the picture, seen in real frames and rolled on by actions.

A picture of 64 x 64 pixels tells little of a speed or of who is about to cross, and an imagined one less with every
step. A convolutional network therefore reads the last real frames into one vector, which a recurrent cell carries on
from action to action (and from what it is told of other actors). It is a vector, so it learns from whole futures at
little cost: the outcome heads read it, and the dynamics draws its frames by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import ActorTokens, mean_and_most, present
from simworld.model.guesses import GuessTokens
from simworld.model.precision import exactly
from simworld.nets.convnet import ConvNet, ConvNetConfig

Frames = dict[str, Tensor]  # {camera: uint8 (b, t, h, w, 3)}


@dataclass(frozen=True)
class BeliefConfig:
    """`size` numbers are believed; the frames so many steps `ago` are seen, in squares of `patch` pixels, through maps
    of `width` channels; a film begins with the mean of `looks`, one at each of its newest real frames. In training
    the loss of each outcome has `outcome_weight` beside that of the state."""

    size: int = 256
    ago: tuple[int, ...] = (8, 4, 2, 1, 0)
    looks: int = 3
    width: int = 64
    patch: Literal[2, 4] = 2
    told_width: int = 64
    outcome_weight: float = 0.3

    def __post_init__(self) -> None:
        if min(self.size, self.width, self.told_width, self.looks) < 1:
            raise ValueError(f"a belief needs sizes of at least 1, got {self}")
        if not self.ago or list(self.ago) != sorted(set(self.ago), reverse=True) or self.ago[-1] != 0:
            raise ValueError(f"a belief sees different frames, the oldest first and the newest last, got {self.ago}")


class Belief(nn.Module):
    """Sees frames, and rolls on what it saw; computed in float32 but for the networks that autocast runs."""

    def __init__(
        self,
        config: BeliefConfig,
        *,
        cameras: tuple[str, ...],
        action_size: int,
        actors: bool,
        guesses: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        eye = ConvNetConfig(
            len(config.ago), config.size, config.width, hidden=config.size, norm="group", patch=config.patch
        )
        self.eyes = nn.ModuleDict({camera: ConvNet(eye) for camera in cameras})
        self.action = nn.Linear(action_size, config.told_width)
        self.actors = ActorTokens(config.told_width) if actors else None
        self.guesses = GuessTokens(config.told_width) if guesses else None
        self.cell = nn.GRUCell((3 if actors else 1) * config.told_width, config.size)

    def see(self, frames: Frames) -> Tensor:
        """Frames (b, n, h, w, 3) of every camera, those of `ago`, to a belief float32 (b, size)."""
        return torch.tanh(torch.stack([eye(frames[camera]).float() for camera, eye in self.eyes.items()]).sum(0))

    def see_all(self, frames: Frames, first: int = 0) -> Tensor:
        """Frames (b, t, h, w, 3) to the beliefs at each from the `first` on (b, t - first, size); before frame 0 its
        copies stand in."""
        b, t = next(iter(frames.values())).shape[:2]
        steps = torch.arange(first, t)[:, None] - torch.tensor(self.config.ago)
        at = steps.clamp(min=0).to(next(iter(frames.values())).device)
        return self.see({camera: f[:, at].flatten(0, 1) for camera, f in frames.items()}).unflatten(0, (b, t - first))

    def begin(self, frames: Frames, actions: Tensor, actors: Tensor | None = None) -> Tensor:
        """The belief (b, size) at the newest of frames (b, k + 1, h, w, 3), given the encoded actions (b, k, a) between
        them and actors (b, k, n, 9) of all but the first.

        Every look errs in its own way: what was seen before is rolled on to the next frame, and counts there as much as
        each of the looks that it is made of.
        """
        k = actions.shape[1]
        first = max(0, k + 1 - self.config.looks)
        seen = self.see_all(frames, first)
        belief = seen[:, 0]
        for i in range(first, k):
            rolled = self.roll(belief, actions[:, i], None if actors is None else actors[:, i])
            belief = torch.lerp(rolled, seen[:, i + 1 - first], 1 / (i + 2 - first))
        return belief

    def roll(
        self, belief: Tensor, action: Tensor, actors: Tensor | None = None, guesses: Tensor | None = None
    ) -> Tensor:
        """A belief (b, size) of one frame to that of the next, given the encoded action (b, a) between them.

        actors (b, n, 9) that shall be there in the next frame, and guesses (b, g, 9) of who will be, NaN where absent.
        """
        with exactly(belief.device):
            return self.cell(self._told(action, actors, guesses), belief)

    def follow(
        self,
        seen: Tensor,
        actions: Tensor,
        actors: Tensor | None = None,
        num_seen: Tensor | None = None,
        guesses: Tensor | None = None,
    ) -> Tensor:
        """Beliefs (b, t, size) of frames 1 to t, given encoded actions (b, t, a), actors (b, t, n, 9) and guesses
        (b, t, g, 9).

        seen (b, s, size), s <= t: what was seen in frames 0 to s - 1, of which the first `num_seen` (b,), at least 1
        and by default all, are real.
        """
        belief, out = seen[:, 0], []
        with exactly(belief.device):
            told = self._told(actions, actors, guesses)
            for i in range(actions.shape[1]):
                if 0 < i < seen.shape[1]:
                    real = i < num_seen[:, None] if num_seen is not None else torch.ones_like(belief, dtype=torch.bool)
                    belief = torch.where(real, seen[:, i], belief)
                belief = self.cell(told[:, i], belief)
                out.append(belief)
        return torch.stack(out, dim=1)

    def _told(self, actions: Tensor, actors: Tensor | None, guesses: Tensor | None) -> Tensor:
        """What the cell reads of actions (..., a), actors (..., n, 9) and guesses (..., g, 9): of these the mean and
        the largest of what each says, 0 where nobody is."""
        told = F.silu(self.action(actions.float()))
        if self.actors is None:
            return told
        of_both = [
            (F.silu(tokens(rows)), present(rows)[..., None])
            for tokens, rows in ((self.actors, actors), (self.guesses, guesses))
            if tokens is not None and rows is not None
        ]
        if not of_both:
            return torch.cat([told, told.new_zeros(*told.shape[:-1], 2 * self.config.told_width)], dim=-1)
        each, there = (torch.cat(x, dim=-2) for x in zip(*of_both, strict=True))
        return torch.cat([told, mean_and_most(each, there)], dim=-1)
