"""Guided physics: actors move as their guide says until something hits them, and are free bodies from then on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from ..driving.bodies import Rig
from ..driving.physics import Physics
from .guide import HOLD_S, Guide, Whereabouts

Array = NDArray[np.float64]
Pair = tuple[int, int]

FINE_S = 0.0025
IMPACT_S = 0.12  # an impact is over after this time; the rest is sliding
APART_S = 1.0  # a contact that begins anew within this time is the same collision
SLIDE_S = 0.3  # how near to the time that the source gives a slide of its boxes is still that slide
JUMP_MPS = 150.0  # faster is no motion but a jump, which has no speed
CRASHED_MPS2, CRASHED_EGO_MPS2 = -6.0, -4.0


@dataclass
class Touch:
    """Two actors (rows of the scenario) collide; `impulse_ns` is what the second received, in the world frame."""

    t_s: float
    first: int
    second: int
    closing_mps: float
    last_s: float
    impulse_ns: Array = field(default_factory=lambda: np.zeros(2))
    point_m: Array = field(default_factory=lambda: np.zeros(2))
    heading_rad: float = 0.0  # of the ego when the contact began


@dataclass(frozen=True)
class Slide:
    """Boxes of two actors overlap in the source itself, from about this time on: no crash."""

    first: int
    second: int
    t_s: float


class GuidedPhysics(Physics):
    """Rows are the scenario's actors, row 0 carries the cameras; `origin_m` of the scenario's frame is (0, 0) here.

    An absent row 0 leaves the cameras where it was last, or at `camera_start`.
    """

    def __init__(
        self,
        rig: Rig,
        guide: Guide,
        names: Sequence[str],
        order: NDArray[np.int64],
        origin_m: Array,
        slides: Sequence[Slide],
    ) -> None:
        super().__init__(rig)
        self.guide, self.names, self.origin_m = guide, tuple(names), origin_m
        self._order = order  # row here -> row of the guide
        self._slides: dict[Pair, list[float]] = {}
        for slide in slides:
            pair = (min(slide.first, slide.second), max(slide.first, slide.second))
            self._slides.setdefault(pair, []).append(slide.t_s)
        self.t_s = 0.0
        self.guided = np.ones(len(names), bool)
        self.touches: list[Touch] = []
        self.overlaps: list[Slide] = []
        self._ignored: dict[Pair, float] = {}
        self._fresh: set[int] = set()

    def begin(self, camera_start: Array) -> None:
        """Everybody at the guide's present place; `camera_start` (3,) is for a row 0 that is not there."""
        self.clear()
        self.pose[0] = [*(camera_start[:2] - self.origin_m), camera_start[2]]
        self.t_s, self.guided[:] = 0.0, True
        self.touches, self.overlaps, self._ignored = [], [], {}
        self._bring_in(self._wanted())
        self.refresh()

    def remove(self, i: int) -> None:
        """Take actor i off the road; cameras stay where they are."""
        here = self.pose[i].copy()
        super().remove(i)
        if i == 0:
            self.pose[0] = here

    def _wanted(self) -> Array:
        rows = self.guide.now[self._order].copy()
        rows[:, :2] -= self.origin_m
        return rows

    def _bring_in(self, wanted: Array) -> None:
        """Put actors that appear on the road, take those off that their guide has no place for any more."""
        here = np.isfinite(wanted[:, 0])
        for i in np.flatnonzero(here & ~self.active & self.guided):
            self.enter(int(i), *wanted[i])
        for i in np.flatnonzero(~here & self.active & self.guided):
            self.remove(int(i))
        for name in ("geom_contype", "geom_conaffinity"):
            getattr(self.model, name)[self.rig.hull_geom] = self.active

    def enter(self, i: int, x_m: float, y_m: float, heading_rad: float, speed_mps: float) -> None:
        """Put actor i on the road, where it may find itself inside another without that being a crash."""
        self.place(i, x_m, y_m, heading_rad, speed_mps)
        self._fresh.add(i)

    def _whereabouts(self) -> dict[str, Whereabouts]:
        speed = self.forward_speed()
        out = {}
        for i in np.flatnonzero(self.active & ~self.guided):
            x, y, heading = self.pose[i]
            pose = (float(x + self.origin_m[0]), float(y + self.origin_m[1]), float(heading))
            out[self.names[i]] = Whereabouts(pose, float(speed[i]))
        return out

    def advance_guided(self, dt_s: float) -> None:
        """Simulate dt_s under the guide and, for whoever does not follow it, the present commands."""
        for _ in range(round(dt_s / HOLD_S)):
            self._hold()
        mujoco.mj_fwdPosition(self.model, self.data)

    def _hold(self) -> None:
        start = self._wanted()
        self._bring_in(start)
        self.guide.advance(self._whereabouts())
        end = self._wanted()
        led = np.flatnonzero(self.active & self.guided)
        motion = _motion(start[led], end[led])
        self.pose[led], self.velocity[led] = start[led, :3], motion
        self._apply_forces()
        num = round(HOLD_S / FINE_S) if self.data.ncon or self._could_touch(HOLD_S) else 1
        self.model.opt.timestep = HOLD_S / num
        for k in range(num):
            still = self.guided[led]  # whoever was hit meanwhile is led no more
            self.pose[led[still]] = start[led[still], :3] + motion[still] * (k * HOLD_S / num)
            self.velocity[led[still]] = motion[still]
            before = self.velocity.copy()
            mujoco.mj_step(self.model, self.data)
            if self.data.ncon:
                self._meet(self.t_s + k * HOLD_S / num, HOLD_S / num, before)
        still = self.guided[led]
        arrived = led[still]
        known = np.isfinite(end[arrived, 0])
        self.pose[arrived[known]] = end[arrived[known], :3]
        self._fresh.clear()
        self.t_s += HOLD_S
        self._ignored = {pair: seen for pair, seen in self._ignored.items() if self.t_s - seen < 0.1}

    def _meet(self, t_s: float, dt_s: float, velocity: Array) -> None:
        """Book this substep's contacts; `velocity` (n, 3) is that of before it."""
        wrench = np.zeros(6)
        for k in range(self.data.ncon):
            contact = self.data.contact[k]
            first, second = (self._hull_owner[int(g)] for g in contact.geom)
            pair = (min(first, second), max(first, second))
            if pair in self._ignored or self._is_slide(pair, t_s):
                self._ignored[pair] = t_s
                continue
            normal = contact.frame[:2] * (1.0 if pair[0] == first else -1.0)  # from pair[0] to pair[1]
            closing = float((velocity[pair[0], :2] - velocity[pair[1], :2]) @ normal)
            touch = self._touch(pair, t_s, closing, contact.pos[:2])
            mujoco.mj_contactForce(self.model, self.data, k, wrench)
            force = (contact.frame.reshape(3, 3).T @ wrench[:3])[:2]
            if t_s - touch.t_s <= IMPACT_S:
                touch.impulse_ns += (force if pair[0] == first else -force) * dt_s
            touch.last_s = t_s

    def _is_slide(self, pair: Pair, t_s: float) -> bool:
        """Whether these two overlap for no fault of theirs: at their appearance, or as the source says."""
        led = self.guided[pair[0]] and self.guided[pair[1]]
        known = led and any(abs(t_s - begun) <= SLIDE_S for begun in self._slides.get(pair, ()))
        if not known and not self._fresh & set(pair):
            return False
        self.overlaps.append(Slide(*pair, t_s))
        return True

    def _touch(self, pair: Pair, t_s: float, closing_mps: float, point: Array) -> Touch:
        """The collision that a contact of this pair belongs to; a new one sets both free."""
        for touch in reversed(self.touches):
            if (touch.first, touch.second) == pair and t_s - touch.last_s < APART_S:
                return touch
        touch = Touch(t_s, *pair, closing_mps, t_s)
        if pair[0] == 0:
            x, y, psi = self.pose[0]
            dx, dy = point[0] - x, point[1] - y
            touch.point_m[:] = np.cos(psi) * dx + np.sin(psi) * dy, np.cos(psi) * dy - np.sin(psi) * dx
            touch.heading_rad = float(psi)
        self.touches.append(touch)
        for i in pair:
            self.guided[i] = False
            self.accel_cmd[i] = CRASHED_EGO_MPS2 if i == 0 else CRASHED_MPS2
            self.curvature_cmd[i] = 0.0
        return touch

    def snapshot(self) -> dict[str, Any]:
        """The full state, independent of later steps."""
        own = (self.t_s, self.guided, self.touches, self.overlaps, self._ignored, self._fresh)
        return super().snapshot() | {
            "own": copy.deepcopy(own),
            "guide": self.guide.snapshot(),
            "bodies": self.rig.bodies,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of this or an equal physics; bodies may differ in class, size and mass."""
        super().restore(snapshot)
        own = copy.deepcopy(snapshot["own"])
        self.t_s, self.guided, self.touches, self.overlaps, self._ignored, self._fresh = own
        # Whoever has another body now may reach into a neighbour, as one that appears.
        self._fresh |= {i for i, (a, b) in enumerate(zip(snapshot["bodies"], self.rig.bodies, strict=True)) if a != b}
        self.guide.restore(snapshot["guide"])
        self._bring_in(self._wanted())
        self.refresh()


def _motion(start: Array, end: Array) -> Array:
    """Velocity (n, 3) vx, vy, yaw rate that leads from rows (n, 4) to those HOLD_S later."""
    along = np.stack([np.cos(start[:, 2]), np.sin(start[:, 2])], axis=1) * start[:, 3:4]
    moved = (end[:, :3] - start[:, :3]) / HOLD_S
    moved[:, 2] = ((end[:, 2] - start[:, 2] + np.pi) % (2 * np.pi) - np.pi) / HOLD_S
    steady = np.isfinite(moved[:, 0]) & (np.hypot(moved[:, 0], moved[:, 1]) < JUMP_MPS)
    out = np.zeros((len(start), 3))
    out[:, :2] = np.where(steady[:, None], moved[:, :2], along)
    out[:, 2] = np.where(steady, moved[:, 2], 0.0)
    return out
