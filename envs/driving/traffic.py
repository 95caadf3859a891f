"""Traffic around the ego: who drives where, with car following (IDM), lane changes (MOBIL) and dangerous habits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .physics import Physics
from .road import RoadLayout

Array = NDArray[np.float64]

ROLES = (
    "drive",  # follows IDM and MOBIL
    "hard_braker",  # the same, and brakes hard for no reason
    "cut_in",  # squeezes in front of the ego
    "inattentive",  # looks away for seconds
    "stopped",  # stands in a lane or on the shoulder
    "crossing",  # walks or rides across when the ego comes near
    "oncoming",  # drives the other way
    "puppet",  # keeps its heading and speed, reacts to nothing
)
CLASS_WEIGHTS = {
    "car": 0.42,
    "van": 0.12,
    "truck": 0.13,
    "bus": 0.07,
    "tank": 0.09,
    "motorcycle": 0.09,
    "cyclist": 0.08,
}
TOP_SPEED_MPS = {"tank": 17.0, "bus": 24.0, "truck": 24.0, "cyclist": 6.5, "pedestrian": 2.0}
FAR_AHEAD_M, FAR_BEHIND_M = 190.0, 80.0
MAX_DECEL_MPS2 = 8.0


class Idm(NamedTuple):
    """Intelligent driver model (Treiber et al. 2000)."""

    headway_s: float = 1.4
    min_gap_m: float = 2.0
    accel_mps2: float = 1.8
    decel_mps2: float = 2.5

    def accel(self, speed: float, wanted: float, gap: float, closing: float) -> float:
        """Acceleration in m/s2; `closing` is positive when the gap shrinks."""
        star = self.min_gap_m + max(
            0.0, speed * self.headway_s + speed * closing / (2.0 * (self.accel_mps2 * self.decel_mps2) ** 0.5)
        )
        free = 1.0 - (speed / max(wanted, 0.5)) ** 4
        return max(-MAX_DECEL_MPS2, self.accel_mps2 * (free - (star / max(gap, 0.3)) ** 2))


@dataclass
class Driver:
    """One road user's mind: role, wishes and timers."""

    role: str
    wanted_mps: float
    lane_d_m: float
    idm: Idm = field(default_factory=Idm)
    brake_s: float = 0.0  # time left of a pointless hard brake
    halt_s: float = 0.0  # time that a stopped one stays once the ego is near
    away_s: float = 0.0  # time left looking away
    next_lane_s: float = 0.0  # time until lanes are thought about again
    started: bool = False  # a crossing one has set off
    trigger_s: float = 0.0
    crashed: bool = False


class Neighbour(NamedTuple):
    """Who is ahead or behind: actor (-1 nobody), free gap in m, speed along the road in m/s."""

    actor: int
    gap_m: float
    speed_mps: float


@dataclass
class RoadState:
    """Road coordinates and speeds of every actor (n,)."""

    s_m: Array
    d_m: Array
    along_mps: Array
    heading_error_rad: Array  # relative to the road's direction


class Traffic:
    """Decides for all actors but the ego (index 0)."""

    def __init__(self, physics: Physics, layout: RoadLayout, rng: np.random.Generator) -> None:
        self.physics, self.layout, self.rng = physics, layout, rng
        self.drivers: dict[int, Driver] = {}
        n = len(physics.mass_kg)
        self.state = RoadState(np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n))
        self._speed = np.zeros(n)  # along each actor's own heading

    def observe(self) -> None:
        """Update road coordinates from the physical state."""
        p, line, st = self.physics, self.layout.line, self.state
        on = np.flatnonzero(p.active)
        pose, v = p.pose[on], p.velocity[on]
        st.d_m[:], st.along_mps[:] = 1e3, 0.0
        st.s_m[on], st.d_m[on] = line.project(pose[:, :2], st.s_m[on])
        psi = line.heading(st.s_m[on])
        st.along_mps[on] = np.cos(psi) * v[:, 0] + np.sin(psi) * v[:, 1]
        st.heading_error_rad[on] = (pose[:, 2] - psi + np.pi) % (2 * np.pi) - np.pi
        self._speed = p.forward_speed()

    def put(self, i: int, driver: Driver | None, s_m: float, d_m: float, heading_rad: float, speed_mps: float) -> None:
        """Place actor i (the ego has no driver here) at road coordinates; its heading is relative to the road."""
        x, y = self.layout.line.point(s_m, d_m)
        psi = float(self.layout.line.heading(s_m)) + heading_rad
        self.physics.place(i, float(x), float(y), psi, speed_mps)
        if driver is not None:
            self.drivers[i] = driver
        self.state.s_m[i], self.state.d_m[i] = s_m, d_m
        self.state.along_mps[i] = speed_mps * np.cos(heading_rad)
        self.state.heading_error_rad[i] = (heading_rad + np.pi) % (2 * np.pi) - np.pi
        self._speed[i] = speed_mps

    def neighbour(self, i: int, d_m: float, ahead: bool) -> Neighbour:
        """The nearest actor whose body overlaps actor i's path at lateral offset `d_m`, ahead or behind."""
        p, st = self.physics, self.state
        reach = 0.5 * (p.width_m + p.width_m[i]) + 0.25
        gap = (st.s_m - st.s_m[i]) * (1.0 if ahead else -1.0)
        mask = p.active & (np.abs(st.d_m - d_m) < reach) & (gap > 0.0)
        mask[i] = False
        others = np.flatnonzero(mask)
        if len(others) == 0:
            return Neighbour(-1, 1e3, 0.0)
        # A body across the road, e.g. a pedestrian, is as long as it is wide.
        across = np.abs(np.sin(st.heading_error_rad[others])) > 0.7
        extent = 0.5 * np.where(across, p.width_m[others], p.length_m[others])
        free = gap[others] - extent - 0.5 * p.length_m[i]
        k = int(np.argmin(free))
        j = int(others[k])
        return Neighbour(j, max(float(free[k]), 0.0), float(st.along_mps[j]))

    def step(self, dt_s: float) -> None:
        """Set every driver's commands for the next dt_s."""
        for i, driver in self.drivers.items():
            if driver.crashed:
                self.physics.accel_cmd[i], self.physics.curvature_cmd[i] = -6.0, 0.0
            elif driver.role == "puppet":
                self.physics.accel_cmd[i] = np.clip(driver.wanted_mps - self._speed[i], -3.0, 3.0)
            elif driver.role == "crossing":
                self._cross(i, driver)
            elif driver.role == "oncoming":
                self._drive_oncoming(i, driver)
            else:
                self._drive(i, driver, dt_s)

    def mark_crashed(self, touched: set[int]) -> None:
        """Actors that hit something brake and slide from now on."""
        for i in touched:
            if i in self.drivers and self.drivers[i].role != "puppet":
                self.drivers[i].crashed = True

    def _cross(self, i: int, driver: Driver) -> None:
        """Set off when the ego comes near, walk to the other side, but not into an ego that stands in the way."""
        st, p = self.state, self.physics
        ego_eta = (st.s_m[i] - st.s_m[0]) / max(st.along_mps[0], 2.0)
        if not driver.started and ego_eta < driver.trigger_s:
            driver.started = True
        to_ego = (st.d_m[0] - st.d_m[i]) * np.sign(driver.lane_d_m - st.d_m[i])
        beside = abs(st.s_m[i] - st.s_m[0]) < 0.5 * p.length_m[0] + 0.8
        blocked = beside and 0.0 < to_ego < 0.5 * (p.width_m[0] + p.length_m[i]) + 1.0 and st.along_mps[0] < 4.0
        done = driver.started and abs(st.d_m[i] - driver.lane_d_m) < 0.7
        wanted = driver.wanted_mps if driver.started and not done and not blocked else 0.0
        self.physics.accel_cmd[i] = np.clip(3.0 * (wanted - self._speed[i]), -4.0, 3.0)

    def _drive_oncoming(self, i: int, driver: Driver) -> None:
        st = self.state
        gap = st.s_m[i] - st.s_m
        mask = self.physics.active & (gap > 0) & (np.abs(st.d_m - st.d_m[i]) < 2.2)
        mask[i] = False
        accel = driver.idm.accel(-st.along_mps[i], driver.wanted_mps, 1e3, 0.0)
        if mask.any():
            j = int(np.argmin(np.where(mask, gap, np.inf)))
            free = gap[j] - 0.5 * (self.physics.length_m[i] + self.physics.length_m[j])
            accel = driver.idm.accel(-st.along_mps[i], driver.wanted_mps, free, -st.along_mps[i] + st.along_mps[j])
        self.physics.accel_cmd[i] = accel
        self._steer(i, driver.lane_d_m, direction=-1.0)

    def _drive(self, i: int, driver: Driver, dt_s: float) -> None:
        speed = float(self.state.along_mps[i])
        ahead = self.neighbour(i, float(self.state.d_m[i]), ahead=True)
        self._update_moods(i, driver, dt_s)
        if driver.role == "stopped":
            accel = -3.0
            self._wait(i, driver, dt_s)
        elif driver.brake_s > 0.0:
            accel = -7.0
        elif driver.away_s > 0.0:
            accel = driver.idm.accel(speed, driver.wanted_mps, 1e3, 0.0)
        else:
            accel = driver.idm.accel(speed, driver.wanted_mps, ahead.gap_m, speed - ahead.speed_mps)
            driver.next_lane_s -= dt_s
            if driver.next_lane_s <= 0.0:
                driver.next_lane_s = 0.5
                self._think_about_lanes(i, driver, accel)
        self.physics.accel_cmd[i] = accel
        self._steer(i, driver.lane_d_m, direction=1.0)

    def _wait(self, i: int, driver: Driver, dt_s: float) -> None:
        """Stand; drive off some time after the ego came near."""
        driver.halt_s -= dt_s if abs(self.state.s_m[i] - self.state.s_m[0]) < 60.0 else 0.0
        if driver.halt_s <= 0.0:
            driver.role, driver.wanted_mps = "drive", 0.7 * self.layout.speed_limit_mps
            driver.lane_d_m = self.layout.lane_centre_m(self.layout.lane_at(driver.lane_d_m))

    def _update_moods(self, i: int, driver: Driver, dt_s: float) -> None:
        driver.brake_s, driver.away_s = max(0.0, driver.brake_s - dt_s), max(0.0, driver.away_s - dt_s)
        chance = self.rng.random()
        in_front = 0.0 < self.state.s_m[i] - self.state.s_m[0] < 45.0
        if driver.role == "hard_braker" and in_front and chance < 0.16 * dt_s:
            driver.brake_s = float(self.rng.uniform(1.0, 3.5))
        if driver.role == "inattentive" and chance < 0.25 * dt_s:
            driver.away_s = float(self.rng.uniform(1.5, 4.0))

    def _think_about_lanes(self, i: int, driver: Driver, accel_now: float) -> None:
        """MOBIL (Kesting et al. 2007), politeness 0.3; a cut-in driver aims for the space in front of the ego."""
        layout, st = self.layout, self.state
        if self.physics.rig.kinds[i] == "cyclist" or abs(st.d_m[i] - driver.lane_d_m) > 0.6:
            return
        lane = layout.lane_at(driver.lane_d_m)
        best, best_gain = lane, 0.25
        for other in (lane - 1, lane + 1):
            if not 0 <= other < layout.num_lanes:
                continue
            d = layout.lane_centre_m(other)
            lead, follow = self.neighbour(i, d, ahead=True), self.neighbour(i, d, ahead=False)
            if lead.gap_m < 3.0 or follow.gap_m < 2.0:
                continue
            speed = float(st.along_mps[i])
            if driver.role == "cut_in" and follow.actor == 0 and follow.gap_m < 18.0:
                best, best_gain = other, 1e3
                continue
            after = driver.idm.accel(speed, driver.wanted_mps, lead.gap_m, speed - lead.speed_mps)
            pushed = Idm().accel(follow.speed_mps, follow.speed_mps + 1.0, follow.gap_m, follow.speed_mps - speed)
            gain = after - accel_now + 0.3 * min(pushed, 0.0)
            if pushed > -3.0 and gain > best_gain:
                best, best_gain = other, gain
        driver.lane_d_m = layout.lane_centre_m(best)

    def _steer(self, i: int, d_m: float, direction: float) -> None:
        st = self.state
        speed = max(float(self._speed[i]), 0.5)
        off = direction * (d_m - st.d_m[i])
        error = st.heading_error_rad[i] if direction > 0 else _wrap(st.heading_error_rad[i] - np.pi)
        wanted = np.clip(np.arctan2(off, max(1.1 * speed, 4.0)), -0.45, 0.45)
        road = direction * float(self.layout.line.curvature(st.s_m[i]))
        self.physics.curvature_cmd[i] = np.clip(road + 2.0 * _wrap(wanted - error) / speed, -0.12, 0.12)


def _wrap(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
