"""Known answers for PSNR, SSIM and the copy-last baseline."""

import numpy as np
import pytest

from simworld.metrics.video import copy_last, mse, psnr, psnr_by_horizon, ssim


def films(seed=0, shape=(2, 5, 16, 16, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_psnr_of_a_known_error():
    real = np.full((4, 8, 8, 3), 100, np.uint8)
    assert psnr(real, real + 10) == pytest.approx(np.full(4, 10 * np.log10(255**2 / 100)))
    assert psnr(real, real) == pytest.approx(np.full(4, 58.92), abs=0.01)
    assert mse(real + 10, real) == pytest.approx(np.full(4, 100.0))  # no wrap-around of uint8


def test_psnr_by_horizon_picks_the_right_frames():
    real = np.full((2, 5, 8, 8, 3), 50, np.uint8)
    imagined = real + np.arange(5, dtype=np.uint8)[None, :, None, None, None]
    result = psnr_by_horizon(real, imagined, [1, 3, 5])
    assert result[1] == pytest.approx(58.92, abs=0.01)
    assert result[5] == pytest.approx(10 * np.log10(255**2 / 16))
    with pytest.raises(ValueError, match="horizon 6"):
        psnr_by_horizon(real, imagined, [6])


def test_copy_last_is_the_last_frame_at_every_step():
    film = films()
    copied = copy_last(film[:, 0], 4)
    assert copied.shape == (2, 4, 16, 16, 3)
    assert (copied == film[:, :1]).all()


def test_ssim_is_one_for_equal_frames_and_falls_with_noise():
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], (32, 1, 3))
    noise = np.random.default_rng(0).normal(0, 1, ramp.shape)
    little, much = (np.clip(ramp + s * noise, 0, 255).astype(np.uint8) for s in (5, 40))
    assert ssim(ramp, ramp) == pytest.approx(1.0)
    assert ssim(ramp, much) < ssim(ramp, little) < 1.0
    assert ssim(films(), films(1)).shape == (2, 5)


def test_bad_frames_are_refused():
    with pytest.raises(ValueError, match="shape"):
        psnr(films(), films(0, (2, 4, 16, 16, 3)))
    with pytest.raises(ValueError, match="uint8"):
        psnr(films().astype(float), films().astype(float))
    with pytest.raises(ValueError, match="7 x 7"):
        ssim(films(0, (5, 5, 3)), films(0, (5, 5, 3)))
