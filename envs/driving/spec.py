"""What driving envs declare and accept, on MuJoCo as on CARLA: cameras, outcomes, state; no simulator is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol

import numpy as np

from simworld.episode import ActionSpec, Mount, OutcomeSpec
from simworld.scenario import ACTOR_CLASSES

CAMERAS = ("front", "left", "right", "rear", "chase", "overhead")
SIDES = ("front", "rear", "left", "right")
OUTCOMES = (
    OutcomeSpec("collision", "event"),
    OutcomeSpec("impulse", "scalar", unit="N s", given="collision", scale=5000.0),
    OutcomeSpec("delta_v", "scalar", unit="m/s", given="collision", scale=5.0),
    OutcomeSpec("side", "category", categories=SIDES, given="collision"),
    OutcomeSpec("partner", "category", categories=ACTOR_CLASSES, given="collision"),
    OutcomeSpec("off_road", "event"),
)
ACTION = ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0))  # steering to the left, and throttle or brake
GAP_CAP_M = 80.0
STATE = (
    ("speed_mps", "m/s"),
    ("accel_mps2", "m/s2"),
    ("yaw_rate_radps", "rad/s"),
    ("lateral_m", "m"),  # signed offset from the centre of the nearest own-direction lane, positive to the left
    ("lane_index", "1"),  # 0 is the rightmost
    ("num_lanes", "1"),
    ("num_oncoming", "1"),
    ("lane_width_m", "m"),
    ("heading_error_rad", "rad"),  # relative to the road, positive to the left
    ("gap_m", "m"),  # free distance to the next body ahead in the ego's path, at most GAP_CAP_M
    ("closing_mps", "m/s"),  # how fast that gap shrinks, 0 with nobody ahead
    ("curvature_1pm", "1/m"),  # of the road at the ego, positive to the left
    ("curvature_ahead_1pm", "1/m"),  # of the road 1.5 s (at least 15 m) ahead
    ("to_right_edge_m", "m"),
    ("to_left_edge_m", "m"),
    ("speed_limit_mps", "m/s"),
    ("steer", "1"),
    ("pedal", "1"),
)
STATE_NAMES = tuple(name for name, _ in STATE)
STATE_UNITS = tuple(unit for _, unit in STATE)


class Sized(Protocol):
    """Anything with the size of a box."""

    @property
    def length_m(self) -> float: ...
    @property
    def width_m(self) -> float: ...
    @property
    def height_m(self) -> float: ...


def mounts_of(body: Sized, cameras: Sequence[str] = CAMERAS) -> dict[str, Mount]:
    """Where cameras sit on an ego of this size, from the centre of its box: on its skin, so that it never fills the
    frame."""
    nose, side, eye = body.length_m / 2 - 0.3, body.width_m / 2 + 0.02, max(1.35, 0.75 * body.height_m)
    down, quarter = -float(np.deg2rad(5.3)), np.pi / 2  # puts the horizon at about 40 % of the frame from the top
    every = {
        "front": Mount(nose, 0.0, eye, 0.0, down, 50.0),
        "left": Mount(0.3, side, eye, quarter, down, 65.0),
        "right": Mount(0.3, -side, eye, -quarter, down, 65.0),
        "rear": Mount(-nose, 0.0, eye, np.pi, down, 50.0),
        "chase": Mount(-body.length_m / 2 - 7.0, 0.0, body.height_m + 2.4, 0.0, -float(np.arctan2(0.25, 0.968)), 52.0),
        "overhead": Mount(8.0, 0.0, 48.0, 0.0, -quarter, 52.0),
    }
    return {camera: every[camera] for camera in cameras}


def check_name(what: str, name: str, known: Sequence[str]) -> None:
    """ValueError with the nearest known names unless `name` is among them."""
    if name not in known:
        near = get_close_matches(str(name), known, n=3, cutoff=0.3) or list(known)
        raise ValueError(f"unknown {what} {name!r}; nearest: {', '.join(near)}")


def sizes_of(
    cameras: Sequence[str], size: Sequence[int] | Mapping[str, Sequence[int]], render_mode: str | None
) -> dict[str, tuple[int, int]]:
    """Every camera's picture size (h, w), of one for all or one for each; ValueError for cameras, sizes or render modes
    that do not exist."""
    if isinstance(cameras, str):
        raise ValueError(f"cameras must be a list of names, e.g. [{cameras}]")
    for camera in cameras:
        check_name("camera", camera, CAMERAS)
    if not cameras or len(set(cameras)) != len(cameras):
        raise ValueError(f"cameras must name at least one camera, each once; got {list(cameras)}")
    each = size if isinstance(size, Mapping) else dict.fromkeys(cameras, size)
    if set(each) != set(cameras):
        raise ValueError(f"size names {', '.join(each)}, but the cameras are {', '.join(cameras)}")
    for one in each.values():
        if len(one) != 2 or not all(8 <= int(v) <= 2048 for v in one):
            raise ValueError(f"size must be (height, width) between 8 and 2048 pixels, got {tuple(one)}")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}")
    return {camera: (int(each[camera][0]), int(each[camera][1])) for camera in cameras}
