"""A seeded generator of simple scenarios: one other road user in conflict with the ego, on a straight road."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simworld.scenario import (
    BODIES,
    CONFLICT_SPEED_MPS,
    ROAD_USERS,
    ActorClass,
    Lane,
    Road,
    Scenario,
    ScenarioActor,
    Track,
)

Floats = NDArray[np.float64]

KINDS = ("rear_end", "cut_in", "crossing")
LANE_M, NUM_LANES = 3.5, 3
BEHIND_M, AHEAD_M = 150.0, 450.0
SAMPLE_S = 0.05


@dataclass(frozen=True)
class GenerateConfig:
    """Draws are uniform between min and max; `time_s` is when the two would meet if neither reacted."""

    duration_s: float = 6.0
    min_speed_mps: float = 8.0
    max_speed_mps: float = 25.0
    min_time_s: float = 2.8
    max_time_s: float = 5.0
    p_near_miss: float = 0.35


def generate(seed: int, index: int = 0, config: GenerateConfig | None = None) -> Scenario:
    """Scenario `index` of a set; equal arguments give equal scenarios."""
    config = config or GenerateConfig()
    rng = np.random.default_rng([seed, index, 7])
    kind = KINDS[index % len(KINDS)]
    partner = ROAD_USERS[int(rng.integers(len(ROAD_USERS)))]
    if partner == "pedestrian" and kind != "crossing":
        partner = "car"  # nobody walks along a motorway
    v = float(rng.uniform(config.min_speed_mps, config.max_speed_mps))
    meet_s = float(rng.uniform(config.min_time_s, config.max_time_s))
    miss = float(rng.uniform(2.5, 6.0)) if rng.random() < config.p_near_miss else float(rng.uniform(-0.5, 0.5))
    side = float(rng.choice([-1.0, 1.0]))
    t_s = np.arange(0.0, config.duration_s + SAMPLE_S / 2, SAMPLE_S)
    ego = _actor("ego", "car", np.stack([v * t_s, 0 * t_s, 0 * t_s], axis=1), np.full(len(t_s), v), t_s)
    draw = {"rear_end": _rear_end, "cut_in": _cut_in, "crossing": _crossing}[kind]
    pose, speed = draw(rng, t_s, partner, v, meet_s, miss, side)
    other = _actor("other", partner, pose, speed, t_s)
    return Scenario(
        name=f"{kind}-{seed}-{index}",
        road=_road(),
        actors=(ego, other),
        ego_id="ego",
        duration_s=config.duration_s,
        dt_s=SAMPLE_S,
        source=f"generated {seed}:{index}",
    )


def _rear_end(
    rng: np.random.Generator, t_s: Floats, partner: str, v: float, meet_s: float, miss: float, side: float
) -> tuple[Floats, Floats]:
    """It drives ahead, slower, or brakes; a near miss goes at nearly the ego's speed."""
    top = min(CONFLICT_SPEED_MPS.get(partner, 25.0), 0.8 * v)
    w = float(rng.uniform(0.0, top))
    lengths = (BODIES["car"].length_m + BODIES[partner].length_m) / 2
    # A near miss is so far ahead that the ego does not reach it before the scenario ends.
    gap = lengths + (v - w) * (meet_s if abs(miss) < 2 else t_s[-1] + 0.5)
    x = gap + w * t_s
    return np.stack([x, 0 * t_s, 0 * t_s], axis=1), np.full(len(t_s), w)


def _cut_in(
    rng: np.random.Generator, t_s: Floats, partner: str, v: float, meet_s: float, miss: float, side: float
) -> tuple[Floats, Floats]:
    """It comes over from the next lane within two seconds; a near miss stays there."""
    w = min(CONFLICT_SPEED_MPS.get(partner, 25.0), float(rng.uniform(0.4, 0.8)) * v)
    lengths = (BODIES["car"].length_m + BODIES[partner].length_m) / 2
    x = lengths + (v - w) * meet_s + w * t_s
    start_s, length_s = meet_s - float(rng.uniform(2.0, 2.6)), 2.0
    share = np.clip((t_s - start_s) / length_s, 0.0, 1.0)
    over = 1.0 if abs(miss) < 2 else 0.0
    y = side * LANE_M * (1 - over * (share - np.sin(2 * np.pi * share) / (2 * np.pi)))
    heading = np.arctan2(np.gradient(y, t_s), w)
    return np.stack([x, y, heading], axis=1), np.hypot(np.gradient(y, t_s), w)


def _crossing(
    rng: np.random.Generator, t_s: Floats, partner: str, v: float, meet_s: float, miss: float, side: float
) -> tuple[Floats, Floats]:
    """It crosses the ego's path; a near miss passes ahead of or behind it by seconds."""
    w = float(rng.uniform(1.0, min(CONFLICT_SPEED_MPS.get(partner, 10.0), 10.0)))
    late_s = 0.0 if abs(miss) < 2 else math.copysign(miss / 2 + BODIES[partner].length_m / w, float(rng.normal()))
    y = side * w * (meet_s + late_s - t_s)
    heading = np.full(len(t_s), -side * math.pi / 2)
    x = np.full(len(t_s), v * meet_s + BODIES["car"].length_m / 2)
    return np.stack([x, y, heading], axis=1), np.full(len(t_s), w)


def _actor(ident: str, kind: ActorClass, pose: Floats, speed: Floats, t_s: Floats) -> ScenarioActor:
    start = (float(pose[0, 0]), float(pose[0, 1]), float(pose[0, 2]))
    return ScenarioActor(ident, kind, BODIES[kind], start, float(speed[0]), Track(t_s, pose, speed))


def _road() -> Road:
    """Lanes along x, the ego in the middle one."""
    x = np.array([-BEHIND_M, AHEAD_M])
    names = [f"lane{i}" for i in range(NUM_LANES)]  # from the right
    lanes = []
    for i, name in enumerate(names):
        y = (i - (NUM_LANES - 1) / 2) * LANE_M
        lanes.append(
            Lane(
                id=name,
                centre=np.stack([x, np.full(2, y)], axis=1),
                width_m=np.full(2, LANE_M),
                left_mark="solid" if i == NUM_LANES - 1 else "broken",
                right_mark="solid" if i == 0 else "broken",
                left=names[i + 1] if i + 1 < NUM_LANES else "",
                right=names[i - 1] if i else "",
            )
        )
    return Road(tuple(lanes), "generated")
