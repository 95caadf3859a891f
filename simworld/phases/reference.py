"""The reference's phase: windows of frames, as published."""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.data.cache import FrameCache
from simworld.data.windows import Batch
from simworld.fit import Run
from simworld.model.outcomes import OutcomeTargets
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
        self.sampler = shared_sampler(cache, config, model.config.reference.window_frames - 1, seed, run)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        batch = self.sampler.gather(self.sampler.rows(step))
        device = self.run.device
        frames = {k: f.to(device) for k, f in batch.frames.items()}
        actions = batch.actions.to(device)
        noise = stream(self.seed, step, self.sampler, device)
        frame = self.model.reference.loss(frames, actions, noise)
        last = targets_of(batch, device).steps(slice(-1, None))
        losses = self.model.outcome_losses(frames, actions, last)
        return {"loss": frame + 0.05 * torch.stack(list(losses.values())).sum(), "frame": frame} | losses

    def finish(self) -> None:
        """Nothing to calibrate."""


def targets_of(batch: Batch, device: torch.device) -> OutcomeTargets:
    """What the outcome heads learn, moved to the device."""

    def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.to(device) for k, v in tensors.items()}

    return OutcomeTargets(
        reward=batch.reward.to(device),
        terminated=batch.terminated.to(device),
        outcomes=moved(batch.outcomes),
        steps_to_event=moved(batch.steps_to_event),
        steps_left=batch.steps_left.to(device),
        value_at_event=moved(batch.value_at_event),
        state=batch.state[:, 1:].to(device),
    )
