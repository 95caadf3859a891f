"""The phase of tracks: who was spotted look by look by the finished lookout, and who was there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.data.windows import WindowSampler
from simworld.futures import frames_ago
from simworld.model.noise import NoiseStream
from simworld.phases.common import Stage, picked
from simworld.phases.lookout import OFF

CHUNK = 128  # moments that are looked at at once


@dataclass
class TracksPhase(Stage[CanvasWorldModel]):
    """Many moments, looked at once, with the ego's motion known about as well as a belief knows it."""

    num_windows: int
    name: str = "tracks"
    parts: tuple[str, ...] = ("lookout.tracks",)

    @cached_property
    def looked(self) -> tuple[Tensor, Tensor, Tensor]:
        """Looks (n, j, m, 9), the ego's motion (n, 2) and actors (n, k, 9), the same on every rank, when first asked
        for."""
        fraction = self.config.event_fraction
        sampler = WindowSampler(
            self.cache, steps=1, batch=self.num_windows, seed=self.seed + 3, event_fraction=fraction
        )
        rows = sampler.rows(0)
        parts = [self._look(rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]
        looks, ego, actors = (torch.cat(x) for x in zip(*parts, strict=True))
        return looks, ego, actors

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        assert self.model.lookout is not None
        chosen = picked(self.num_windows, self.config.batch, self.seed, step, self.run)
        looks, ego, actors = (x[chosen] for x in self.looked)
        return {"loss": self.model.lookout.tracks.loss(looks, ego, actors)}

    def _look(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        lookout, cache, device = self.model.lookout, self.cache, self.run.device
        assert lookout is not None
        at = frames_ago(cache, rows, lookout.looks_at)
        frames = {c: torch.from_numpy(f[at]).to(device) for c, f in cache.frames.items()}
        actors, state = (torch.from_numpy(x[rows]).to(device) for x in (cache.actors, cache.state))
        place = torch.from_numpy(rows).to(device)
        noise = NoiseStream(place, torch.full_like(place, self.seed))
        ego = state[:, self.model.canvas.motion_at].nan_to_num()
        ego = ego + noise.normal(2) * ego.new_tensor(OFF)
        with self.run.autocasting():
            return lookout.look(frames, ego).float(), ego, actors
