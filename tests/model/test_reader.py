"""The reader: it learns from real latents, and what it reads off imagined ones teaches only these."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simworld.model.noise import NoiseStream
from simworld.model.reader import FRAMES, Reader

GRIDS = {"front": (2, 3), "rear": (1, 2)}


@pytest.fixture
def reader() -> Reader:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Reader(channels=4, grids=GRIDS, state_names=("place", "pace"))


def latents(b: int, t: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    return {c: torch.randn(b, t, 4, *hw, generator=g) for c, hw in GRIDS.items()}


def test_a_frame_is_read_from_itself_and_the_two_before(reader: Reader) -> None:
    z = latents(2, 5)
    read = reader(z)
    assert read.shape == (2, 5 - FRAMES + 1, 2)
    late = reader({c: x[:, 2:] for c, x in z.items()})
    torch.testing.assert_close(read[:, 2:], late)


def test_imagined_latents_learn_and_the_reader_does_not(reader: Reader) -> None:
    z = {c: x.requires_grad_(True) for c, x in latents(2, 4).items()}
    reader.shown(z, torch.ones(2, 4, 2)).backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in z.values())
    assert all(p.grad is None for p in reader.parameters())


def test_what_is_not_known_of_the_state_costs_nothing(reader: Reader) -> None:
    noise = NoiseStream(torch.arange(2), torch.zeros(2, dtype=torch.int64))
    nothing = torch.full((2, 4, 2), torch.nan)
    assert float(reader.learned(latents(2, 4), nothing, noise).detach()) == 0
    assert float(reader.shown(latents(2, 4), nothing).detach()) == 0
