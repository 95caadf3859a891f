"""Tracks: places and velocities by all looks in which somebody was spotted."""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.model.carrying import Motion
from simworld.model.guesses import coasted
from simworld.model.tracks import Tracks

AGO = (8, 4, 0)
DT_S = 0.1


def tracks(learned: bool = False) -> Tracks:
    torch.manual_seed(0)
    made = Tracks(AGO, DT_S)
    if learned:  # as if it had
        torch.nn.init.normal_(made.read[-1].weight, std=0.1)
    return made


def scene(num: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Two cars a film, in looks that know nothing of velocities and places to 0.2 m: looks, the ego, and the truth."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(size, generator=generator)

    ego = torch.stack([drawn(5, 15, num), drawn(-0.1, 0.1, num)], dim=-1)
    now = torch.zeros(num, 2, 9)
    now[..., 6:] = torch.tensor([4.5, 1.8, 1500.0])
    now[..., 1], now[..., 2] = drawn(8, 25, num, 2), drawn(-8, 8, num, 2)
    now[:, 1, 1] *= -1  # one is ahead, and one behind
    now[..., 4], now[..., 5] = drawn(-12, 12, num, 2), drawn(-2, 2, num, 2)
    return torch.stack([seen(now, ego, steps, generator) for steps in AGO], dim=1), ego, now


def seen(now: Tensor, ego: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
    """The actors (b, n, 9) as a look so many steps ago had them."""
    span_s = steps * DT_S
    then = coasted(torch.cat([now[..., :4], -now[..., 4:6], now[..., 6:]], dim=-1), still(ego, span_s))
    before = back(then, ego, span_s)
    if generator is not None:
        before[..., 1:3] += 0.2 * torch.randn(before[..., 1:3].shape, generator=generator)
    before[..., 4:6] = 0.0
    return before


def still(ego: Tensor, span_s: float) -> Motion:
    return Motion.of(torch.zeros_like(ego[:, 0]), torch.zeros_like(ego[:, 1]), span_s)


def back(rows: Tensor, ego: Tensor, span_s: float) -> Tensor:
    """Places in the frame of now as they are in the one that the ego had before."""
    motion = Motion.of(ego[:, 0], ego[:, 1], span_s)
    x, y = motion.before(rows[..., 1], rows[..., 2])
    heading = rows[..., 3] + motion.turn_rad[:, None]
    return torch.cat([rows[..., :1], torch.stack([x, y, heading], dim=-1), rows[..., 4:]], dim=-1)


def test_until_it_learns_they_are_as_they_were_spotted() -> None:
    looks, ego, _ = scene(3)
    looks[0, -1, 1] = torch.nan
    torch.testing.assert_close(tracks()(looks, ego), looks[:, -1], equal_nan=True)


def test_who_stood_is_where_he_was_however_the_ego_moved() -> None:
    looks, ego, now = scene(4)
    now[..., 4:6] = 0.0
    looks = torch.stack([seen(now, ego, steps) for steps in AGO], dim=1)
    stood = tracks()._stood(looks, ego)
    for look in stood.unbind(1):
        torch.testing.assert_close(look[..., 1:4], now[..., 1:4], rtol=0, atol=1e-4)


def test_neither_the_order_of_a_look_nor_the_absent_count() -> None:
    looks, ego, _ = scene(3)
    made = tracks(learned=True)
    told = made(looks, ego)
    assert bool(told.isfinite().all()) and not torch.allclose(told[..., 4:6], looks[:, -1, :, 4:6])
    mixed = looks.clone()
    mixed[:, :-1] = mixed[:, :-1].flip(2)
    torch.testing.assert_close(made(mixed, ego), told)
    absent = torch.full_like(looks[:, :, :1], torch.nan)
    more = made(torch.cat([looks, absent], dim=2), ego)
    torch.testing.assert_close(more[:, :2], told)
    assert bool(more[:, 2].isnan().all())


def test_nobody_costs_nothing() -> None:
    looks, ego, now = scene(2)
    made = tracks(learned=True)
    loss = made.loss(torch.full_like(looks, torch.nan), ego, now)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(bool(p.grad.isfinite().all()) for p in made.parameters() if p.grad is not None)
    assert float(made.loss(looks, ego, torch.full_like(now, torch.nan)).detach()) == 0.0


def test_velocities_are_learned_from_places() -> None:
    made = tracks()
    optimiser = torch.optim.AdamW(made.parameters(), lr=5e-3)
    for step in range(150):
        looks, ego, now = scene(64, seed=step)
        optimiser.zero_grad()
        made.loss(looks, ego, now).backward()
        optimiser.step()
    looks, ego, now = scene(128, seed=1000)
    with torch.no_grad():
        told = made(looks, ego)
    before, after = (torch.linalg.vector_norm(x[..., 4:6] - now[..., 4:6], dim=-1).mean() for x in (looks[:, -1], told))
    assert float(after) < 0.3 * float(before)
