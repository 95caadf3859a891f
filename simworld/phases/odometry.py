"""The phase of odometry: single moments of the record, and how the ego moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.data.cache import FrameCache
from simworld.futures import frames_ago
from simworld.phases.belief import relit
from simworld.phases.common import Stage, shared_sampler, stream

OFF = ((1.0, 0.02), (5.0, 0.08))  # how far the ego is thought off its speed and yaw rate, mostly and now and then
OFTEN = 0.6


@dataclass
class OdometryPhase(Stage[CanvasWorldModel]):
    """Frames in any light, of an ego that is thought to move otherwise than it does."""

    name: str = "odometry"
    parts: tuple[str, ...] = ("odometry",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sampler = shared_sampler(self.cache, self.config, 1, self.seed, self.run)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        odometry, device = self.model.odometry, self.run.device
        assert odometry is not None
        rows = _late(self.cache, self.sampler.rows(step), max(odometry.sees))
        noise = stream(self.seed, step, self.sampler, device)
        frames = {c: relit(f, noise) for c, f in self.frames_at(frames_ago(self.cache, rows, odometry.sees)).items()}
        true = torch.from_numpy(self.cache.state[rows]).to(device)[:, self.model.canvas.motion_at].nan_to_num()
        mostly, rarely = (true.new_tensor(off) for off in OFF)
        off = torch.where(noise.uniform(1) < OFTEN, mostly, rarely) * noise.normal(2)
        return {"loss": odometry.loss(frames, true + off, true)}


def _late(cache: FrameCache, rows: NDArray[np.int64], steps: int) -> NDArray[np.int64]:
    """The rows, or the first ones of their episodes that have so many steps before them, if these last so long."""
    episode = np.searchsorted(cache.first_row, rows, side="right") - 1
    return np.maximum(rows, cache.first_row[episode] + np.minimum(steps, cache.num_steps[episode]))
