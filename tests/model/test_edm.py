"""EDM against closed forms: unit variances, the published schedule, and ODEs whose solution is known."""

import dataclasses

import pytest
import torch

from simworld.model.edm import (
    EdmConfig,
    add_noise,
    euler_sample,
    karras_sigmas,
    precondition,
    standard_normal,
    training_sigmas,
)
from simworld.model.noise import NoiseStream

CONFIG = EdmConfig()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stream(b: int) -> NoiseStream:
    return NoiseStream(torch.arange(b), torch.zeros(b, dtype=torch.int64))


def test_every_stream_draws_for_its_own_images():
    """Two windows of three images: the second window's are those that it gets when it is alone."""
    together, alone = stream(2), NoiseStream(torch.tensor([1]), torch.tensor([0]))
    assert torch.equal(standard_normal((6, 3, 2, 2), together)[3:], standard_normal((3, 3, 2, 2), alone))
    assert torch.equal(standard_normal((6,), together)[3:], standard_normal((3,), alone))


@pytest.mark.parametrize("level", [0.002, 0.3, 5.0])
def test_network_input_and_target_have_unit_variance(level):
    clean = CONFIG.sigma_data * torch.randn(20_000, 3, 2, 2, generator=generator(1))
    sigma = torch.full((20_000,), level)
    noisy = add_noise(clean, sigma, CONFIG, stream(20_000))
    scales = precondition(sigma, CONFIG)
    assert (scales.c_in * noisy).std().item() == pytest.approx(1, abs=0.01)
    assert ((clean - scales.c_skip * noisy) / scales.c_out).std().item() == pytest.approx(1, abs=0.01)


def test_preconditioning_without_offset_noise_is_table_1_of_edm():
    scales = precondition(torch.tensor([1.2]), dataclasses.replace(CONFIG, sigma_offset_noise=0.0))
    assert scales.c_skip.item() == pytest.approx(0.25 / 1.69)
    assert scales.c_out.item() == pytest.approx(1.2 * 0.5 / 1.3)
    assert scales.c_in.item() == pytest.approx(1 / 1.3)
    assert scales.c_noise.item() == pytest.approx(torch.tensor(1.2).log().item() / 4)


def test_offset_noise_is_one_number_per_image_and_channel():
    x = torch.zeros(20_000, 3, 2, 2)
    noise = add_noise(x, torch.zeros(20_000), CONFIG, stream(20_000))
    torch.testing.assert_close(noise, noise[..., :1, :1].expand_as(noise))
    assert noise[..., 0, 0].std().item() == pytest.approx(0.3, abs=0.005)


def test_training_sigmas_are_log_normal_and_clipped():
    sigma = training_sigmas(torch.zeros(50_000, 1, 1, 1), CONFIG, stream(50_000))
    assert sigma.log().mean().item() == pytest.approx(-0.4, abs=0.02)
    assert sigma.log().std().item() == pytest.approx(1.2, abs=0.02)
    tight = dataclasses.replace(CONFIG, train_sigma_min=0.5, train_sigma_max=0.7)
    sigma = training_sigmas(torch.zeros(100, 1, 1, 1), tight, stream(100))
    assert 0.5 <= sigma.min() and sigma.max() <= 0.7


def test_published_schedule():
    middle = ((5 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    torch.testing.assert_close(karras_sigmas(CONFIG), torch.tensor([5.0, middle, 0.002, 0.0]))
    torch.testing.assert_close(karras_sigmas(dataclasses.replace(CONFIG, num_sample_steps=1)), torch.tensor([5.0, 0.0]))


def test_an_oracle_denoiser_makes_the_sampler_return_the_truth():
    truth = torch.rand(2, 3, 4, 4, generator=generator(1)) * 2 - 1
    noise = torch.randn(2, 3, 4, 4, generator=generator(2))
    before = noise.clone()
    assert torch.equal(euler_sample(lambda x, sigma: truth, noise, karras_sigmas(CONFIG)), truth)
    assert torch.equal(noise, before)


def test_gaussian_data_follow_the_exact_solution():
    # For data of variance s^2 the ideal denoiser is x s^2 / (s^2 + sigma^2), and the ODE scales x by
    # sqrt(s^2 / (s^2 + sigma_max^2)) on the way to 0.
    config = dataclasses.replace(CONFIG, num_sample_steps=400)
    start = 5 * torch.randn(1, 1, 4, 4, generator=generator())

    def ideal(x, sigma):
        return x * 0.25 / (0.25 + sigma[:, None, None, None] ** 2)

    end = euler_sample(ideal, start, karras_sigmas(config))
    torch.testing.assert_close(end, start * (0.25 / 25.25) ** 0.5, rtol=0.02, atol=0)


def test_bad_configs_are_refused():
    for wrong in ({"num_sample_steps": 0}, {"sample_sigma_min": 6.0}, {"sigma_data": 0.0}):
        with pytest.raises(ValueError):
            EdmConfig(**wrong)
