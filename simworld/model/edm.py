"""Diffusion as Karras et al. 2022 (EDM) form it: preconditioning, training noise, schedule and Euler sampler.

"Elucidating the Design Space of Diffusion-Based Generative Models"; the constants are those that Alonso et al. 2024,
"Diffusion for World Modeling" (DIAMOND), published for Atari. sigma is the standard deviation of the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from simworld.model.noise import NoiseStream


@dataclass(frozen=True)
class EdmConfig:
    """Standard deviations are in model pixels, which span [-1, 1]."""

    sigma_data: float = 0.5
    sigma_offset_noise: float = 0.3  # of a noise that is one number per image and channel
    train_log_mean: float = -0.4  # training: log sigma is normal, then clipped
    train_log_std: float = 1.2
    train_sigma_min: float = 2e-3
    train_sigma_max: float = 20.0
    sample_sigma_min: float = 2e-3
    sample_sigma_max: float = 5.0
    sample_rho: float = 7.0
    # EDM starts from noise as strong as sample_sigma_max; the published code starts from unit noise, so that the
    # first Euler step leaves less noise than its level says. In short trainings that also scored better.
    sample_start_std: float = 1.0
    num_sample_steps: int = 3

    def __post_init__(self) -> None:
        if self.num_sample_steps < 1:
            raise ValueError(f"num_sample_steps must be at least 1, got {self.num_sample_steps}")
        if not 0 < self.sample_sigma_min <= self.sample_sigma_max or self.sigma_data <= 0:
            raise ValueError("sigmas must be positive with sample_sigma_min at most sample_sigma_max")


class Preconditioning(NamedTuple):
    """The denoiser is c_skip * x + c_out * network(c_in * x, c_noise); c_noise is (b,), the others (b, 1, 1, 1)."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def precondition(sigma: Tensor, config: EdmConfig) -> Preconditioning:
    """sigma (b,) -> the factors that keep the network's input and target at unit variance (table 1, last column)."""
    # The offset noise adds to the variance of every pixel, whatever the level.
    variance = sigma**2 + config.sigma_offset_noise**2
    data_variance = config.sigma_data**2
    total = variance + data_variance
    return Preconditioning(
        c_skip=(data_variance / total)[:, None, None, None],
        c_out=(variance * data_variance / total).sqrt()[:, None, None, None],
        c_in=total.rsqrt()[:, None, None, None],
        c_noise=variance.log() / 8,  # a quarter of the logarithm of the standard deviation
    )


def standard_normal(shape: tuple[int, ...], noise: NoiseStream) -> Tensor:
    """Every stream of `noise` draws for as many consecutive entries of the first axis as there are for each."""
    each = shape[0] // len(noise.seed)
    return noise.normal(each, *shape[1:]).flatten(0, 1)


def training_sigmas(x: Tensor, config: EdmConfig, noise: NoiseStream) -> Tensor:
    """A noise level for every image of x (b, c, h, w), (b,): log-normal and clipped."""
    log_sigma = config.train_log_mean + config.train_log_std * standard_normal((len(x),), noise)
    return log_sigma.exp().clamp(config.train_sigma_min, config.train_sigma_max)


def add_noise(x: Tensor, sigma: Tensor, config: EdmConfig, noise: NoiseStream) -> Tensor:
    """x (b, c, h, w) plus noise of level sigma (b,) at every pixel, plus the offset noise of every channel."""
    offset = standard_normal((*x.shape[:2], 1, 1), noise)
    drawn = standard_normal(tuple(x.shape), noise)
    return x + config.sigma_offset_noise * offset + sigma[:, None, None, None] * drawn


def karras_sigmas(config: EdmConfig) -> Tensor:
    """(num_sample_steps + 1,) falling levels, from sample_sigma_max to sample_sigma_min and then 0 (eq. 5)."""
    top, bottom = config.sample_sigma_max ** (1 / config.sample_rho), config.sample_sigma_min ** (1 / config.sample_rho)
    ramp = torch.linspace(0, 1, config.num_sample_steps, dtype=torch.float64)
    sigmas = (top + ramp * (bottom - top)) ** config.sample_rho
    return torch.cat((sigmas, sigmas.new_zeros(1))).float()


def euler_sample(denoise: Callable[[Tensor, Tensor], Tensor], x: Tensor, sigmas: Tensor) -> Tensor:
    """Follow the probability-flow ODE from x (b, c, h, w) at level sigmas[0] down to sigmas[-1] by Euler steps.

    `denoise(x, sigma)` takes sigma (b,) and returns its guess of the clean image.
    """
    for sigma, next_sigma in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        clean = denoise(x, x.new_full(x.shape[:1], sigma))
        # x + (next_sigma - sigma) * (x - clean) / sigma, arranged so that a step to 0 returns `clean` exactly.
        x = clean + (next_sigma / sigma) * (x - clean)
    return x
