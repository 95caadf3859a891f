"""The phase of tracks: who was spotted look by look by the finished lookout, and who was there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.futures import frames_ago
from simworld.model.lookout import Lookout
from simworld.model.noise import NoiseStream
from simworld.phases.common import Stage, drawn_once, picked
from simworld.phases.lookout import about_known
from simworld.progress import telling


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
        rows = drawn_once(self.cache, self.config, self.num_windows, self.seed + 3)
        parts = [self._look(x) for x in telling(rows, "tracks: looking at windows", self.run.tell)]
        looks, ego, actors = (torch.cat(x) for x in zip(*parts, strict=True))
        return looks, ego, actors

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        assert isinstance(self.model.lookout, Lookout)
        chosen = picked(self.num_windows, self.config.batch, self.seed, step, self.run)
        looks, ego, actors = (x[chosen] for x in self.looked)
        return {"loss": self.model.lookout.tracks.loss(looks, ego, actors)}

    def _look(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        lookout, cache, device = self.model.lookout, self.cache, self.run.device
        assert isinstance(lookout, Lookout)
        at = frames_ago(cache, rows, lookout.sees)
        frames = self.frames_at(at)
        actors, state = (torch.from_numpy(x[rows]).to(device) for x in (cache.actors, cache.state))
        place = torch.from_numpy(rows).to(device)
        noise = NoiseStream(place, torch.full_like(place, self.seed))
        ego = about_known(self.model, state, noise)
        with self.run.autocasting():
            return lookout.recalled(frames, ego).float(), ego, actors
