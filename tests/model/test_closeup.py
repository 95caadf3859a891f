"""Close-ups: boards that go with those who were spotted, and what frames show of them."""

from __future__ import annotations

import math

import pytest
import torch
from simworld.envs.driving.spec import mounts_of
from torch import Tensor

from simworld.model.carrying import Motion
from simworld.model.closeup import BOARD, HIGH_M, CloseUps, as_thought, pixel_m
from simworld.model.guesses import coasted
from simworld.model.painting import on_picture
from simworld.scenario import ACTOR_CLASSES, BODIES

CAMERAS = {"front": (64, 64), "left": (32, 64), "right": (32, 64), "rear": (32, 64)}
MOUNTS = mounts_of(BODIES["car"], tuple(CAMERAS))
AGO, DT_S = (4, 2, 0), 0.1
EGO = torch.tensor([[12.0, 0.2], [3.0, -0.1]])


def actor(kind: str, x: float, y: float, vx: float, vy: float) -> list[float]:
    body = BODIES[kind]
    return [ACTOR_CLASSES.index(kind), x, y, 0.3, vx, vy, body.length_m, body.width_m, body.mass_kg]


NOBODY = [math.nan] * 9
SCENE = torch.tensor(
    [
        [actor("car", 14.0, 1.0, 9.0, -1.0), actor("truck", -2.0, 9.0, 4.0, 0.0)],
        [NOBODY, actor("pedestrian", 8.0, 0.5, 0.0, 1.5)],
    ]
)


def closeups(learned: bool = False) -> CloseUps:
    torch.manual_seed(0)
    made = CloseUps(MOUNTS, AGO, DT_S)
    if learned:  # as if it had
        torch.nn.init.normal_(made.net.out.weight, std=0.1)
    return made.requires_grad_(True)


def film(bright: Tensor | None = None) -> dict[str, Tensor]:
    """Two films of `AGO`: grey, with a white spot a frame where the points (2, k, 3) of the world were seen."""
    frames = {c: torch.full((2, len(AGO), *size, 3), 90, dtype=torch.uint8) for c, size in CAMERAS.items()}
    if bright is None:
        return frames
    for camera, (h, w) in CAMERAS.items():
        u, v, deep = on_picture(MOUNTS[camera], w / h, *bright.unbind(-1), nearest_m=0.3)
        rows, columns = ((v + 1) / 2 * h).floor().long(), ((u + 1) / 2 * w).floor().long()
        for b in range(2):
            for k in range(len(AGO)):
                i, j = int(rows[b, k]), int(columns[b, k])
                if deep[b, k] > 0.3 and 0 <= i < h and 0 <= j < w:
                    frames[camera][b, k, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2] = 255
    return frames


def whereabouts(which: int, faster: float = 0.0) -> Tensor:
    """Where one of the scene was in the ego's frame of then (2, k, 3), at the height of a board's middle, if he went so
    many m/s faster across his ray than he is told to."""
    row, places = SCENE[:, which], []
    ray = torch.atan2(row[:, 2], row[:, 1])
    vx, vy = row[:, 4] - faster * ray.sin(), row[:, 5] + faster * ray.cos()
    for steps in AGO:
        span_s = steps * DT_S
        x, y = (row[:, 1] - vx * span_s)[:, None], (row[:, 2] - vy * span_s)[:, None]
        x, y = Motion.of(EGO[:, 0], EGO[:, 1], span_s).before(x, y)
        places.append(torch.stack([x[:, 0], y[:, 0], torch.full_like(x[:, 0], HIGH_M)], dim=-1))
    return torch.stack(places, dim=1)


def column(picture: Tensor) -> float:
    """The column of what is bright on a board (3, h, w), from its middle."""
    light = (picture.mean(0) - 0.2).clamp(min=0)  # grey is below, and so is what no camera shows
    at = torch.arange(BOARD[1]) + 0.5 - BOARD[1] / 2
    return float((light.sum(0) * at).sum() / light.sum())


def test_who_goes_as_he_is_told_to_stays_where_he_is_on_his_board() -> None:
    seen = closeups().taken(SCENE, film(whereabouts(1)), EGO)
    assert seen.pictures.shape == (3, len(AGO), 3, *BOARD) and seen.shown.shape == (3, len(AGO), 1, *BOARD)
    for one in (1, 2):  # the truck to the left, and the pedestrian ahead
        for picture in seen.pictures[one]:
            assert abs(column(picture)) < 1.0


def test_who_goes_faster_drifts_by_so_many_pixels() -> None:
    seen = closeups().taken(SCENE, film(whereabouts(1, faster=2.0)), EGO)
    for steps, picture in zip(AGO, seen.pictures[2], strict=True):
        pixels = 2.0 * steps * DT_S / float(pixel_m(SCENE[1, 1]))
        assert column(picture) == pytest.approx(pixels, abs=1.0)  # he was to the right of where the board was


def test_what_no_camera_shows_counts_for_nothing() -> None:
    """Between what front and left camera show there is a gap."""
    gap = torch.tensor([[actor("car", 9.0, 5.6, 0.0, 0.0)], [actor("car", 12.0, 0.0, 3.0, 0.0)]])
    seen = closeups().taken(gap, film(), EGO)
    gap_of, ahead_of = (x[-1, 0, :, 12:20].mean() for x in seen.shown)
    assert float(gap_of) < 0.1 and float(ahead_of) > 0.9
    assert bool((seen.pictures[0, -1] * (seen.shown[0, -1] == 0) == 0).all()) and float(seen.shown.max()) <= 1.0


def test_until_it_learns_they_are_as_they_were_spotted() -> None:
    torch.testing.assert_close(closeups()(SCENE, film(), EGO), SCENE, equal_nan=True)


def test_they_are_put_up_as_spotted_on_the_whole() -> None:
    views = torch.stack(closeups()._views(SCENE, 5))
    assert not torch.equal(views[1][0], SCENE[0])
    torch.testing.assert_close(views.mean(0), SCENE, equal_nan=True)


def test_a_mirror_shows_the_same_in_a_mirror() -> None:
    made = closeups(learned=True)
    seen = made.taken(SCENE, film(whereabouts(1, faster=2.0)), EGO)
    once, again = made._mean([seen]), made._mean([seen.mirrored()])
    assert not torch.allclose(made.told(seen).velocity, made.told(seen.mirrored()).mirrored().velocity)
    for one, mirrored in zip(once, again.mirrored(), strict=True):
        torch.testing.assert_close(one, mirrored)


def test_the_absent_neither_count_nor_cost() -> None:
    made = closeups(learned=True)
    told = made(SCENE, film(), EGO)
    assert not torch.allclose(told[0], SCENE[0]) and bool(told[1, 0].isnan().all())
    torch.testing.assert_close(told[:, 1:], made(SCENE[:, 1:], film(), EGO))
    nobody = torch.full_like(SCENE, torch.nan)
    seen = made.taken(nobody, film(), EGO)
    loss = made.loss(seen, seen.rows, seen.rows[:, 0])
    loss.backward()
    assert float(loss.detach()) == 0.0 and bool(made(nobody, film(), EGO).isnan().all())


def test_who_is_hardly_there_is_told_of_no_more() -> None:
    made = closeups()
    seen, known = made.taken(SCENE, film(), EGO), torch.tensor([1.0, 1.0, 0.0])
    at_first = float(made.loss(seen, seen.rows, known).detach())
    with torch.no_grad():
        made.net.out.bias[-1] = -8.0
    assert bool(made(SCENE, film(), EGO).isnan().all())
    assert float(made.loss(seen, seen.rows, torch.zeros(3)).detach()) < 0.1 < at_first
    assert float(made.loss(seen, seen.rows, known).detach()) > at_first


def test_errors_of_the_ego_are_those_of_the_others_as_well() -> None:
    """Who goes on as thought, beside an ego that goes on as thought, is where he really is beside the real one."""
    moved = EGO + torch.tensor([[1.5, 0.02], [-0.7, -0.01]])
    thought = as_thought(SCENE, EGO, moved)
    then, real = (coasted(rows, Motion.of(*ego.unbind(1), 0.01)) for rows, ego in ((thought, EGO), (SCENE, moved)))
    torch.testing.assert_close(then[..., 1:3], real[..., 1:3], rtol=0, atol=1e-3, equal_nan=True)


def test_velocities_are_learned_from_what_drifts() -> None:
    made = closeups()
    optimiser = torch.optim.AdamW(made.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[Tensor, Tensor]:
        faster = 3.0 * torch.randn(2, generator=generator)
        frames = film(torch.stack([whereabouts(1, float(faster[0]))[0], whereabouts(1, float(faster[1]))[1]]))
        true = SCENE[:, 1].clone()
        ray = torch.atan2(true[:, 2], true[:, 1])
        true[:, 4:6] += faster[:, None] * torch.stack([-ray.sin(), ray.cos()], dim=-1)
        return made.loss(made.taken(SCENE[:, 1:], frames, EGO), true, torch.ones(2)), faster

    first = sum(float(batch()[0].detach()) for _ in range(20))
    for _ in range(120):
        optimiser.zero_grad()
        batch()[0].backward()
        optimiser.step()
    assert sum(float(batch()[0].detach()) for _ in range(20)) < 0.4 * first
