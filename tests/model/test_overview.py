"""The overview: it learns to find who stands where in pictures of a camera that never moves."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Adam

from simworld.model.actors import present
from simworld.model.overview import AGO, GRID, Overview

NOBODY = [torch.nan] * 9
EGO = torch.zeros(1, 0)


def actor(x: float, y: float, size: float = 0.06) -> list[float]:
    return [8.0, x, y, 0.0, 0.0, 0.0, size, size, 0.2]


def made(actors: Tensor, most: int = 3) -> Overview:
    torch.manual_seed(0)
    overview = Overview(most, ("front",))
    overview.measure(actors)
    return overview


def films(actors: Tensor) -> dict[str, Tensor]:
    """Everybody as a white spot on black, seen from above: x from 0 to 0.8 m downwards, y from -0.4 to 0.4 m."""
    pictures = torch.zeros(len(actors), 32, 32, 3, dtype=torch.uint8)
    for picture, rows in zip(pictures, actors, strict=True):
        for row in rows[present(rows)]:
            x, y = int(row[1] * 40), int((row[2] + 0.4) * 40)
            picture[max(0, x - 1) : x + 2, max(0, y - 1) : y + 2] = 255
    return {"front": pictures[:, None].expand(-1, len(AGO), -1, -1, -1).contiguous()}


def test_it_learns_who_stands_where() -> None:
    rng = torch.Generator().manual_seed(0)
    actors = torch.tensor([[actor(0, 0, 0.06), actor(0, 0, 0.1)]]).repeat(24, 1, 1)
    actors[..., 1] = 0.1 + 0.6 * torch.rand(24, 2, generator=rng)
    actors[:, 0, 2], actors[:, 1, 2] = -0.3 + 0.25 * torch.rand(24, generator=rng), 0.1
    actors[::4, 1] = torch.nan
    overview = made(actors)
    optimizer = Adam(overview.parameters(), lr=1e-3)
    frames = films(actors)
    for _ in range(300):
        loss = overview.loss(frames, actors)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = overview.spot(frames, EGO)
    assert found.shape == (24, 3, 9)
    there, nobody = present(found), present(actors)
    assert float((there.sum(1) == nobody.sum(1)).float().mean()) > 0.9
    apart = torch.linalg.vector_norm(found[:, None, :, 1:3] - actors[:, :, None, 1:3], dim=-1)
    least = apart.nan_to_num(torch.inf).amin(2)[nobody]
    assert float(least.median()) < 0.02 and float((least < 0.06).float().mean()) > 0.9


def test_cells_that_speak_of_one_are_one() -> None:
    """Two cells that point at the same place give one actor; a third that points elsewhere another."""
    actors = torch.tensor([[actor(0.0, 0.0), actor(0.6, 0.6)]])
    overview = made(actors)
    logit = torch.full((1, GRID**2), -9.0)
    told = torch.zeros(1, GRID**2, 9)
    logit[0, :2], logit[0, -1] = 3.0, 2.0
    told[0, 0, 1], told[0, 1, 1] = 0.4, -0.5  # both a little right of the first cell's middle
    kinds = torch.zeros(1, GRID**2, 9)
    overview._read = lambda frames: (logit, told, kinds)  # type: ignore[method-assign]
    found = overview.spot({}, EGO)[0]
    assert present(found).tolist() == [True, True, False]
    cell = (overview.high - overview.low) / GRID
    torch.testing.assert_close(found[0, 1:3], overview.low + cell * torch.tensor([0.5, 0.95]), rtol=0, atol=1e-4)
    torch.testing.assert_close(found[1, 1:3], overview.high - cell / 2, rtol=0, atol=1e-4)
    torch.testing.assert_close(found[0, 6:], torch.tensor([0.06, 0.06, 0.2]), rtol=1e-3, atol=0)


def test_where_nobody_was_ever_recorded_there_is_no_grid_to_lay() -> None:
    overview = made(torch.tensor([[NOBODY]]))
    assert overview.low.tolist() == [0, 0] and overview.high.tolist() == [1, 1]
    assert torch.isfinite(overview.loss(films(torch.tensor([[NOBODY]])), torch.tensor([[NOBODY]])))
