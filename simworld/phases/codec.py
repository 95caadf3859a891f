"""The codec's phase: single frames, through the codec and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from simworld.latent_world_model import LatentWorldModel
from simworld.model.codec import ConvCodec
from simworld.model.pixels import to_model
from simworld.phases.common import Stage, shared_sampler, stream


@dataclass
class CodecPhase(Stage[LatentWorldModel]):
    """Single frames of all cameras, through the codec and back."""

    name: str = "codec"
    parts: tuple[str, ...] = ("codec",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sampler = shared_sampler(self.cache, self.config, 1, self.seed, self.run)

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
