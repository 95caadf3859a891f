"""Painting: boxes land where a camera would see them, near ones hide far ones, and who is absent leaves no mark."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from simworld.episode import Mount
from simworld.model.painting import CHANNELS, NEAR_M, boxes_of, coverage, paint
from simworld.scenario import ACTOR_CLASSES

from ..tiny_world import SPEC, film_batch, lively_model

AHEAD = Mount(0.0, 0.0, 1.0, 0.0, 0.0, 90.0)  # half a picture is as wide as what it shows is far
ONES = len(ACTOR_CLASSES)  # the channel that says how much is covered


def actor(x: float, y: float, kind: str = "car", heading: float = 0.0) -> Tensor:
    return torch.tensor([ACTOR_CLASSES.index(kind), x, y, heading, 8.0, 0.0, 4.0, 2.0, 1500.0])


def test_a_box_lies_where_geometry_puts_it() -> None:
    (box,), (depth,) = boxes_of(actor(12.0, 0.0)[None], AHEAD, aspect=1.0)
    assert float(depth) == pytest.approx(10.0)
    # 1 m to each side, from the ground 1 m below the camera to 0.5 m above it, 10 m away
    assert box.tolist() == pytest.approx([-0.1, -0.05, 0.1, 0.1], abs=1e-5)
    (left,), _ = boxes_of(actor(12.0, 5.0)[None], AHEAD, aspect=2.0)
    assert left[2] < 0 and float(left[0]) == pytest.approx(-0.3)


@pytest.mark.parametrize(("heading", "x", "y"), [(math.pi / 2, 0.0, 12.0), (math.pi, -12.0, 0.0)])
def test_a_turned_camera_sees_what_is_before_it(heading: float, x: float, y: float) -> None:
    mount = dataclasses.replace(AHEAD, heading_rad=heading)
    rows = torch.stack([actor(x, y, heading=heading), actor(12.0, -12.0)])
    boxes, depth = boxes_of(rows, mount, aspect=1.0)
    assert boxes[0].tolist() == pytest.approx([-0.1, -0.05, 0.1, 0.1], abs=1e-5) and float(depth[0]) > 9
    assert float((boxes[1, 2] - boxes[1, 0]).abs()) == 0


def test_behind_and_absent_actors_are_not_painted() -> None:
    rows = torch.stack([actor(-12.0, 0.0), torch.full((9,), torch.nan)])
    assert torch.equal(paint(rows, AHEAD, (8, 8), 1.0), torch.zeros(8, 8, CHANNELS))
    boxes, depth = boxes_of(actor(1.0, 0.0)[None], AHEAD, aspect=1.0)  # beside the camera and ahead of it
    assert float(depth[0]) == NEAR_M and boxes[0, 3] == 1


def test_coverage_is_the_share_of_a_cell() -> None:
    covered = coverage(torch.tensor([-1.0, -1.0, -0.25, 0.0]), (2, 4))
    assert covered.tolist() == [[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_the_nearer_one_hides_the_farther_one_in_any_order() -> None:
    near, far = actor(8.0, 0.0, "truck"), actor(30.0, 0.0, "car")
    maps = paint(torch.stack([far, near]), AHEAD, (16, 16), 1.0)
    assert torch.allclose(maps, paint(torch.stack([near, far]), AHEAD, (16, 16), 1.0))
    inside = maps[8, 8]
    assert inside[ACTOR_CLASSES.index("truck")] == 1 and inside[ACTOR_CLASSES.index("car")] == 0
    assert float(maps[..., ONES].max()) == 1


def test_a_model_with_mounts_paints_its_actors_on_their_camera() -> None:
    spec = dataclasses.replace(SPEC, mounts={"front": AHEAD})
    model = lively_model(spec=spec)
    (camera,) = model.dynamics.painted
    assert camera == "front"
    torch.nn.init.normal_(model.dynamics.painted["front"].embed.weight)
    frames, actions = film_batch(1, 3)
    seed = torch.tensor([1])

    def step(rows: Tensor) -> Tensor:
        return model.step(model.start(frames, actions, seed=seed), actions[:, 0], rows)[1].frames["front"].int()

    assert not torch.equal(step(actor(9.0, 0.0)[None, None]), step(actor(9.0, 3.0)[None, None]))
