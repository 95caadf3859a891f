"""The lookout: cells that say who is there, and actors that are gathered from what they say."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from simworld.envs.driving.spec import mounts_of
from torch import Tensor

from simworld.model.angles import turned, wrapped
from simworld.model.carrying import Motion
from simworld.model.lookout import (
    ACROSS_MPS,
    ALONG_MPS,
    BEARING_RAD,
    FROM_M,
    LOG_MID,
    NEAR_M,
    Lookout,
    LookoutConfig,
)
from simworld.nets.detector import CELL
from simworld.scenario import ACTOR_CLASSES, BODIES

CAMERAS = {"front": (64, 64), "left": (32, 64), "rear": (32, 64)}
EGO = torch.tensor([[12.0, 0.1]])


def actor(kind: str, x: float, y: float, heading: float, vx: float, vy: float = 0.0) -> list[float]:
    body = BODIES[kind]
    return [ACTOR_CLASSES.index(kind), x, y, heading, vx, vy, body.length_m, body.width_m, body.mass_kg]


SCENE = torch.tensor(
    [
        [
            actor("truck", 20.0, 0.2, 0.0, 10.0),
            actor("car", 20.5, 5.0, math.pi - 0.01, -14.0),
            actor("motorcycle", -9.0, -0.5, 0.0, 15.0),
            actor("pedestrian", 1.0, 6.0, -1.5, 0.2, -1.2),
            actor("car", -60.0, 0.0, 0.0, 12.0),  # too far away to be told
        ]
    ]
)


def lookout(most: int = 5) -> Lookout:
    torch.manual_seed(0)
    return Lookout(
        LookoutConfig(width=8, most=most), cameras=CAMERAS, mounts=mounts_of(BODIES["car"], tuple(CAMERAS)), dt_s=0.1
    )


def film(frames: int = 4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        c: torch.randint(0, 256, (1, frames, *hw, 3), generator=generator, dtype=torch.uint8)
        for c, hw in CAMERAS.items()
    }


def truth(look: Lookout, camera: str, actors: Tensor, sure: float = 8.0) -> tuple[Tensor, Tensor, Tensor]:
    """What the cells of a camera would say that know the actors."""
    rows, there = look.shown(camera, actors)
    mount = look.mounts[camera]
    x, y = rows[..., 1] - mount.x_m, rows[..., 2] - mount.y_m
    distance, ray = torch.hypot(x, y).clamp(min=0.5), torch.atan2(y, x)
    there = there & (distance < 50)
    turn = rows[..., 3] - mount.heading_rad
    along, across = (v / (distance + FROM_M) * NEAR_M for v in turned(rows[..., 4], rows[..., 5], -ray))
    values = [
        distance.log() - LOG_MID,
        wrapped(ray - mount.heading_rad - look._bearing(camera)) / BEARING_RAD,
        along / ALONG_MPS,
        across / ACROSS_MPS,
        turn.cos(),
        turn.sin(),
    ]
    kinds = sure * F.one_hot(rows[..., 0].long(), len(ACTOR_CLASSES))
    return torch.where(there, sure, -sure), torch.stack(values, dim=-1), kinds.float()


def test_a_cell_shows_the_nearest_of_those_in_it() -> None:
    look = lookout()
    rows, there = look.shown("front", SCENE)
    assert there.shape == (1, 64 // CELL, 64 // CELL)
    kinds = rows[..., 0][there].long()
    assert set(kinds.tolist()) == {ACTOR_CLASSES.index("truck"), ACTOR_CLASSES.index("car")}
    behind = torch.cat([SCENE, torch.tensor([[actor("car", 12.0, 0.2, 0.0, 9.0)]])], dim=1)
    hidden, _ = look.shown("front", behind)
    middle = hidden[0, 7, 7]
    assert float(middle[1]) == 12.0 and float(rows[0, 7, 7, 1]) == 20.0


def test_who_is_seen_is_told_once_where_he_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through whichever cameras, and as the surest cells have it."""
    look = lookout()
    monkeypatch.setattr(look, "_told", lambda camera, frames, ego: truth(look, camera, SCENE.expand(len(ego), -1, -1)))
    found = look._found(film(), EGO)
    assert found.shape == (1, 5, 9)
    told = found[0][found[0, :, 0].isfinite()]
    assert len(told) == 4
    for row in SCENE[0, :4]:
        nearest = told[(told[:, 1:3] - row[1:3]).norm(dim=1).argmin()]
        torch.testing.assert_close(nearest[[0, 1, 2, 4, 5, 6, 7, 8]], row[[0, 1, 2, 4, 5, 6, 7, 8]], rtol=0, atol=1e-3)
        assert abs(float(wrapped(nearest[3] - row[3]))) < 1e-3


def test_what_stands_on_the_ground_looks_the_same_in_all_carried_pictures() -> None:
    look = lookout()
    carrier = look.carriers["front"]
    ground = carrier.points[:2, : 64 * 64].unflatten(1, (64, 64))  # of the ego as it is now
    shown = []
    for ago in look.config.ago:
        motion = Motion.of(-EGO[:, 0], -EGO[:, 1], ago * look.dt_s)  # back to where it was
        x, y = (p[0] for p in motion.before(ground[:1], ground[1:]))
        shown.append(torch.stack([torch.sin(0.3 * x), torch.cos(0.25 * y), torch.sin(0.2 * (x + y))], dim=-1))
    frames = (127.5 * torch.stack(shown)[None] + 127.5).round().to(torch.uint8)
    carried = look._carried("front", frames, EGO)
    assert carried.shape == frames.shape and torch.equal(carried[:, -1], frames[:, -1].float())
    near = (slice(None), slice(None), slice(34, 64), slice(16, 48))
    still, moving = (x[near] - frames[:, -1:].float()[near] for x in (carried, frames.float()))
    assert still.abs().mean() < 0.1 * moving.abs().mean()


def test_every_look_takes_its_own_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest last, and none before the first look's newest."""
    monkeypatch.setattr("simworld.model.lookout.SURE", 0.0)  # somebody is told of, though nothing was learned
    look = lookout()
    assert look.sees == (8, 7, 6, 5, 4, 3, 2, 1, 0)
    frames = film(len(look.sees))
    each = look.look(frames, EGO)
    assert each.shape == (1, 5, 5, 9) and bool(each[:, :, 0].isfinite().all())
    for i, at in enumerate([(0, 0, 0, 0), (0, 0, 1, 2), (0, 2, 3, 4), (2, 4, 5, 6), (4, 6, 7, 8)]):
        alone = look._found({c: f[:, list(at)] for c, f in frames.items()}, EGO)
        torch.testing.assert_close(each[:, i], alone, equal_nan=True)


def test_no_more_are_told_than_there_is_room_for_and_nobody_where_none_is_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    look = lookout(most=2)
    monkeypatch.setattr(look, "_told", lambda camera, frames, ego: truth(look, camera, SCENE.expand(len(ego), -1, -1)))
    assert bool(look.spot(film(9), EGO).isfinite().all())
    nobody = torch.full_like(SCENE, torch.nan)
    monkeypatch.setattr(
        look, "_told", lambda camera, frames, ego: truth(look, camera, nobody.expand(len(ego), -1, -1), sure=2.0)
    )
    assert bool(look.spot(film(9), EGO).isnan().all())


def test_what_is_told_rightly_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    look = lookout()
    untrained = float(look.loss(film(), SCENE, EGO).detach())
    monkeypatch.setattr(look, "_told", lambda camera, frames, ego: truth(look, camera, SCENE.expand(len(ego), -1, -1)))
    assert float(look.loss(film(), SCENE, EGO)) < 0.01 < untrained


def test_it_learns_from_pictures_and_nobody_costs_nothing_but_that() -> None:
    look = lookout()
    loss = look.loss(film(), torch.full_like(SCENE, torch.nan), EGO)
    loss.backward()
    assert bool(loss.isfinite()) and look.net.changes.weight.grad is not None
    assert all(bool(p.grad.isfinite().all()) for p in look.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "bad",
    [
        {"ago": (0,)},
        {"ago": (1, 2, 0)},
        {"looks": ()},
        {"looks": (4, 2)},
        {"close": (4, 2)},
        {"most": -1},
        {"width": 0},
    ],
)
def test_a_lookout_that_can_not_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a lookout"):
        LookoutConfig(**bad)  # type: ignore[arg-type]
