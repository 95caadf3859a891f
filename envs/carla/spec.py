"""What the CARLA env declares: the cameras, outcomes and state of simworld/Driving-v0, without importing MuJoCo."""

from __future__ import annotations

from simworld.episode import OutcomeSpec
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
STATE = (
    ("speed_mps", "m/s"),
    ("accel_mps2", "m/s2"),
    ("yaw_rate_radps", "rad/s"),
    ("lateral_m", "m"),
    ("lane_index", "1"),
    ("num_lanes", "1"),
    ("num_oncoming", "1"),
    ("lane_width_m", "m"),
    ("heading_error_rad", "rad"),
    ("gap_m", "m"),
    ("closing_mps", "m/s"),
    ("curvature_1pm", "1/m"),
    ("curvature_ahead_1pm", "1/m"),
    ("to_right_edge_m", "m"),
    ("to_left_edge_m", "m"),
    ("speed_limit_mps", "m/s"),
    ("steer", "1"),
    ("pedal", "1"),
)
STATE_NAMES = tuple(name for name, _ in STATE)
STATE_UNITS = tuple(unit for _, unit in STATE)
GAP_CAP_M = 80.0
