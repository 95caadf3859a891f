"""The U-Net: what it is at initialisation, what reaches what, and which sizes it takes."""

import math

import pytest
import torch
import torch.nn.functional as F

from simworld.nets.unet import AdaGroupNorm, FourierFeatures, SelfAttention, UNet, UNetConfig

SMALL = UNetConfig(channels=(16, 32), depths=(1, 2), attention=(False, True), cond_features=8)


def randomised(net: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every weight non-zero, so that nothing hides behind a zero-initialised layer."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return net


def test_published_size():
    assert sum(p.numel() for p in UNet(15, 3, UNetConfig()).parameters()) == 4_274_115


def test_output_is_zero_at_first_and_depends_on_everything_later():
    net = UNet(5, 2, SMALL)
    x, cond = torch.randn(2, 5, 8, 8), torch.randn(2, 8)
    bias = net.conv_out.bias[:, None, None].expand(2, 2, 8, 8)
    torch.testing.assert_close(net(x, cond), bias)
    randomised(net)
    assert not torch.allclose(net(x, cond), net(x, cond + 1))
    net(x, cond).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_samples_do_not_mix():
    net = randomised(UNet(5, 2, SMALL))
    x, cond = torch.randn(3, 5, 8, 8), torch.randn(3, 8)
    torch.testing.assert_close(net(x, cond)[1:2], net(x[1:2], cond[1:2]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 2)])
def test_any_size_in_the_same_size_out(size):
    net = UNet(5, 2, SMALL)
    assert net(torch.randn(1, 5, *size), torch.randn(1, 8)).shape == (1, 2, *size)


def test_channels_last_gives_the_same():
    net = randomised(UNet(5, 2, SMALL))
    x, cond = torch.randn(2, 5, 8, 8), torch.randn(2, 8)
    expected = net(x, cond)
    actual = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), cond)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_ada_group_norm_scales_and_shifts_32_channels_at_a_time():
    norm = AdaGroupNorm(64, 1)
    norm.scale_shift.weight.data.zero_()
    norm.scale_shift.bias.data = torch.cat((torch.full((64,), 2.0), torch.full((64,), 5.0)))
    x = 3 + torch.randn(1, 64, 4, 4)
    torch.testing.assert_close(norm(x, torch.zeros(1, 1)), F.group_norm(x, 2) * 3 + 5)


def test_fourier_features_of_known_frequencies():
    features = FourierFeatures(4)
    features.frequencies.copy_(torch.tensor([1.0, 0.5]))
    expected = [[math.cos(math.pi / 2), math.cos(math.pi / 4), math.sin(math.pi / 2), math.sin(math.pi / 4)]]
    torch.testing.assert_close(features(torch.tensor([0.25])), torch.tensor(expected))


def test_attention_matches_the_formula():
    attention = randomised(SelfAttention(16))
    x = torch.randn(2, 16, 3, 5)
    normed = attention.norm(x)
    q, k, v = attention.to_qkv(normed).flatten(2).unflatten(1, (3, 2, 8)).unbind(1)
    weights = torch.softmax(torch.einsum("bhci,bhcj->bhij", q, k) / math.sqrt(8), dim=-1)
    mixed = torch.einsum("bhij,bhcj->bhci", weights, v).reshape(2, 16, 3, 5)
    torch.testing.assert_close(attention(x), normed + attention.to_out(mixed), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"channels": (64, 64)}, {"channels": (64, 64, 64, 40)}, {"channels": (12, 64, 64, 64)}, {"cond_features": 7}],
)
def test_bad_configs_are_refused(wrong):
    with pytest.raises(ValueError):
        UNetConfig(**wrong)
