"""Futures: what was recorded after given rows of a cache, as far as the record goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.data.cache import FrameCache
from simworld.model.outcomes import OutcomeTargets


@dataclass(frozen=True)
class Futures:
    """b rows and the h steps after each.

    frames (b, h + 1): the rows of the frames, the last one of an episode over and over beyond its end, and
    valid (b, h): which of the steps are on record.
    """

    frames: NDArray[np.int64]
    valid: NDArray[np.bool_]

    @classmethod
    def of(cls, cache: FrameCache, rows: NDArray[np.int64], steps: int) -> Futures:
        last = rows + 1 + cache.steps_left[rows]
        frames = np.minimum(rows[:, None] + np.arange(steps + 1), last[:, None])
        return cls(frames, frames[:, :-1] < last[:, None])

    def actions(self, cache: FrameCache) -> Tensor:
        """(b, h, a); beyond the end what the record closes with."""
        return torch.from_numpy(cache.actions[self.frames[:, :-1]])

    def actors(self, cache: FrameCache) -> Tensor:
        """(b, h, n, 9) of the frames that the steps lead to."""
        return torch.from_numpy(cache.actors[self.frames[:, 1:]])

    def targets(self, cache: FrameCache) -> OutcomeTargets:
        """What the heads should say of each step; steps_left is -1 beyond the end."""
        at = self.frames[:, :-1]

        def read(array: NDArray) -> Tensor:
            return torch.from_numpy(array[at])

        return OutcomeTargets(
            reward=read(cache.reward),
            terminated=read(cache.terminated),
            outcomes={name: read(x) for name, x in cache.outcomes.items()},
            steps_to_event={name: read(x) for name, x in cache.steps_to_event.items()},
            steps_left=read(cache.steps_left),
            value_at_event={name: read(x) for name, x in cache.value_at_event.items()},
            state=torch.from_numpy(cache.state[self.frames[:, 1:]]),
        )


def frames_ago(cache: FrameCache, rows: NDArray[np.int64], ago: Sequence[int]) -> NDArray[np.int64]:
    """Rows (b, n) so many steps before the given ones (b,), the first of an episode standing in for those before it."""
    first = cache.first_row[np.searchsorted(cache.first_row, rows, side="right") - 1]
    return np.maximum(rows[:, None] - np.asarray(ago), first[:, None])
