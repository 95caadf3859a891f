"""Sprites: told actors look as a real picture showed them, wherever and however much later they are told to be."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simworld.episode import Mount
from simworld.model.canvas import Canvas, CanvasConfig
from simworld.model.carrying import Carrier, Motion
from simworld.model.sprites import GAIN, Look, Sprites, known_again
from simworld.nets.painter import PainterConfig
from simworld.scenario import ACTOR_CLASSES

FRONT = Mount(2.0, 0.0, 1.4, 0.0, -0.09, 50.0)
PLACE = (FRONT.x_m, FRONT.y_m)
SIZE = (64, 64)


def actors(*rows: tuple[float, float, float]) -> Tensor:
    """Cars (1, n, 9) at (x, y), driving away at a speed."""
    return torch.tensor([[[0.0, x, y, 0.0, speed, 0.0, 4.5, 1.8, 1500.0] for x, y, speed in rows]])


def motion(speed_mps: float) -> Motion:
    return Motion.of(torch.tensor([speed_mps]), torch.tensor([0.0]), 0.1)


def opaque() -> Sprites:
    sprites = Sprites()
    with torch.no_grad():
        sprites.atlas[-1] = 20.0
    return sprites


def test_an_actor_keeps_its_looks_at_another_place_and_size() -> None:
    carrier = Carrier(FRONT, SIZE)
    first, later = carrier.stage(actors((12.0, 0.0, 0.0))), carrier.stage(actors((8.0, 1.5, 0.0)))
    left, _, right, _ = first.boxes[0, 0].tolist()
    ramp = ((carrier.u - left) / (right - left) * 2 - 1).clamp(-1, 1)  # dark on the left of the box, light on the right
    picture = torch.where(first.taken, ramp, torch.zeros(())).expand(1, 3, -1, -1)
    drawn = opaque()(later, Look(actors((8.0, 1.5, 0.0)), first.well_seen(), picture), PLACE)
    assert torch.equal(drawn[:, 3] > 0.9, later.taken) and not drawn[:, 3][~later.taken].any()
    left, _, right, _ = later.boxes[0, 0].tolist()
    ramp = (carrier.u - left) / (right - left) * 2 - 1
    assert (drawn[0, 0] - ramp)[later.taken[0]].abs().mean() < 0.15


def test_who_was_never_seen_looks_as_his_class_does() -> None:
    carrier, sprites = Carrier(FRONT, SIZE), opaque()
    texels = sprites.atlas.shape[1] // len(ACTOR_CLASSES)
    with torch.no_grad():
        sprites.atlas[:3, :texels] = 0.5 / GAIN  # class 0, from all sides
        sprites.atlas[:3, texels:] = -0.5 / GAIN
    for kind, colour in ((0.0, 0.5), (1.0, -0.5)):
        told = actors((10.0, 0.0, 0.0))
        told[..., 0] = kind
        look = Look(told, torch.full((1, 1, 4), math.nan), torch.ones(1, 3, *SIZE))
        stage = carrier.stage(told)
        torch.testing.assert_close(
            sprites(stage, look, PLACE)[0, :3, stage.taken[0]], torch.full((3, int(stage.taken.sum())), colour)
        )
        sprites(stage, look, PLACE).sum().backward()
    assert sprites.atlas.grad is not None and sprites.atlas.grad.isfinite().all()


def test_only_what_a_picture_shows_well_is_known_by_it() -> None:
    told = actors((12.0, 0.0, 0.0), (20.0, 0.0, 0.0), (6.0, 4.5, 0.0), (200.0, 8.0, 0.0), (15.0, 4.0, 0.0))
    # in view, behind the first, cut off by the edge, too far to be more than a pixel, in view
    known = torch.isfinite(Carrier(FRONT, SIZE).stage(told).well_seen()[0, :, 0])
    assert known.tolist() == [True, False, False, False, True]


def test_actors_are_known_again_in_any_order() -> None:
    before = actors((12.0, 0.0, 20.0), (30.0, 3.5, 25.0), (50.0, 0.0, 10.0))
    now = actors((31.5, 3.5, 25.0), (13.0, 0.0, 20.0), (80.0, 0.0, 15.0))
    move = motion(10.0)
    back = move.before(now[..., 1] - now[..., 4] * 0.1, now[..., 2] - now[..., 5] * 0.1)
    assert known_again(now, back, before).tolist() == [[1, 0, -1]]
    now[0, 0, 0] = 3.0  # a truck where a car was
    assert known_again(now, back, before).tolist() == [[-1, 0, -1]]


def test_the_cast_remembers_across_steps() -> None:
    canvas = Canvas(
        CanvasConfig(painter=PainterConfig(widths=(32,), depths=(1,)), max_actors=4),
        cameras={"front": SIZE},
        mounts={"front": FRONT},
        state_names=("speed_mps", "yaw_rate_radps"),
        action_size=2,
        believed=8,
        dt_s=0.1,
    )
    before, seen = canvas.begun(actors((12.0, 0.0, 10.0), (15.0, 4.0, 10.0)), 1, torch.device("cpu"))
    box = seen["front"][0, 0]
    for step in range(1, 30):
        told = actors((12.0 + step, 4.0, 20.0), (12.0, 0.0, 10.0))  # one draws away in the lane beside
        told[0, 0, 1] = 15.0 + step
        cast = canvas.cast(told, before, seen, motion(10.0))
        before, seen = cast.now, cast.seen
        torch.testing.assert_close(seen["front"][0, 1], box)
        assert torch.isfinite(seen["front"][0, 0]).all() and torch.isnan(seen["front"][0, 2:]).all()
