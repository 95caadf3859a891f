"""Ground truth about a scene: the state vector, the actors in the ego frame and a caption."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simworld.scenario import ACTOR_CLASSES

from .spec import GAP_CAP_M, STATE_NAMES
from .traffic import Traffic


def state_vector(traffic: Traffic, accel_mps2: float, steer: float, pedal: float) -> NDArray[np.float32]:
    """The ego's state, float32 (s,), entries as in STATE."""
    st, layout, p = traffic.state, traffic.layout, traffic.physics
    s, d, speed = float(st.s_m[0]), float(st.d_m[0]), float(p.forward_speed()[0])
    lane = layout.lane_at(d)
    ahead = traffic.neighbour(0, d, ahead=True)
    seen = ahead.gap_m < GAP_CAP_M
    values = {
        "speed_mps": speed,
        "accel_mps2": accel_mps2,
        "yaw_rate_radps": float(p.velocity[0, 2]),
        "lateral_m": d - layout.lane_centre_m(lane),
        "lane_index": lane,
        "num_lanes": layout.num_lanes,
        "num_oncoming": layout.num_oncoming,
        "lane_width_m": layout.lane_width_m,
        "heading_error_rad": float(st.heading_error_rad[0]),
        "gap_m": min(ahead.gap_m, GAP_CAP_M),
        "closing_mps": float(st.along_mps[0]) - ahead.speed_mps if seen else 0.0,
        "curvature_1pm": float(layout.line.curvature(s)),
        "curvature_ahead_1pm": float(layout.line.curvature(s + max(15.0, 1.5 * speed))),
        "to_right_edge_m": d - layout.right_edge_m,
        "to_left_edge_m": layout.left_edge_m - d,
        "speed_limit_mps": layout.speed_limit_mps,
        "steer": steer,
        "pedal": pedal,
    }
    return np.array([values[name] for name in STATE_NAMES], dtype=np.float32)


def actors_in_ego_frame(traffic: Traffic, num_rows: int) -> NDArray[np.float32]:
    """Actors (num_rows, 9) as simworld.episode.ACTOR_FIELDS says, nearest first, NaN where absent.

    Velocities are over ground, turned into the ego frame.
    """
    p = traffic.physics
    x, y, psi = p.pose[0]
    others = np.flatnonzero(p.active[1:]) + 1
    order = others[np.argsort(np.hypot(p.pose[others, 0] - x, p.pose[others, 1] - y), kind="stable")][:num_rows]
    turn = np.array([[np.cos(psi), np.sin(psi)], [-np.sin(psi), np.cos(psi)]])
    rows = np.full((num_rows, 9), np.nan, dtype=np.float32)
    for row, i in zip(rows, order, strict=False):
        place = turn @ (p.pose[i, :2] - (x, y))
        velocity = turn @ p.velocity[i, :2]
        heading = (p.pose[i, 2] - psi + np.pi) % (2 * np.pi) - np.pi
        kind = ACTOR_CLASSES.index(p.rig.kinds[i])
        row[:] = (kind, *place, heading, *velocity, p.length_m[i], p.width_m[i], p.mass_kg[i])
    # Masked as well as NaN, so that two equal infos compare equal.
    return np.ma.masked_invalid(rows, copy=False)


def caption(traffic: Traffic, light: str) -> str:
    """One true sentence on the scene, e.g. "Daylight, 3 lanes curving left; a tank 20 m ahead, braking"."""
    layout, st, p = traffic.layout, traffic.state, traffic.physics
    bend = float(np.mean(layout.line.curvature(st.s_m[0] + np.arange(0.0, 60.0, 10.0))))
    shape = "straight" if abs(bend) < 8e-4 else "curving left" if bend > 0 else "curving right"
    lanes = f"{layout.num_lanes} lane{'s' if layout.num_lanes > 1 else ''} {shape}"
    if layout.num_oncoming:
        lanes += f" and {layout.num_oncoming} oncoming"
    ahead = traffic.neighbour(0, float(st.d_m[0]), ahead=True)
    if ahead.actor < 0 or ahead.gap_m > 70.0:
        return f"{light.capitalize()}, {lanes}; free road ahead."
    i = ahead.actor
    speed = float(p.forward_speed()[i])
    doing = "standing" if abs(speed) < 0.3 else "braking" if p.accel_cmd[i] < -1.5 else "moving"
    if abs(np.sin(st.heading_error_rad[i])) > 0.7 and doing == "moving":
        doing = "crossing"
    elif st.along_mps[i] < -1.0:
        doing = "coming towards us"
    return f"{light.capitalize()}, {lanes}; a {p.rig.kinds[i]} {round(ahead.gap_m)} m ahead, {doing}."
