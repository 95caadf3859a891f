"""Noise as a function of (seed, step), whatever the batch it is drawn in.

A counter-based generator: every normal number is a hash of its seed, step and index, so that a film
does not depend on the order of calls, two branches share all noise, and a batch needs no loop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_GOLDEN_INVERSE = -1018231460777725123  # their product is 1, modulo 2 ** 64
# odd numbers of irregular bits, so that sums of multiples of the three hardly ever meet
_STEP, _STREAM = -2643881736870682267, 0x1B873593CC9E2D51


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical (not arithmetic) right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): int64 to well-mixed int64."""
    x = (x ^ _shift_right(x, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ _shift_right(x, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ _shift_right(x, 31)


def _bits(seed: Tensor, step: Tensor, stream: int, count: int) -> Tensor:
    """Hashed int64 (b, count) of seed (b,), step (b,), stream and index."""
    key = mix(seed * _GOLDEN + step * _STEP + (stream * _STREAM) % 2**63)
    index = torch.arange(1, count + 1, device=seed.device, dtype=torch.int64)
    # key + index * _GOLDEN; a compiler takes the product of a loop's own index for one that does not overflow
    return mix(((key * _GOLDEN_INVERSE)[:, None] + index) * _GOLDEN)


def _to_unit(bits: Tensor) -> Tensor:
    """The upper 24 bits as float32 strictly inside (0, 1)."""
    return (_shift_right(bits, 40).to(torch.float32) + 0.5) * 2.0**-24


class NoiseStream:
    """Draws for b samples, each a pure function of (seed, step) and of how many draws came before.

    seed, step: int64 (b,).
    """

    def __init__(self, seed: Tensor, step: Tensor) -> None:
        self.seed, self.step = seed, step
        self.num_draws = 0

    def uniform(self, *shape: int) -> Tensor:
        """Float32 (b, *shape) in (0, 1)."""
        self.num_draws += 1
        bits = _bits(self.seed, self.step, self.num_draws, math.prod(shape))
        return _to_unit(bits).reshape(len(self.seed), *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32 (b, *shape); Box and Muller 1958: two uniforms give two normals."""
        self.num_draws += 1
        count = math.prod(shape)
        half = (count + 1) // 2
        uniform = _to_unit(_bits(self.seed, self.step, self.num_draws, 2 * half))
        radius = torch.sqrt(-2 * torch.log(uniform[:, :half]))
        angle = 2 * math.pi * uniform[:, half:]
        normal = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
        return normal[:, :count].reshape(len(self.seed), *shape)
