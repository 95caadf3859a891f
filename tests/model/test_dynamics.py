"""Dynamics and codecs: noise levels, past frames and latents, each against a hand-made answer."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from simworld.model.codec import CodecConfig, ConvCodec, PixelCodec, build_codec
from simworld.model.dynamics import DynamicsConfig, corrupt, draw_levels, draw_noise, embed_level, noised, past_frames
from simworld.model.noise import NoiseStream

from ..tiny_world import PIXELS, SPEC, lively_model


def noise(b: int = 4, step: int = 0) -> NoiseStream:
    return NoiseStream(torch.arange(b), torch.full((b,), step))


def test_past_frames_newest_first_and_the_first_stands_in() -> None:
    z = torch.arange(1.0, 5.0).reshape(1, 4, 1, 1, 1)
    assert past_frames({"a": z}, 3)["a"][0, :, :, 0, 0].tolist() == [[1, 1, 1], [2, 1, 1], [3, 2, 1]]
    assert past_frames({"a": z}, 1)["a"][0, :, :, 0, 0].tolist() == [[1], [2], [3]]


def test_noised_is_a_straight_line_from_noise_to_clean() -> None:
    clean = {"a": torch.full((1, 3, 2, 1, 1), 4.0)}
    drawn = {"a": torch.full((1, 3, 2, 1, 1), -2.0)}
    out = noised(clean, torch.tensor([[0.0, 0.5, 1.0]]), drawn)["a"]
    assert out[0, :, 0, 0, 0].tolist() == [-2.0, 1.0, 4.0]


def test_levels_are_pure_noise_as_often_as_configured() -> None:
    config = DynamicsConfig(pure_noise=0.6)
    levels = draw_levels(config, 16, noise(2000))
    assert levels.level.shape == levels.history.shape == (2000, 16)
    assert abs(float((levels.level == 0).float().mean()) - 0.6) < 0.01
    assert 0 <= float(levels.level.min()) and float(levels.level.max()) < 1
    assert (levels.history == levels.history[:, :1]).all(), "one history noise for a window"
    assert abs(float((levels.history[:, 0] < 0.1).float().mean()) - 0.55) < 0.03
    assert not (draw_levels(dataclasses.replace(config, pure_noise=1.0), 4, noise()).level > 0).any()


def test_corrupt_adds_the_amount_asked_for() -> None:
    z = {"a": torch.zeros(2, 5, 3, 20, 20)}
    out = corrupt(z, torch.tensor([0.0, 0.2]), noise(2))["a"]
    assert (out[0] == 0).all() and abs(float(out[1].std()) - 0.2) < 0.01


def test_cameras_get_noise_of_their_own() -> None:
    like = {"a": torch.zeros(2, 1, 3, 4, 4), "b": torch.zeros(2, 1, 3, 4, 4)}
    drawn = draw_noise(like, noise(2))
    assert not torch.equal(drawn["a"], drawn["b"])
    assert torch.equal(drawn["a"], draw_noise(like, noise(2))["a"])


def test_levels_are_told_apart() -> None:
    codes = embed_level(torch.linspace(0, 1, 33), 64)
    assert codes.shape == (33, 64) and torch.pdist(codes).min() > 0.1


def test_pixel_codec_is_exact() -> None:
    frames = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    codec = build_codec(CodecConfig(kind="pixels"))
    assert isinstance(codec, PixelCodec)
    latents = codec.encode(frames)
    assert latents.shape == (2, 192, 2, 3)
    assert torch.equal(codec.decode(latents), frames)
    assert float(codec.clamp(latents + 5).max()) == 1.0


def test_conv_codec_standardises_over_cameras_of_different_sizes() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = build_codec(CodecConfig(channels=4, widths=(4, 4, 8)))
    assert isinstance(codec, ConvCodec)
    g = torch.Generator().manual_seed(1)
    cameras = [torch.rand(20, 3, 16, 24, generator=g) * 2 - 1, torch.rand(20, 3, 8, 16, generator=g) * 2 - 1]
    codec.standardise(cameras)
    with torch.no_grad():
        cells = torch.cat([codec.to_bounded(f).movedim(1, 0).flatten(1) for f in cameras], dim=1)
    torch.testing.assert_close(codec.mean, cells.mean(1))
    torch.testing.assert_close(codec.std, cells.std(1).clamp(min=0.02))
    with torch.no_grad():
        latents = codec.encode(cameras[0])
        assert torch.equal(codec.clamp(latents), latents), "what encode gives lies inside the box"
        assert codec.decode(latents).shape == cameras[0].shape


def test_unknown_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="conv or pixels"):
        build_codec(CodecConfig(kind="jpeg"))  # type: ignore[arg-type]


def test_tokens_of_several_cells_stream_as_they_train() -> None:
    patched = dataclasses.replace(PIXELS, dynamics=dataclasses.replace(PIXELS.dynamics, patch=2))
    spec = dataclasses.replace(SPEC, cameras={"front": (32, 48)})
    model = lively_model(patched, spec)
    assert model.dynamics.num_cells == 6
    frames = {"front": torch.randint(0, 256, (2, 5, 32, 48, 3), dtype=torch.uint8)}
    actions, seed = torch.rand(2, 4, 2), torch.arange(2)
    state = model.start(frames, actions, seed=seed)
    _, prediction = model.step(state, actions[:, 0])
    assert prediction.frames["front"].shape == (2, 32, 48, 3)
    with pytest.raises(ValueError, match="multiples of 16"):
        lively_model(patched)
