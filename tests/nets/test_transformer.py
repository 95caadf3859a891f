"""Attention and transformer: causal, windowed, and the same with a cache."""

from __future__ import annotations

import pytest
import torch

from simworld.nets.attention import AgeBias, Attention, attend
from simworld.nets.transformer import SpaceTimeTransformer, TransformerConfig


def small(window: int = 3, layers: int = 2) -> SpaceTimeTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = TransformerConfig(width=8, layers=layers, heads=2, mlp_ratio=2, temporal_every=2, window=window)
        net = SpaceTimeTransformer(config)
        for name, p in net.named_parameters():
            if "age_bias" in name:
                torch.nn.init.normal_(p)
    return net.requires_grad_(False)


def inputs(t: int, b: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(t)
    return torch.randn(b, t, 5, 8, generator=g), torch.randn(b, t, 8, generator=g)


def test_age_bias_hides_the_future_and_what_is_too_old() -> None:
    bias = AgeBias(2, window=3)
    with torch.no_grad():
        bias.table.copy_(torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]))
    inf = float("inf")
    want = [[0, -inf, -inf, -inf], [1, 0, -inf, -inf], [2, 1, 0, -inf], [-inf, 2, 1, 0]]
    assert bias(4, 4)[0].tolist() == want
    assert bias(1, 4)[0].tolist() == want[-1:]
    assert bias(1, 3).tolist() == [[[2, 1, 0]], [[5, 4, 3]]]


def test_attention_by_hand() -> None:
    q = torch.tensor([[[[2.0**0.5, 0.0]]]])
    k = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    v = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    e = torch.tensor(1.0).exp()
    want = torch.stack([e / (e + 1), 1 / (e + 1)])
    torch.testing.assert_close(attend(q, k, v, None)[0, 0, 0], want)
    torch.testing.assert_close(attend(q.requires_grad_(), k, v, None)[0, 0, 0], want)


def test_both_paths_of_attention_agree_under_a_bias() -> None:
    q, k, v = torch.randn(3, 2, 2, 4, 8, generator=torch.Generator().manual_seed(0))
    bias = AgeBias(2, window=3)(4, 4).detach()
    torch.testing.assert_close(attend(q.clone().requires_grad_(), k, v, bias), attend(q, k, v, bias))


def test_a_frame_sees_its_past_and_its_own_tokens_only() -> None:
    net, (x, condition) = small(window=3), inputs(6)
    usual, _ = net(x, condition)
    for t in range(6):
        other = x.clone()
        other[:, t, 0, 0] += 3
        changed = (net(other, condition)[0] - usual).abs().amax(dim=(0, 2, 3)) > 1e-6
        assert changed.tolist() == [t <= i < t + 3 for i in range(6)]


@pytest.mark.parametrize("window", [1, 2, 4])
@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_a_cache_gives_the_same_as_one_pass(window: int, chunk: int) -> None:
    net, (x, condition) = small(window, layers=4), inputs(10)
    whole, _ = net(x, condition)
    cache, parts = None, []
    for t in range(0, 10, chunk):
        part, cache = net(x[:, t : t + chunk], condition[:, t : t + chunk], cache)
        parts.append(part)
        assert all(kept.shape[3] <= window - 1 for pair in cache for kept in pair)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)


def test_age_hides_frames_from_before_a_streams_start() -> None:
    net, (x, condition) = small(window=4), inputs(5)
    _, cache = net(x[:, :3], condition[:, :3])
    last = x[:, 3:4], condition[:, 3:4]
    masked, _ = net(*last, cache, torch.tensor([3, 1]))
    _, short = net(x[1:, 2:3], condition[1:, 2:3])
    torch.testing.assert_close(masked[:1], net(*last, cache)[0][:1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(masked[1:], net(x[1:, 3:4], condition[1:, 3:4], short)[0], atol=1e-6, rtol=1e-5)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="10 is not a multiple of 4"):
        Attention(10, 4)
