"""Where traffic comes from: the first scene of an episode, and newcomers out of the ego's sight."""

from __future__ import annotations

import numpy as np

from .traffic import CLASS_WEIGHTS, FAR_AHEAD_M, FAR_BEHIND_M, TOP_SPEED_MPS, Driver, Idm, Traffic


class Spawner:
    """Fills the road around the ego with `num_actors` actors and keeps it filled."""

    def __init__(self, traffic: Traffic, rng: np.random.Generator, num_actors: int) -> None:
        self._traffic, self._rng = traffic, rng
        self.num_actors = num_actors

    def populate(self) -> None:
        """Draw the first scene: somebody close ahead of the ego, the others from behind it to far ahead."""
        if self.num_actors:
            self._spawn(near=True)
        for _ in range(4 * self.num_actors):
            if len(self._traffic.drivers) >= self.num_actors:
                break
            self._spawn(near=False)

    def recycle(self) -> None:
        """Retire who is out of sight and let newcomers in, ahead or behind, where the camera can't see them."""
        t = self._traffic
        for i in list(t.drivers):
            away = t.state.s_m[i] - t.state.s_m[0]
            if away > FAR_AHEAD_M + 15.0 or away < -FAR_BEHIND_M - 15.0:
                t.physics.remove(i)
                del t.drivers[i]
        if len(t.drivers) < self.num_actors:
            self._newcomer()

    def _free_body(self, kind: str) -> int | None:
        for i, name in enumerate(self._traffic.physics.rig.kinds):
            if i > 0 and name == kind and not self._traffic.physics.active[i]:
                return i
        return None

    def _clear(self, i: int, s_m: float, d_m: float, margin_m: float = 6.0) -> bool:
        t = self._traffic
        p, st = t.physics, t.state
        close = np.abs(st.s_m - s_m) < 0.5 * (p.length_m + p.length_m[i]) + margin_m
        beside = np.abs(st.d_m - d_m) < 0.5 * (p.width_m + p.width_m[i]) + 0.5
        mask = p.active & close & beside
        mask[i] = False
        return not bool(mask.any())

    def _draw_role(self) -> str:
        oncoming = self._traffic.layout.num_oncoming > 0
        weights = {"drive": 0.42, "hard_braker": 0.12, "cut_in": 0.12, "inattentive": 0.08, "stopped": 0.08}
        weights |= {"crossing": 0.14, "oncoming": 0.4 if oncoming else 0.0}
        p = np.array(list(weights.values()))
        return str(self._rng.choice(list(weights), p=p / p.sum()))

    def _draw_kind(self, role: str) -> str:
        rng = self._rng
        if role == "crossing":
            return "pedestrian" if rng.random() < 0.7 else "cyclist"
        p = np.array(list(CLASS_WEIGHTS.values()))
        return str(rng.choice(list(CLASS_WEIGHTS), p=p / p.sum()))

    def _wanted_speed(self, kind: str) -> float:
        factor = self._rng.normal(0.9, 0.17)
        wanted = self._traffic.layout.speed_limit_mps * float(np.clip(factor, 0.45, 1.3))
        return min(wanted, TOP_SPEED_MPS.get(kind, 40.0))

    def _spawn(self, near: bool) -> None:
        rng, t = self._rng, self._traffic
        role = self._draw_role()
        if near and role == "oncoming":
            role = "drive"
        ego_s = float(t.state.s_m[0])
        ego_v = float(t.state.along_mps[0])
        away = rng.uniform(9.0, 20.0) + ego_v * rng.uniform(0.3, 1.8) if near else rng.uniform(-45.0, 130.0)
        self._try(role, ego_s + away, near_ego_lane=near and rng.random() < 0.75)

    def _newcomer(self) -> None:
        rng, t = self._rng, self._traffic
        ego_s, ego_v = float(t.state.s_m[0]), float(t.state.along_mps[0])
        role = self._draw_role()
        behind = rng.random() < (0.5 if ego_v < 12.0 else 0.25)
        if role in ("crossing", "stopped", "oncoming"):
            behind = False
        away = -rng.uniform(60.0, FAR_BEHIND_M) if behind else rng.uniform(140.0, FAR_AHEAD_M)
        self._try(role, ego_s + away, near_ego_lane=not behind and rng.random() < 0.5)

    def _try(self, role: str, s_m: float, near_ego_lane: bool) -> None:
        rng, t = self._rng, self._traffic
        kind = self._draw_kind(role)
        i = self._free_body(kind)
        if i is None or s_m < 5.0 or s_m > t.layout.line.length_m - 20.0:
            return
        if role == "crossing":
            self._place_crossing(i, s_m)
            return
        wanted, layout = self._wanted_speed(kind), t.layout
        lane = layout.lane_at(float(t.state.d_m[0])) if near_ego_lane else int(rng.integers(layout.num_lanes))
        d, heading, speed = layout.lane_centre_m(lane), 0.0, wanted * float(rng.uniform(0.75, 1.0))
        if role == "oncoming":
            d, heading = layout.lane_centre_m(-1 - int(rng.integers(layout.num_oncoming))), np.pi
        elif role == "stopped":
            wanted = speed = 0.0
            if rng.random() < 0.4:
                d = layout.right_edge_m + 0.9
        elif kind == "cyclist":
            d = layout.lane_centre_m(0) - 0.5 * layout.lane_width_m + 0.7
        elif s_m < t.state.s_m[0]:  # who comes from behind is no slower than the ego
            wanted = max(wanted, float(t.state.along_mps[0]) + rng.uniform(0.0, 5.0))
            speed = wanted
        if abs(d - t.state.d_m[0]) < 2.6 and s_m > t.state.s_m[0] and role != "oncoming":
            # Nobody appears in front of the ego where it could not stop in time.
            closing = max(0.0, float(t.state.along_mps[0]) - speed)
            s_m = max(s_m, float(t.state.s_m[0]) + 9.0 + 0.5 * t.physics.length_m[i] + closing**2 / 9.0)
        if not self._clear(i, s_m, d, margin_m=6.0 + 0.4 * speed):
            return
        idm = Idm(float(rng.uniform(0.7, 1.9)), float(rng.uniform(1.5, 3.0)), float(rng.uniform(1.2, 2.6)), 2.5)
        driver = Driver(role, wanted, d, idm, next_lane_s=float(rng.uniform(0.0, 1.0)))
        driver.halt_s = float(rng.uniform(5.0, 18.0))
        t.put(i, driver, s_m, d, heading, speed)

    def _place_crossing(self, i: int, s_m: float) -> None:
        rng, t = self._rng, self._traffic
        layout = t.layout
        side = float(rng.choice([-1.0, 1.0]))
        # Behind a barrier nobody could get onto the road: there they wait on this side of it.
        start = layout.right_edge_m + (0.6 if layout.right_barrier else -1.6)
        end = layout.left_edge_m - (0.6 if layout.left_barrier else -1.6)
        if side > 0:
            start, end = end, start
        wanted = float(rng.uniform(1.0, 2.2) if t.physics.rig.kinds[i] == "pedestrian" else rng.uniform(2.5, 4.5))
        driver = Driver("crossing", wanted, end)
        # Set off so that many reach the ego's lane about when the ego does.
        driver.trigger_s = abs(float(t.state.d_m[0]) - start) / wanted + float(rng.uniform(-1.0, 1.5))
        if self._clear(i, s_m, start):
            t.put(i, driver, s_m, start, -side * np.pi / 2, 0.0)
