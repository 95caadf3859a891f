"""A residual U-Net whose normalisation layers are steered by one conditioning vector per image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

CHANNELS_PER_GROUP = 32
CHANNELS_PER_HEAD = 8


@dataclass(frozen=True)
class UNetConfig:
    """One entry per resolution, finest first; each level after the first halves height and width.

    The defaults are the Atari network of Alonso et al. 2024, "Diffusion for World Modeling" (DIAMOND).
    """

    channels: tuple[int, ...] = (64, 64, 64, 64)
    depths: tuple[int, ...] = (2, 2, 2, 2)  # residual blocks per level on the way down, one more on the way up
    attention: tuple[bool, ...] = (False, False, False, False)  # the two blocks at the bottom always attend
    cond_features: int = 256

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.depths) == len(self.attention) >= 1:
            raise ValueError(
                f"channels, depths and attention need one entry per level, got {len(self.channels)}, "
                f"{len(self.depths)} and {len(self.attention)}"
            )
        if any(c < CHANNELS_PER_HEAD or c % CHANNELS_PER_GROUP and c > CHANNELS_PER_GROUP for c in self.channels):
            raise ValueError(f"channels must be multiples of {CHANNELS_PER_GROUP} (or 8 to 32), got {self.channels}")
        if any(c % CHANNELS_PER_HEAD for c in self.channels):
            raise ValueError(f"channels must be multiples of {CHANNELS_PER_HEAD}, got {self.channels}")
        if self.cond_features < 2 or self.cond_features % 2:
            raise ValueError(f"cond_features must be even and positive, got {self.cond_features}")


class FourierFeatures(nn.Module):
    """Random cosines and sines of a scalar, (b,) -> (b, features), at fixed standard normal frequencies."""

    frequencies: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(features // 2))

    def forward(self, scalar: Tensor) -> Tensor:
        angle = 2 * math.pi * scalar[:, None] * self.frequencies
        return torch.cat((angle.cos(), angle.sin()), dim=-1)


def num_groups(channels: int) -> int:
    return max(1, channels // CHANNELS_PER_GROUP)


class AdaGroupNorm(nn.Module):
    """Group normalisation whose scale and shift are linear in the conditioning vector."""

    def __init__(self, channels: int, cond_features: int) -> None:
        super().__init__()
        self.num_groups = num_groups(channels)
        self.scale_shift = nn.Linear(cond_features, 2 * channels)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        scale, shift = self.scale_shift(cond)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, F.group_norm(x, self.num_groups), 1 + scale)


class SelfAttention(nn.Module):
    """Every pixel attends to every pixel; the skip carries the normalised input, as in the published network.

    Starts as plain normalisation because its last layer starts at zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_heads = channels // CHANNELS_PER_HEAD
        self.norm = nn.GroupNorm(num_groups(channels), channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.to_out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        qkv = self.to_qkv(x)
        q, k, v = rearrange(qkv, "b (three heads c) h w -> three b heads (h w) c", three=3, heads=self.num_heads)
        out = rearrange(F.scaled_dot_product_attention(q, k, v), "b heads (h w) c -> b (heads c) h w", h=x.shape[-2])
        return x + self.to_out(out)


class ResBlock(nn.Module):
    """Two 3x3 convolutions around a skip, then attention if asked for; starts close to its skip."""

    def __init__(self, in_channels: int, out_channels: int, cond_features: int, *, attention: bool) -> None:
        super().__init__()
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.norm_1 = AdaGroupNorm(in_channels, cond_features)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm_2 = AdaGroupNorm(out_channels, cond_features)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.attention = SelfAttention(out_channels) if attention else nn.Identity()
        nn.init.zeros_(self.conv_2.weight)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        residual = self.conv_1(F.silu(self.norm_1(x, cond)))
        residual = self.conv_2(F.silu(self.norm_2(residual, cond)))
        return self.attention(self.skip(x) + residual)


class ResBlocks(nn.ModuleList):
    """Residual blocks in a row, `sizes` their (in, out) channels."""

    def __init__(self, sizes: list[tuple[int, int]], cond_features: int, *, attention: bool) -> None:
        super().__init__([ResBlock(a, b, cond_features, attention=attention) for a, b in sizes])

    def forward(
        self, x: Tensor, cond: Tensor, made: list[Tensor] | None = None, taken: list[Tensor] | None = None
    ) -> Tensor:
        """Append every output to the stack `made`; concatenate the top of the stack `taken` to every input."""
        for block in self:
            x = block(x if taken is None else torch.cat((x, taken.pop()), dim=1), cond)
            if made is not None:
                made.append(x)
        return x


class Downsample(nn.Conv2d):
    """Halve height and width by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2, padding=1)
        nn.init.orthogonal_(self.weight)


class Upsample(nn.Conv2d):
    """Double height and width by nearest neighbour and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """(b, in_channels, h, w) and cond (b, cond_features) -> (b, out_channels, h, w); zero (but for a bias) at first.

    Every tensor made on the way down, the downsampled one included, is concatenated to the input of its
    counterpart on the way up. Sizes that the levels do not divide are padded inside and cropped again.
    """

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.conv_in = nn.Conv2d(in_channels, config.channels[0], 3, padding=1)
        self.downsamples, self.down_levels = nn.ModuleList(), nn.ModuleList()
        self.upsamples, self.up_levels = nn.ModuleList(), nn.ModuleList()
        last = len(config.channels) - 1
        for i, (wide, depth) in enumerate(zip(config.channels, config.depths, strict=True)):
            narrow = config.channels[max(0, i - 1)]
            self.downsamples.append(Downsample(narrow) if i > 0 else nn.Identity())
            self.upsamples.append(Upsample(wide) if i < last else nn.Identity())
            down_sizes = [(narrow, wide)] + [(wide, wide)] * (depth - 1)
            up_sizes = [(2 * wide, wide)] * depth + [(narrow + wide, narrow)]
            self.down_levels.append(ResBlocks(down_sizes, config.cond_features, attention=config.attention[i]))
            self.up_levels.append(ResBlocks(up_sizes, config.cond_features, attention=config.attention[i]))
        self.middle = ResBlocks([(config.channels[-1],) * 2] * 2, config.cond_features, attention=True)
        self.norm_out = nn.GroupNorm(num_groups(config.channels[0]), config.channels[0])
        self.conv_out = nn.Conv2d(config.channels[0], out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        multiple = 2 ** (len(self.config.channels) - 1)
        x = F.pad(self.conv_in(x), (0, -width % multiple, 0, -height % multiple))
        skips: list[Tensor] = []
        for downsample, level in zip(self.downsamples, self.down_levels, strict=True):
            skips.append(downsample(x))
            x = level(skips[-1], cond, made=skips)
        x = self.middle(x, cond)
        for upsample, level in zip(reversed(self.upsamples), reversed(self.up_levels), strict=True):
            x = level(upsample(x), cond, taken=skips)
        x = x[..., :height, :width]
        return self.conv_out(F.silu(self.norm_out(x)))
