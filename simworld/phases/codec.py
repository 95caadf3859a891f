"""The codec's phase: single frames, through the codec and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from simworld.data.cache import FrameCache
from simworld.fit import Run
from simworld.latent_world_model import LatentWorldModel
from simworld.model.codec import ConvCodec
from simworld.model.pixels import to_model
from simworld.optim import OptimConfig
from simworld.phases.common import PhaseConfig, shared_sampler, stream


class CodecPhase:
    """Single frames of all cameras, through the codec and back."""

    name = "codec"
    parts: tuple[str, ...] = ("codec",)

    def __init__(
        self, model: LatentWorldModel, cache: FrameCache, config: PhaseConfig, optim: OptimConfig, seed: int, run: Run
    ) -> None:
        assert isinstance(model.codec, ConvCodec)
        self.model, self.cache, self.optim, self.steps = model, cache, optim, config.steps
        self.seed, self.run = seed, run
        self.sampler = shared_sampler(cache, config, 1, seed, run)

    @property
    def codec(self) -> ConvCodec:
        assert isinstance(self.model.codec, ConvCodec)
        return self.model.codec

    def frames(self, step: int) -> list[Tensor]:
        """float32 (b, 3, h, w) per camera."""
        rows = self.sampler.rows(step)
        return [to_model(torch.from_numpy(f[rows])).to(self.run.device) for f in self.cache.frames.values()]

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        noise = stream(self.seed, step, self.sampler, self.run.device)
        losses = [self.codec.loss(frames, noise) for frames in self.frames(step)]
        return {"loss": torch.stack(losses).mean()}

    def finish(self) -> None:
        """Set the latents' mean and spread, from the frames of one fixed batch."""
        rows = np.random.default_rng(self.seed).integers(0, len(self.cache.actions), 256)
        cameras = [to_model(torch.from_numpy(f[rows])).to(self.run.device) for f in self.cache.frames.values()]
        self.codec.standardise(cameras)
