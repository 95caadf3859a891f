"""The reference's phase: windows of frames, as published."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from simworld.futures import Futures
from simworld.phases.common import Stage, shared_sampler, stream
from simworld.reference_world_model import ReferenceWorldModel


@dataclass
class ReferencePhase(Stage[ReferenceWorldModel]):
    """Windows of frames, as published: the U-Net, and beside it the outcome heads on true frames."""

    name: str = "reference"
    parts: tuple[str, ...] = ("reference", "classifier", "heads")

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.model.config.reference.window_frames - 1
        self.sampler = shared_sampler(self.cache, self.config, steps, self.seed, self.run)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        rows = self.sampler.rows(step)
        batch = self.sampler.gather(rows)
        device = self.run.device
        frames = {k: f.to(device) for k, f in batch.frames.items()}
        actions = batch.actions.to(device)
        noise = stream(self.seed, step, self.sampler, device)
        frame = self.model.reference.loss(frames, actions, noise)
        last = Futures.of(self.cache, rows + self.sampler.steps - 1, 1).targets(self.cache).map(lambda x: x.to(device))
        losses = self.model.outcome_losses(frames, actions, last)
        return {"loss": frame + 0.05 * torch.stack(list(losses.values())).sum(), "frame": frame} | losses
