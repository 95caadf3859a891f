"""The lookout's phase: single moments of the record, and who was there."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.futures import frames_ago
from simworld.model.noise import NoiseStream
from simworld.model.overview import AGO, Overview
from simworld.phases.belief import relit
from simworld.phases.common import Stage, shared_sampler, stream

OFF = (1.0, 0.02)  # how far the believed speed and yaw rate are off, in m/s and rad/s


@dataclass
class LookoutPhase(Stage[CanvasWorldModel]):
    """Frames in any light, with the ego's motion known about as well as a belief knows it."""

    name: str = "lookout"
    parts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts = ("lookout",) if isinstance(self.model.lookout, Overview) else ("lookout.net",)
        self.sampler = shared_sampler(self.cache, self.config, 1, self.seed, self.run)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        lookout, rows, device = self.model.lookout, self.sampler.rows(step), self.run.device
        assert lookout is not None
        noise = stream(self.seed, step, self.sampler, device)
        at = frames_ago(self.cache, rows, AGO if isinstance(lookout, Overview) else lookout.config.ago)
        frames = {c: relit(f, noise) for c, f in self.frames_at(at).items()}
        actors, state = (torch.from_numpy(x).to(device) for x in (self.cache.actors[rows], self.cache.state[rows]))
        if isinstance(lookout, Overview):
            return {"loss": lookout.loss(frames, actors)}
        return {"loss": lookout.loss(frames, actors, about_known(self.model, state, noise))}


def about_known(model: CanvasWorldModel, state: Tensor, noise: NoiseStream) -> Tensor:
    """The ego's speed in m/s and yaw rate in rad/s (b, 2) of recorded states (b, s), as wrong as a belief has them."""
    ego = state[:, model.canvas.motion_at].nan_to_num()
    return ego + noise.normal(2) * ego.new_tensor(OFF)
