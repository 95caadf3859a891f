"""WindowSampler: draws windows of t steps from a FrameCache, the same ones however many ranks share the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.data.cache import NEVER, FrameCache

AHEAD = 30  # steps: an event this soon after a window's end still makes it one of those drawn for events

__all__ = ["AHEAD", "NEVER", "Batch", "WindowSampler"]


@dataclass(frozen=True)
class Batch:
    """b windows of t steps and t + 1 frames.

    frames          {camera: uint8 (b, t+1, h, w, 3)}
    actions         float32 (b, t, a)
    reward          float32 (b, t)
    terminated      bool (b, t)
    outcomes        {name: float32 (b, t)}, NaN where it does not apply
    steps_to_event  {event: int64 (b, t)}: 0 at the step where it happens, NEVER where none comes in the episode
    steps_left      int64 (b, t), recorded steps after this one: what was seen of the future
    value_at_event  {scalar or category with `given`: float32 (b, t)}: its value at the next such event, else NaN
    state           float32 (b, t+1, s), for probes
    actors          float32 (b, t+1, n, 9), the nearest first, NaN where absent
    """

    frames: dict[str, Tensor]
    actions: Tensor
    reward: Tensor
    terminated: Tensor
    outcomes: dict[str, Tensor]
    steps_to_event: dict[str, Tensor]
    steps_left: Tensor
    value_at_event: dict[str, Tensor]
    state: Tensor
    actors: Tensor


class WindowSampler:
    """Draws `batch` windows per training step for one of `world` ranks, a pure function of (seed, step, rank).

    The windows of all ranks together are those that one rank would draw with `batch * world`. A share
    `event_fraction` of them is drawn among the windows in which, or within AHEAD steps after which, some
    declared event happens (where the data has any); the rest among all windows. Uniform over windows.

    Raises ValueError where no episode is long enough.
    """

    def __init__(
        self,
        cache: FrameCache,
        *,
        steps: int,
        batch: int,
        seed: int,
        event_fraction: float = 0.0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if steps < 1 or batch < 1:
            raise ValueError(f"steps and batch must be at least 1, got {steps} and {batch}")
        if not 0.0 <= event_fraction <= 1.0:
            raise ValueError(f"event_fraction must be from 0 to 1, got {event_fraction}")
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not below world {world}")
        self.cache, self.steps, self.batch, self.seed = cache, steps, batch, seed
        self.event_fraction, self.rank, self.world = event_fraction, rank, world
        fits = cache.steps_left >= steps - 1
        self.starts: NDArray[np.int64] = np.flatnonzero(fits)
        if not len(self.starts):
            raise ValueError(
                f"no episode holds {steps} steps, the longest has {cache.num_steps.max()}; "
                "lower the window or record longer episodes"
            )
        soon = np.zeros(len(fits), bool)
        for to_event in cache.steps_to_event.values():
            soon |= to_event < steps + AHEAD
        self.soon = fits & soon
        self.event_starts: NDArray[np.int64] = np.flatnonzero(self.soon)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Start rows (b,) of this rank's windows at a training step."""
        rng = np.random.default_rng([self.seed, step])
        total = self.batch * self.world
        uniform, where, order = rng.random(total), rng.random(total), rng.random()
        rows = self.starts[(uniform * len(self.starts)).astype(np.int64)]
        if len(self.event_starts):
            # Every rank gets the same share: those of an event are spread evenly over the batch.
            expected = np.floor(self.event_fraction * np.arange(total + 1) + order)
            drawn = np.diff(expected) > 0
            events = self.event_starts[(where * len(self.event_starts)).astype(np.int64)]
            rows = np.where(drawn, events, rows)
        return rows[self.rank * self.batch : (self.rank + 1) * self.batch]

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """How many times more often windows like those at `rows` (n,) are on record than they are drawn (n,)."""
        share, fraction = len(self.event_starts) / len(self.starts), self.event_fraction
        if not share:
            return np.ones(len(rows))
        often = share / (fraction + (1 - fraction) * share)
        return np.where(self.soon[rows], often, 1 / max(1 - fraction, 1e-9))

    def gather(self, rows: NDArray[np.int64]) -> Batch:
        """Read the windows that start at `rows` (b,)."""
        cache, t = self.cache, self.steps
        frame_rows = np.asarray(rows)[:, None] + np.arange(t + 1)
        step_rows = frame_rows[:, :t]

        def pick(arrays: dict[str, NDArray], at: NDArray[np.int64]) -> dict[str, Tensor]:
            return {name: torch.from_numpy(array[at]) for name, array in arrays.items()}

        return Batch(
            frames={camera: _windows(frames, rows, t + 1) for camera, frames in cache.frames.items()},
            actions=torch.from_numpy(cache.actions[step_rows]),
            reward=torch.from_numpy(cache.reward[step_rows]),
            terminated=torch.from_numpy(cache.terminated[step_rows]),
            outcomes=pick(cache.outcomes, step_rows),
            steps_to_event=pick(cache.steps_to_event, step_rows),
            steps_left=torch.from_numpy(cache.steps_left[step_rows]),
            value_at_event=pick(cache.value_at_event, step_rows),
            state=torch.from_numpy(cache.state[frame_rows]),
            actors=torch.from_numpy(cache.actors[frame_rows]),
        )


def _windows(frames: NDArray[np.uint8], rows: NDArray[np.int64], num: int) -> Tensor:
    """`num` consecutive frames from each row; one plain copy per window is twice as fast as an index array."""
    out = torch.empty((len(rows), num, *frames.shape[1:]), dtype=torch.uint8)
    view = out.numpy()
    for i, row in enumerate(rows):
        view[i] = frames[row : row + num]
    return out
