"""The reference's phase: windows of frames, as published."""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.data.cache import FrameCache
from simworld.fit import Run
from simworld.futures import Futures
from simworld.optim import OptimConfig
from simworld.phases.common import PhaseConfig, shared_sampler, stream
from simworld.reference_world_model import ReferenceWorldModel


class ReferencePhase:
    """Windows of frames, as published: the U-Net, and beside it the outcome heads on true frames."""

    name = "reference"
    parts: tuple[str, ...] = ("reference", "classifier", "heads")

    def __init__(
        self,
        model: ReferenceWorldModel,
        cache: FrameCache,
        config: PhaseConfig,
        optim: OptimConfig,
        seed: int,
        run: Run,
    ) -> None:
        self.model, self.optim, self.steps, self.seed, self.run = model, optim, config.steps, seed, run
        self.cache = cache
        self.sampler = shared_sampler(cache, config, model.config.reference.window_frames - 1, seed, run)

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
