"""Pixels: the pair of conversions are inverses on every level."""

import pytest
import torch

from simworld.model.pixels import quantize, to_model, to_uint8


def test_every_level_survives_the_round_trip():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16, 1).expand(2, 1, 16, 16, 3)
    frames = to_model(levels)
    assert frames.shape == (2, 1, 3, 16, 16) and frames.dtype == torch.float32
    assert frames.min() == -1 and frames.max() == 1
    assert torch.equal(to_uint8(frames), levels)
    assert torch.equal(quantize(frames), frames)


def test_rounding_and_clamping():
    frames = torch.tensor([-9.0, -1 + 0.6 / 127.5, 0.4 / 127.5, 9.0]).reshape(4, 1, 1, 1)
    before = frames.clone()
    assert to_uint8(frames).flatten().tolist() == [0, 1, 128, 255]
    assert torch.equal(quantize(frames), to_model(to_uint8(frames)))
    assert torch.equal(frames, before)


def test_floats_are_refused_as_stored_frames():
    with pytest.raises(ValueError, match="uint8"):
        to_model(torch.zeros(1, 2, 2, 3))
