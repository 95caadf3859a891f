"""Dead reckoning: where across its road an ego comes to be, by states that it believes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from simworld.model.canvas import Canvas, CanvasConfig, Moved
from simworld.nets.painter import PainterConfig

NAMES = ("speed_mps", "yaw_rate_radps", "heading_error_rad", "curvature_1pm", "lateral_m", "lane_width_m")


def canvas_of(names: tuple[str, ...]) -> Canvas:
    return Canvas(
        CanvasConfig(painter=PainterConfig(widths=(32,), depths=(1,)), max_actors=0),
        cameras={"front": (16, 16)},
        mounts=None,
        state_names=names,
        action_size=2,
        believed=8,
        dt_s=0.1,
    )


def state(speed: float, yaw_rate: float, heading: float, curvature: float, lateral: float) -> Tensor:
    return torch.tensor([[speed, yaw_rate, heading, curvature, lateral, 3.5]])


def driven(canvas: Canvas, states: list[Tensor]) -> Moved:
    scale = torch.zeros_like(states[0][0]), torch.ones_like(states[0][0])
    crossed = canvas.uncrossed(states[0], *scale)
    for before, after in zip(states, states[1:], strict=False):
        moved = canvas.moved(before, after, crossed, *scale)
        crossed = moved.crossed
    return moved


def test_a_lane_change_is_followed_though_the_place_in_the_lane_jumps() -> None:
    speed, heading = 20.0, 0.1
    way = [20.0 * math.sin(heading) * 0.1 * i for i in range(18)]
    inside = [(y + 1.75) % 3.5 - 1.75 for y in way]
    moved = driven(canvas_of(NAMES), [state(speed, 0.0, heading, 0.0, y) for y in inside])
    assert float(moved.crossed[0, 0]) == pytest.approx(way[-1], abs=0.02)


def test_what_follows_the_bend_does_not_turn_against_the_road() -> None:
    moved = driven(canvas_of(NAMES), [state(20.0, 20.0 * 0.01, 0.0, 0.01, 0.3)] * 30)
    assert moved.crossed[:, :3].tolist() == [pytest.approx([0.0, 0.0, 0.3], abs=1e-4)]
    moved = driven(canvas_of(NAMES), [state(20.0, 0.0, 0.0, 0.01, 0.3)] * 11)
    assert float(moved.crossed[0, 1]) == pytest.approx(-0.2, abs=1e-4)


def test_a_wrong_reckoning_is_drawn_to_the_estimated_place() -> None:
    states = [state(20.0, 0.0, 0.0, 0.0, 0.0)] + [state(20.0, 0.0, 0.0, 0.0, 1.0)] * 90
    after = {n: float(driven(canvas_of(NAMES), states[: n + 1]).crossed[0, 0]) for n in (1, 5, 15, 30, 90)}
    assert after == {
        1: pytest.approx(0.0, abs=0.01),
        5: pytest.approx(0.0, abs=0.01),
        15: pytest.approx(0.5, abs=0.01),
        30: pytest.approx(0.985, abs=0.01),
        90: pytest.approx(1.0, abs=0.01),
    }


def test_fewer_states_tell_less() -> None:
    moved = driven(canvas_of(NAMES[:2]), [state(20.0, 0.1, 0.0, 0.0, 0.0)[:, :2]] * 3)
    assert moved.step is not None and not moved.crossed.any()
    assert driven(canvas_of(()), [torch.zeros(1, 0)] * 3).step is None
