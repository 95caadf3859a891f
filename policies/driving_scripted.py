"""Scripted drivers for simworld/Driving-v0, from expert to reckless; they read ground truth and collect data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simworld.envs.driving.physics import STEER_ACCEL_MPS2, STEER_CURVATURE_1PM
from simworld.envs.driving.spec import STATE_NAMES

from simworld.policy import Observation, Policy

_AT = {name: i for i, name in enumerate(STATE_NAMES)}


@dataclass(frozen=True)
class Style:
    """How a driver drives."""

    name: str
    speed_factor: float = 1.0  # of the speed limit
    headway_s: float = 1.4
    max_brake: float = 1.0  # share of full braking that the driver is willing to use
    looks_m: float = 80.0  # what is farther ahead is not noticed
    foresees: bool = True  # brakes for who is about to cross or cut in
    lane_change_rate: float = 0.05  # wish for another lane, per second
    checks_mirror: bool = True
    wander_m: float = 0.0  # sideways drift, standard deviation
    lapse_rate: float = 0.0  # times per second that the driver stops watching ...
    lapse_s: float = 0.0  # ... for about so long, holding the controls
    hunts: bool = False  # steers into the nearest road user
    noise: float = 0.0  # standard deviation of slow action noise
    random: float = 0.0  # share of a random walk in the actions
    burst_rate: float = 0.0  # sudden random manoeuvres per second
    pedal: float | None = None  # held, whatever lies ahead
    aside_m: float = 0.0  # wished offset to the left of the lane's centre


STYLES = {
    s.name: s
    for s in (
        Style("expert"),
        Style("cautious", speed_factor=0.75, headway_s=2.2, max_brake=0.8, lane_change_rate=0.0),
        Style("aggressive", speed_factor=1.25, headway_s=0.6, foresees=False, lane_change_rate=0.4),
        Style(
            "reckless",
            1.45,
            0.2,
            0.6,
            looks_m=16.0,
            foresees=False,
            lane_change_rate=0.5,
            checks_mirror=False,
            burst_rate=0.12,
        ),
        Style("distracted", lapse_rate=0.45, lapse_s=3.0, wander_m=0.5),
        Style("ram", speed_factor=1.3, hunts=True, foresees=False),
        Style("random", random=1.0, wander_m=0.3),
        Style("weaver", speed_factor=1.05, headway_s=0.9, lane_change_rate=0.9, wander_m=0.4, noise=0.1),
        Style("explorer", headway_s=0.9, noise=0.25, burst_rate=0.5, lane_change_rate=0.2, wander_m=0.4),
        Style("blind", lane_change_rate=0.0, pedal=0.0),
        Style("panic", lane_change_rate=0.0, pedal=-1.0),
        Style("swerve_left", lane_change_rate=0.0, pedal=-0.3, aside_m=3.5),
        Style("swerve_right", lane_change_rate=0.0, pedal=-0.3, aside_m=-3.5),
    )
}


@dataclass
class _Mind:
    """One driver's memory."""

    rng: np.random.Generator
    lane: int = -1
    wander_m: float = 0.0
    lapse_s: float = 0.0
    burst_s: float = 0.0
    held: NDArray[np.float64] | None = None
    drift: NDArray[np.float64] | None = None


class ScriptedDriver:
    """A batch of drivers of one style; the env's info["state"] and info["actors"] are needed."""

    needs_state = True

    def __init__(self, style: Style, dt_s: float = 0.1) -> None:
        self.style, self.dt_s, self.name = style, dt_s, style.name
        self._minds: list[_Mind] = []

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._minds = [_Mind(np.random.default_rng([int(s), 11])) for s in seeds]

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        """Actions (b, 2) in [-1, 1]."""
        actions = [self._act(m, i["state"], np.asarray(i["actors"])) for m, i in zip(self._minds, infos, strict=True)]
        return np.array(actions, dtype=np.float32)

    def _act(self, mind: _Mind, state: NDArray[np.float32], actors: NDArray[np.float32]) -> NDArray[np.float64]:
        style, rng, dt = self.style, mind.rng, self.dt_s
        # Every chance is drawn at every step, so that drivers' random numbers never depend on the scene.
        lapse, burst, length, kick = rng.random(), rng.random(), rng.exponential(), rng.uniform(-1, 1, 2)
        mind.wander_m += 0.4 * (-mind.wander_m * dt) + style.wander_m * np.sqrt(0.8 * dt) * rng.normal()
        slow = rng.normal(size=2)
        drift = np.zeros(2) if mind.drift is None else mind.drift
        mind.drift = drift * (1 - 0.8 * dt) + np.sqrt(1.6 * dt) * slow
        plan = self._plan(mind, state, actors)
        if style.lapse_rate and mind.lapse_s <= 0 and lapse < style.lapse_rate * dt:
            mind.lapse_s, mind.held = style.lapse_s * (0.4 + length), plan * (0.8, 0.5)
        if style.burst_rate and mind.burst_s <= 0 and burst < style.burst_rate * dt:
            mind.burst_s, mind.held = 0.3 + 0.5 * min(length, 2.0), kick * (0.8, 1.0)
        if max(mind.lapse_s, mind.burst_s) > 0 and mind.held is not None:
            mind.lapse_s, mind.burst_s = mind.lapse_s - dt, mind.burst_s - dt
            plan = mind.held if mind.lapse_s > 0 else np.array([plan[0] * 0.3 + mind.held[0], mind.held[1]])
        mixed = (1 - 0.75 * style.random) * plan + style.random * mind.drift * (0.3, 0.7) + style.noise * mind.drift
        return np.clip(mixed, -1.0, 1.0)

    def _plan(self, mind: _Mind, state: NDArray[np.float32], actors: NDArray[np.float32]) -> NDArray[np.float64]:
        s = {name: float(state[i]) for name, i in _AT.items()}
        if mind.lane < 0 or mind.lane >= s["num_lanes"]:
            mind.lane = int(s["lane_index"])
        slow = s["speed_mps"] < 0.7 * self.style.speed_factor * s["speed_limit_mps"]
        held_up = (s["gap_m"] < 35.0 and slow) or (s["gap_m"] < 70.0 and s["closing_mps"] > 4.0)
        wish = self.style.lane_change_rate + (0.8 if held_up and self.style.lane_change_rate else 0.0)
        if mind.rng.random() < wish * self.dt_s:
            self._choose_lane(mind, s, actors)
        off = (mind.lane - s["lane_index"]) * s["lane_width_m"] + mind.wander_m - s["lateral_m"]
        off += self.style.aside_m
        target = _nearest(actors) if self.style.hunts else None
        if target is not None:
            return _chase(s, target)
        pedal = self._pedal(s, actors, off) if self.style.pedal is None else self.style.pedal
        return np.array([_steer(s, off), pedal])

    def _choose_lane(self, mind: _Mind, s: dict[str, float], actors: NDArray[np.float32]) -> None:
        options = [k for k in (mind.lane - 1, mind.lane + 1) if 0 <= k < s["num_lanes"]]
        if not options or mind.lane != s["lane_index"]:  # one lane at a time
            return
        choice = int(mind.rng.choice(options))
        off = (choice - s["lane_index"]) * s["lane_width_m"] - s["lateral_m"]
        ahead = _free_ahead(s, actors, off)
        behind = _free_behind(s, actors, off)
        safe = ahead[0] > 6.0 + 2.5 * max(ahead[1], 0.0) and behind[0] > 5.0 + 2.0 * max(behind[1], 0.0)
        worth = ahead[0] - 2.0 * ahead[1] > s["gap_m"] - 2.0 * s["closing_mps"] or s["gap_m"] > 60.0
        if (safe and worth) or not self.style.checks_mirror:
            mind.lane = choice

    def _pedal(self, s: dict[str, float], actors: NDArray[np.float32], off: float) -> float:
        """IDM on what lies ahead in the own path and in the lane that is aimed for."""
        style, speed = self.style, s["speed_mps"]
        bend = max(abs(s["curvature_ahead_1pm"]), abs(s["curvature_1pm"]), 1e-4)
        wanted = min(s["speed_limit_mps"], np.sqrt(3.6 / bend)) * style.speed_factor
        gap, closing = s["gap_m"], s["closing_mps"]
        if abs(off) > 1.0:
            side_gap, side_closing = _free_ahead(s, actors, off)
            if side_gap < gap:
                gap, closing = side_gap, side_closing
        if style.foresees:
            gap, closing = min((gap, closing), _who_will_cross(s, actors))
        accel = 2.5 * (1.0 - (speed / max(wanted, 1.0)) ** 4)
        if gap < min(style.looks_m, 79.0):
            star = 2.0 + max(0.0, speed * style.headway_s + speed * closing / (2.0 * np.sqrt(2.5 * 3.0)))
            accel -= 2.5 * (star / max(gap, 0.5)) ** 2
        return float(np.clip(accel / 4.0 if accel > 0 else accel / 8.0, -style.max_brake, 0.9))


def _steer(s: dict[str, float], off_m: float) -> float:
    """Steering that leads to a path `off_m` to the left, following the road's curve."""
    speed = max(s["speed_mps"], 1.0)
    wanted = np.clip(np.arctan2(off_m, max(1.2 * speed, 5.0)), -0.35, 0.35)
    look = 0.6 * s["curvature_1pm"] + 0.4 * s["curvature_ahead_1pm"]
    curvature = look + 1.6 * (wanted - s["heading_error_rad"]) / speed - 0.12 * s["yaw_rate_radps"] / speed
    return float(np.clip(curvature / min(STEER_CURVATURE_1PM, STEER_ACCEL_MPS2 / speed**2), -1.0, 1.0))


def _road_offsets(s: dict[str, float], actors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sideways distance (n,) of actors to the ego's path, straightening the road's curve."""
    x, y, err, k = actors[:, 1], actors[:, 2], s["heading_error_rad"], s["curvature_1pm"]
    return y + np.sin(err) * x - 0.5 * k * x**2


def _free_ahead(s: dict[str, float], actors: NDArray[np.float32], off_m: float) -> tuple[float, float]:
    """Free gap in m and closing speed in m/s to the next actor ahead on a path `off_m` to the left."""
    return _free(s, actors, off_m, 1.0)


def _free_behind(s: dict[str, float], actors: NDArray[np.float32], off_m: float) -> tuple[float, float]:
    """The same behind; closing is positive when the follower is faster."""
    return _free(s, actors, off_m, -1.0)


def _free(s: dict[str, float], actors: NDArray[np.float32], off_m: float, sign: float) -> tuple[float, float]:
    here = np.isfinite(actors[:, 0])
    a = actors[here]
    beside = np.abs(_road_offsets(s, a) - off_m) < 0.5 * a[:, 7] + 1.4
    gap = sign * a[:, 1] - 0.5 * a[:, 6] - 2.25
    mask = beside & (sign * a[:, 1] > -0.5 * a[:, 6] - 2.25)
    if not mask.any():
        return 200.0, 0.0
    j = int(np.argmin(np.where(mask, gap, np.inf)))
    return float(max(gap[j], 0.0)), float(sign * (s["speed_mps"] - a[j, 4]))


def _who_will_cross(s: dict[str, float], actors: NDArray[np.float32]) -> tuple[float, float]:
    """Gap in m and closing speed in m/s to the first actor that will be in the own path when the ego gets there."""
    a = actors[np.isfinite(actors[:, 0])]
    gap = a[:, 1] - 2.25 - 0.5 * np.where(np.abs(np.sin(a[:, 3])) > 0.7, a[:, 7], a[:, 6])
    closing = s["speed_mps"] - a[:, 4]
    eta = np.clip(gap, 0.0, None) / np.maximum(s["speed_mps"], 2.0)
    # Their sideways motion, less that of the road's own bend for those who follow it.
    drift = a[:, 5] - a[:, 4] * np.sin(s["curvature_1pm"] * a[:, 1] - s["heading_error_rad"])
    y = _road_offsets(s, a)
    half = 0.5 * np.where(np.abs(np.sin(a[:, 3])) > 0.7, a[:, 6], a[:, 7]) + 1.3
    # Whoever brakes arrives later, so a whole span of arrival times counts.
    early, late = y + drift * np.minimum(eta, 4.0), y + drift * np.minimum(2.0 * eta + 1.0, 6.0)
    meets = (np.abs(early) < half) | (np.abs(late) < half) | (early * late < 0.0)
    moving = (np.abs(drift) > 0.4) & (y * drift < 0.0)  # towards the path
    mask = meets & moving & (gap > 0.0) & (eta < 5.0) & (closing > 0.0)
    if not mask.any():
        return 200.0, 0.0
    j = int(np.argmin(np.where(mask, gap, np.inf)))
    return float(gap[j]), float(closing[j])


def _nearest(actors: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The nearest actor in front or beside, within 45 m."""
    a = actors[np.isfinite(actors[:, 0])]
    a = a[(a[:, 1] > -4.0) & (np.hypot(a[:, 1], a[:, 2]) < 45.0)]
    return a[0] if len(a) else None


def _chase(s: dict[str, float], target: NDArray[np.float32]) -> NDArray[np.float64]:
    """Pure pursuit of where the target will be."""
    speed = max(s["speed_mps"], 1.0)
    eta = np.hypot(target[1], target[2]) / max(speed - float(target[4]), 4.0)
    x = target[1] + (target[4] - s["speed_mps"]) * min(eta, 1.5) * 0.3
    y = target[2] + target[5] * min(eta, 2.0)
    curvature = 2.0 * y / max(x**2 + y**2, 9.0)
    steer = curvature / min(STEER_CURVATURE_1PM, STEER_ACCEL_MPS2 / speed**2)
    push = 0.8 if x > 3.0 and speed < target[4] + 7.0 else -0.2
    return np.array([np.clip(steer, -1.0, 1.0), push])


class SwitchPolicy:
    """Policy `a` for the first `at_step` actions after reset, then policy `b`; both see every step."""

    def __init__(self, a: Policy, b: Policy, at_step: int) -> None:
        self.a, self.b, self.at_step = a, b, at_step
        self.name = f"{a.name}>{b.name}@{at_step}"
        self.needs_state = a.needs_state or b.needs_state
        self._step = 0

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self._step = 0
        self.a.reset(seeds)
        self.b.reset(seeds + 1)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        first, second = self.a.act(observation, infos), self.b.act(observation, infos)
        self._step += 1
        return first if self._step <= self.at_step else second


def make_driver(name: str, noise: float | None = None) -> ScriptedDriver:
    """A scripted driver by style name; `noise` replaces the style's action noise."""
    if name not in STYLES:
        raise ValueError(f"unknown driver {name!r}; known: {', '.join(STYLES)}")
    style = STYLES[name]
    return ScriptedDriver(style if noise is None else replace(style, noise=noise))


def drivers(names: Sequence[str] = tuple(STYLES)) -> dict[str, Callable[[], ScriptedDriver]]:
    """Constructors of scripted drivers by name."""
    return {name: (lambda n=name: make_driver(n)) for name in names}  # type: ignore[misc]
