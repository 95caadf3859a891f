"""Codecs: between frames and the small grids of numbers in which the dynamics run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.model.noise import NoiseStream


@dataclass(frozen=True)
class CodecConfig:
    """`conv`: a small autoencoder. `pixels`: the frame itself, unshuffled by 8.

    `widths`: channels of the maps from the finest, which is half the frame's, each half the one before:
    three of them put 8 pixels on a side of a cell, five put 32.
    """

    kind: Literal["conv", "pixels"] = "conv"
    channels: int = 16
    widths: tuple[int, ...] = (32, 64, 128)
    latent_noise: float = 0.05

    def __post_init__(self) -> None:
        if not self.widths:
            raise ValueError("a codec needs at least one width; three of them put 8 pixels on a side of a cell")


SATURATED = 2.0  # where tanh has lost 93 % of its slope


class Codec(nn.Module):
    """Frames (n, 3, h, w) in [-1, 1] to latents (n, channels, h/scale, w/scale), standardised, and back."""

    scale: int = 8
    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def to_bounded(self, frames: Tensor) -> Tensor:
        """Frames to latents in [-1, 1], before standardisation."""
        raise NotImplementedError

    def from_bounded(self, bounded: Tensor) -> Tensor:
        raise NotImplementedError

    def encode(self, frames: Tensor) -> Tensor:
        return (self.to_bounded(frames) - self.mean[:, None, None]) / self.std[:, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        return self.from_bounded(latents * self.std[:, None, None] + self.mean[:, None, None]).clamp(-1, 1)

    def clamp(self, latents: Tensor) -> Tensor:
        """Hold latents (..., c, h, w) inside what `encode` can give: drift can not leave the box."""
        low = ((-1 - self.mean) / self.std)[:, None, None]
        high = ((1 - self.mean) / self.std)[:, None, None]
        return torch.minimum(torch.maximum(latents, low), high)


class PixelCodec(Codec):
    """No codec: 8 x 8 pixels are one cell of 192 channels."""

    def __init__(self) -> None:
        super().__init__(3 * self.scale**2)

    def to_bounded(self, frames: Tensor) -> Tensor:
        return rearrange(frames, "n c (h p) (w q) -> n (c p q) h w", p=self.scale, q=self.scale)

    def from_bounded(self, bounded: Tensor) -> Tensor:
        return rearrange(bounded, "n (c p q) h w -> n c (h p) (w q)", p=self.scale, q=self.scale)


class Residual(nn.Module):
    """x + two 3x3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class ConvCodec(Codec):
    """A convolutional autoencoder whose finest grid is half the frame's: cheap at both ends."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config.channels)
        self.latent_noise = config.latent_noise
        self.scale = 2 ** len(config.widths)
        widths, finest, coarsest = config.widths, config.widths[0], config.widths[-1]
        down: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(12, finest, 3, padding=1), Residual(finest)]
        for fine, coarse in pairwise(widths):
            down += [nn.Conv2d(fine, coarse, 4, stride=2, padding=1), Residual(coarse)]
        self.encoder = nn.Sequential(*down, nn.Conv2d(coarsest, config.channels, 1))
        up: list[nn.Module] = [
            nn.Conv2d(config.channels, coarsest, 3, padding=1),
            Residual(coarsest),
            Residual(coarsest),
        ]
        for coarse, fine in pairwise(reversed(widths)):
            up += [nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2), Residual(fine)]
        self.decoder = nn.Sequential(*up, nn.SiLU(), nn.Conv2d(finest, 12, 3, padding=1), nn.PixelShuffle(2))

    def to_bounded(self, frames: Tensor) -> Tensor:
        return torch.tanh(self._encoded(frames))

    def _encoded(self, frames: Tensor) -> Tensor:
        return self.encoder(frames.contiguous(memory_format=torch.channels_last))

    def from_bounded(self, bounded: Tensor) -> Tensor:
        return self.decoder(bounded.contiguous(memory_format=torch.channels_last))

    def loss(self, frames: Tensor, noise: NoiseStream) -> Tensor:
        """Reconstruction of frames (n, 3, h, w) through slightly noised latents: squared and absolute error.

        The noise spreads the latents, so that small errors of the dynamics stay small in pixels. Beyond SATURATED
        the bound passes next to no gradient on: a spike in training would leave the codec there for good.
        """
        encoded = self._encoded(frames)
        shaken = torch.tanh(encoded) + self.latent_noise * noise.normal(*encoded.shape[1:])
        error = self.from_bounded(shaken).float() - frames
        lost = F.relu(encoded.float().abs() - SATURATED).square().mean()
        return error.square().mean() + 0.1 * error.abs().mean() + 0.1 * lost

    @torch.no_grad()
    def standardise(self, cameras: Sequence[Tensor]) -> None:
        """Set mean and std so that the latents of all cameras' frames, each (n, 3, h, w) of its own size, together
        have zero mean and unit variance per channel."""
        cells = [rearrange(self.to_bounded(frames).float(), "n c h w -> c (n h w)") for frames in cameras]
        bounded = torch.cat(cells, dim=1)
        self.mean.copy_(bounded.mean(dim=1))
        self.std.copy_(bounded.std(dim=1).clamp(min=0.02))


def build_codec(config: CodecConfig) -> Codec:
    if config.kind == "pixels":
        return PixelCodec()
    if config.kind == "conv":
        return ConvCodec(config)
    raise ValueError(f"unknown codec {config.kind!r}; use conv or pixels")
