"""Consequences: what actions lead to, from what was seen, carried on by a cell by which no picture is drawn.

A belief learns from drivers who knew who was around, and so takes an action for a sign of it: who does not brake is
safe. What draws pictures is used to its numbers, so they stay as they are. This cell sets out from them, and learns
from actions as well that were drawn regardless of others; besides the action it is told what is reckoned to be the case
and who is guessed to be there, and what it holds is read as the belief's is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.model.actors import mean_and_most, present
from simworld.model.mind import NearTokens
from simworld.model.outcomes import expect_rarely, read_by
from simworld.model.precision import exactly

WIDTH, GUESS_WIDTH = 64, 96  # in which the action and the state are told, and each guess
SHARE = 0.25  # of what is told of events that touch tells beside it; the rest is the cell's word


class Consequences(nn.Module):
    """From what a belief saw (b, size) to what comes of each action: `sizes` numbers {name: n}, as outcome heads tell
    them, of which those named `rare` are logits of what seldom happens. `guesses`: whether it is told of whom the model
    guesses to be there. Until it has learned, nothing of it counts."""

    learned: Tensor

    def __init__(
        self,
        sizes: dict[str, int],
        rare: list[str],
        *,
        size: int,
        action_size: int,
        num_state: int,
        guesses: bool,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.action = nn.Linear(action_size, WIDTH)
        self.state = nn.Linear(num_state, WIDTH)
        self.guesses = NearTokens(GUESS_WIDTH) if guesses else None
        self.cell = nn.GRUCell(2 * WIDTH + (2 * GUESS_WIDTH if guesses else 0), size)
        self.hidden = nn.Linear(size, size)
        self.out = nn.Linear(size, sum(sizes.values()))
        self.register_buffer("learned", torch.zeros(()))
        expect_rarely(self.out, sizes, rare)

    def forward(self, held: Tensor, action: Tensor, state: Tensor, guesses: Tensor, ego: Tensor) -> Tensor:
        """What is held (b, size) a step of encoded action (b, a) later, given the standardised state (b, s) before the
        step, guesses (b, g, 9) of who is there after it, and the ego's speed and yaw rate (b, 2) before it."""
        with exactly(held.device):
            return self.cell(self._told(action, state, guesses, ego), held.float())

    def follow(self, held: Tensor, actions: Tensor, states: Tensor, guesses: Tensor, ego: Tensor) -> Tensor:
        """The same after each of t steps (b, t, size), of which all others have as many."""
        out = []
        with exactly(held.device):
            for told in self._told(actions, states, guesses, ego).unbind(1):
                held = self.cell(told, held.float())
                out.append(held)
        return torch.stack(out, dim=1)

    def read(self, held: Tensor) -> dict[str, Tensor]:
        """{name: (..., n)} in float32 of what is held (..., size)."""
        return read_by(self.hidden, self.out, self.sizes, held)

    def instead(self, raw: dict[str, Tensor], held: Tensor) -> dict[str, Tensor]:
        """What heads read off a belief, and in place of it what is read off what is held, once that has learned."""
        return raw | {name: torch.lerp(raw[name], told, self.learned) for name, told in self.read(held).items()}

    def _told(self, action: Tensor, state: Tensor, guesses: Tensor, ego: Tensor) -> Tensor:
        """What the cell reads of a step: of guesses the mean and the largest of what each says, 0 where nobody is."""
        told = [F.silu(self.action(action.float())), F.silu(self.state(state.float()))]
        if self.guesses is not None:
            each, there = F.silu(self.guesses.candidates(guesses, ego)[0]), present(guesses)[..., None]
            told.append(mean_and_most(each, there))
        return torch.cat(told, dim=-1)
