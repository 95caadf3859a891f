"""The belief's phase: what was seen, and what was recorded after it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simworld.believing import BelievingWorldModel
from simworld.data.cache import FrameCache
from simworld.fit import Run
from simworld.futures import Futures, frames_ago
from simworld.model.actions import encode_actions
from simworld.model.noise import NoiseStream
from simworld.optim import OptimConfig
from simworld.phases.common import PhaseConfig, shared_sampler, stream

OUTCOME_WEIGHT = 0.2  # of each outcome's loss, beside that of the state


class BeliefPhase:
    """Frames before a row, and the steps recorded after it: the belief and the outcome heads, together.

    The pictures of the future play no part, so that a step costs little and each learns from 3 s of what followed.
    """

    name = "belief"

    def __init__(
        self,
        model: BelievingWorldModel[Any],
        cache: FrameCache,
        config: PhaseConfig,
        optim: OptimConfig,
        seed: int,
        run: Run,
    ) -> None:
        self.model, self.cache, self.config, self.optim, self.steps = model, cache, config, optim, config.steps
        self.seed, self.run, self.parts = seed, run, model.outcome_parts
        self.sampler = shared_sampler(cache, config, 1, seed, run)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        rows, device = self.sampler.rows(step), self.run.device
        noise = stream(self.seed, step, self.sampler, device)
        before = frames_ago(self.cache, rows, self.model.belief.config.ago)
        frames = {c: relit(torch.from_numpy(f[before]).to(device), noise) for c, f in self.cache.frames.items()}
        future = Futures.of(self.cache, rows, self.config.window)
        actions = encode_actions(future.actions(self.cache).to(device), self.cache.spec.action)
        actors = self.model.some_actors(future.actors(self.cache).to(device), noise)
        beliefs = self.model.belief.follow(self.model.belief.see(frames)[:, None], actions, actors)
        losses = self.model.heads.loss(beliefs, future.targets(self.cache).map(lambda x: x.to(device)))
        total = torch.stack([x if name == "state" else OUTCOME_WEIGHT * x for name, x in losses.items()]).sum()
        return {"loss": total} | losses


def relit(frames: Tensor, noise: NoiseStream) -> Tensor:
    """Frames uint8 (b, t, h, w, 3) in another light, each window in its own: exposure and brightness."""
    gain = (1 + 0.15 * noise.normal(1, 1, 1, 1)).clamp(0.6, 1.4)
    lift = 10 * noise.normal(1, 1, 1, 3)
    return frames.float().mul_(gain).add_(lift + 0.5).clamp_(0, 255).to(torch.uint8)
