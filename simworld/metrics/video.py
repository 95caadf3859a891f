"""Pixel fidelity of imagined frames: PSNR and SSIM against the real ones, by horizon, and the copy-last baseline."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Frames = NDArray[np.uint8]

# Rounding to whole grey levels alone leaves an error of variance 1/12; two equal 8-bit frames are not known to be
# closer than that. It bounds PSNR at 58.9 dB and keeps it finite.
ROUNDING_MSE = 1.0 / 12.0


def mse(real: Frames, imagined: Frames) -> NDArray[np.float64]:
    """Mean squared error in grey levels of frames (..., h, w, 3) uint8 -> (...); ValueError if the shapes differ."""
    _check(real, imagined)
    lead = real.shape[:-3]
    error = np.empty(int(np.prod(lead)), np.float64)
    flat_real, flat_imagined = (x.reshape(-1, *x.shape[-3:]) for x in (real, imagined))
    for i, (a, b) in enumerate(zip(flat_real, flat_imagined, strict=True)):  # frame by frame: no float copy of a film
        error[i] = np.square(a.astype(np.float32) - b.astype(np.float32)).mean(dtype=np.float64)
    return error.reshape(lead)


def psnr(real: Frames, imagined: Frames) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB of each frame, (..., h, w, 3) uint8 -> (...); equal frames give 58.9 dB."""
    return 10.0 * np.log10(255.0**2 / np.maximum(mse(real, imagined), ROUNDING_MSE))


def psnr_by_horizon(real: Frames, imagined: Frames, horizons: Iterable[int]) -> dict[int, float]:
    """Mean PSNR over n films at chosen horizons, {steps ahead: dB}.

    real, imagined (n, t, h, w, 3) uint8, entry 0 of the time axis being one step ahead of the last context frame.
    Decibels are averaged, not errors, so that every film counts the same.
    """
    chosen = list(horizons)
    steps = real.shape[1]
    for horizon in chosen:
        if not 1 <= horizon <= steps:
            raise ValueError(f"horizon {horizon} is outside the {steps} frames given; choose 1 to {steps}")
    return {k: float(psnr(real[:, k - 1], imagined[:, k - 1]).mean()) for k in chosen}


def copy_last(last: Frames, steps: int) -> Frames:
    """The baseline that predicts no change: last context frame (n, h, w, 3) -> (n, steps, h, w, 3), read-only."""
    n, *frame = last.shape
    return np.broadcast_to(last[:, None], (n, steps, *frame))


def ssim(real: Frames, imagined: Frames) -> NDArray[np.float64]:
    """Structural similarity of each frame on luma, (..., h, w, 3) uint8 -> (...), 1 for equal frames.

    Wang et al. 2004 with a uniform 7 x 7 window and sample covariances. Raises ValueError below 7 x 7 pixels.
    """
    _check(real, imagined)
    if min(real.shape[-3:-1]) < 7:
        raise ValueError(f"ssim needs frames of at least 7 x 7 pixels, got {real.shape[-3]} x {real.shape[-2]}")
    luma = np.array([0.299, 0.587, 0.114])
    lead = real.shape[:-3]
    pairs = zip(real.reshape(-1, *real.shape[-3:]), imagined.reshape(-1, *imagined.shape[-3:]), strict=True)
    return np.array([_ssim_one(a @ luma, b @ luma) for a, b in pairs]).reshape(lead)


def _ssim_one(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    window, c1, c2 = 7, (0.01 * 255) ** 2, (0.03 * 255) ** 2
    sample = window**2 / (window**2 - 1)
    mean_x, mean_y = uniform_filter(x, window), uniform_filter(y, window)
    var_x = sample * (uniform_filter(x * x, window) - mean_x**2)
    var_y = sample * (uniform_filter(y * y, window) - mean_y**2)
    covariance = sample * (uniform_filter(x * y, window) - mean_x * mean_y)
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    edge = window // 2  # windows that reach past the border hold reflected pixels
    return float((top / bottom)[edge : -edge or None, edge : -edge or None].mean())


def _check(real: Frames, imagined: Frames) -> None:
    if real.shape != imagined.shape or real.ndim < 3:
        raise ValueError(f"real and imagined frames must share one shape (..., h, w, 3): {real.shape, imagined.shape}")
    if real.dtype != np.uint8 or imagined.dtype != np.uint8:
        raise ValueError(f"frames must be uint8, got {real.dtype} and {imagined.dtype}")
