"""Planar vehicle physics: tyre forces for every actor, MuJoCo contacts between them, impulses on the ego."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .bodies import BARRIER_PIECE_M, NUM_BARRIER_PIECES, Rig
from .road import RoadLayout

Array = NDArray[np.float64]

GRIP_MPS2 = 8.5  # what tyres hold, about 0.87 g
# The ego's controls: full lock bends the path by 0.16 1/m, at speed by no more than 7 m/s2 of lateral acceleration.
STEER_CURVATURE_1PM, STEER_ACCEL_MPS2 = 0.16, 7.0
ENGINE_ACCEL_MPS2, ENGINE_POWER_WPKG, BRAKE_MPS2 = 4.0, 60.0, 8.0
STATIC = -1  # partner index of a barrier
_PARK_M = -5000.0  # where absent actors wait
_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
_IMPACT_S = 0.12  # an impact is over after this time; the rest is sliding
_HOLD_S, _FINE_S = 0.01, 0.0025


@dataclass
class Impact:
    """What the ego felt from one partner: impulse vector in N s (world) and where it was hit (ego frame, m)."""

    impulse_ns: Array = field(default_factory=lambda: np.zeros(2))
    point_m: Array = field(default_factory=lambda: np.zeros(2))
    samples: int = 0
    heading_rad: float = 0.0  # of the ego when the contact began


@dataclass
class Contacts:
    """Contacts of one step: ego's impacts by partner (actor index or STATIC) and the actors that touched anything."""

    ego: dict[int, Impact] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)


class Physics:
    """Holds the MuJoCo state; commands are per actor: acceleration along its heading and path curvature."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.model = rig.model
        self.data = mujoco.MjData(rig.model)
        n = len(rig.kinds)
        self.mass_kg = np.array([b.mass_kg for b in rig.bodies])
        self.length_m = np.array([b.length_m for b in rig.bodies])
        self.width_m = np.array([b.width_m for b in rig.bodies])
        self._izz = self.mass_kg * (self.length_m**2 + self.width_m**2) / 12.0
        self.accel_cmd = np.zeros(n)
        self.curvature_cmd = np.zeros(n)
        self.active = np.zeros(n, bool)
        self._hull_owner = {int(g): i for i, g in enumerate(rig.hull_geom)}
        self._hull_owner |= {int(g): STATIC for g in rig.barrier_geom}

    @property
    def pose(self) -> Array:
        """(n, 3) x, y, heading of every actor."""
        return self.data.qpos.reshape(-1, 3)

    @property
    def velocity(self) -> Array:
        """(n, 3) vx, vy in the world frame and yaw rate of every actor."""
        return self.data.qvel.reshape(-1, 3)

    def forward_speed(self) -> Array:
        """(n,) speed along each actor's own heading."""
        psi, v = self.pose[:, 2], self.velocity
        return np.cos(psi) * v[:, 0] + np.sin(psi) * v[:, 1]

    def command_ego(self, steer: float, pedal: float) -> None:
        """Drive the ego by steering and pedal in [-1, 1]; steering's authority falls with speed, as tyres demand."""
        speed = max(float(self.forward_speed()[0]), 0.0)
        drag = 0.05 + 0.00035 * speed**2 if speed > 0.05 else 0.0
        engine = min(ENGINE_ACCEL_MPS2, ENGINE_POWER_WPKG / max(speed, 1.0))
        self.accel_cmd[0] = engine * max(pedal, 0.0) + BRAKE_MPS2 * min(pedal, 0.0) - drag
        self.curvature_cmd[0] = steer * min(STEER_CURVATURE_1PM, STEER_ACCEL_MPS2 / max(speed, 1.0) ** 2)

    def clear(self) -> None:
        """Take every actor off the road and set the clock to zero."""
        mujoco.mj_resetData(self.model, self.data)
        for i in range(len(self.mass_kg)):
            self.remove(i)
        self.data.mocap_pos[:, 0] = _PARK_M
        self.data.mocap_pos[:, 1] = _PARK_M

    def place(self, i: int, x_m: float, y_m: float, heading_rad: float, speed_mps: float) -> None:
        """Put actor i on the road, moving along its heading."""
        self.active[i] = True
        self.pose[i] = (x_m, y_m, heading_rad)
        self.velocity[i] = (speed_mps * np.cos(heading_rad), speed_mps * np.sin(heading_rad), 0.0)
        self.accel_cmd[i] = self.curvature_cmd[i] = 0.0

    def remove(self, i: int) -> None:
        """Take actor i off the road."""
        self.active[i] = False
        self.pose[i] = (_PARK_M - 30.0 * i, _PARK_M, 0.0)
        self.velocity[i] = 0.0
        self.data.qfrc_applied.reshape(-1, 3)[i] = 0.0
        self.accel_cmd[i] = self.curvature_cmd[i] = 0.0

    def move_barriers(self, layout: RoadLayout, s_m: float) -> None:
        """Lay the barrier pieces along the road's walls around `s_m`."""
        half = NUM_BARRIER_PIECES // 2
        base = np.floor(s_m / BARRIER_PIECE_M) * BARRIER_PIECE_M
        s = base + BARRIER_PIECE_M * (np.arange(half) - half // 2 + 0.5)
        walls = ((layout.left_barrier, layout.left_edge_m + 0.2), (layout.right_barrier, layout.right_edge_m - 0.2))
        for k, (present, d) in enumerate(walls):
            if not present:
                continue
            rows = slice(k * half, (k + 1) * half)
            psi = layout.line.heading(s)
            self.data.mocap_pos[rows, :2] = layout.line.point(s, np.full(half, d))
            self.data.mocap_quat[rows] = np.stack([np.cos(psi / 2), 0 * psi, 0 * psi, np.sin(psi / 2)], axis=1)

    def advance(self, dt_s: float) -> Contacts:
        """Simulate dt_s under the present commands."""
        contacts = Contacts()
        self._run(dt_s, contacts)
        return contacts

    def finish_impact(self, partner: int) -> Array:
        """Impulse (2,) in N s still to come from an impact that began in this step; the state is left as it was.

        An impact lasts some tens of milliseconds and may straddle two steps, but belongs to the step it began in.
        """
        before = self.snapshot()
        contacts = Contacts()
        self._run(_IMPACT_S, contacts)
        self.restore(before)
        return contacts.ego.get(partner, Impact()).impulse_ns

    def refresh(self) -> None:
        """Recompute positions and contacts after actors were moved by hand."""
        mujoco.mj_fwdPosition(self.model, self.data)

    def snapshot(self) -> dict[str, Any]:
        """The full state, independent of later steps."""
        state = np.empty(mujoco.mj_stateSize(self.model, _STATE))
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return {
            "state": state,
            "mocap": (self.data.mocap_pos.copy(), self.data.mocap_quat.copy()),
            "warmstart": self.data.qacc_warmstart.copy(),
            "commands": (self.accel_cmd.copy(), self.curvature_cmd.copy(), self.active.copy()),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot."""
        mujoco.mj_setState(self.model, self.data, snapshot["state"], _STATE)
        self.data.mocap_pos[:], self.data.mocap_quat[:] = snapshot["mocap"]
        self.data.qacc_warmstart[:] = snapshot["warmstart"]
        self.accel_cmd[:], self.curvature_cmd[:], self.active[:] = snapshot["commands"]
        mujoco.mj_fwdPosition(self.model, self.data)

    def _run(self, dt_s: float, contacts: Contacts) -> None:
        """Tyre forces are held for _HOLD_S; contacts need finer steps."""
        substep_s = _FINE_S if self.data.ncon or self._could_touch(dt_s) else _HOLD_S
        self.model.opt.timestep = substep_s
        for _ in range(round(dt_s / _HOLD_S)):
            self._apply_forces()
            for _ in range(round(_HOLD_S / substep_s)):
                mujoco.mj_step(self.model, self.data)
                if self.data.ncon:
                    self._collect(substep_s, contacts)
        mujoco.mj_fwdPosition(self.model, self.data)

    def _could_touch(self, dt_s: float) -> bool:
        """Whether any two hulls could meet within dt_s, judged by boxes around the others in its frame."""
        on = np.flatnonzero(self.active)
        pose, v = self.pose[on], self.velocity[on]
        quat = self.data.mocap_quat
        wall = np.stack([*self.data.mocap_pos[:, :2].T, 2 * np.arctan2(quat[:, 3], quat[:, 0])], axis=1)
        others = np.concatenate([pose, wall])
        half_l = 0.5 * np.concatenate([self.length_m[on], np.full(len(wall), BARRIER_PIECE_M)])
        half_w = 0.5 * np.concatenate([self.width_m[on], np.full(len(wall), 0.4)])
        motion = np.concatenate([v[:, :2], np.zeros((len(wall), 2))])
        cos, sin = np.cos(pose[:, 2])[:, None], np.sin(pose[:, 2])[:, None]
        dx, dy = others[None, :, 0] - pose[:, None, 0], others[None, :, 1] - pose[:, None, 1]
        ux, uy = motion[None, :, 0] - v[:, None, 0], motion[None, :, 1] - v[:, None, 1]
        turn = others[None, :, 2] - pose[:, None, 2]
        c, s = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        # 0.3 m covers what accelerating and turning add to the straight motion.
        reach_x = half_l[: len(on), None] + c * half_l + s * half_w + np.abs(cos * ux + sin * uy) * dt_s + 0.3
        reach_y = half_w[: len(on), None] + s * half_l + c * half_w + np.abs(cos * uy - sin * ux) * dt_s + 0.3
        near = (np.abs(cos * dx + sin * dy) < reach_x) & (np.abs(cos * dy - sin * dx) < reach_y)
        return int(near.sum()) > len(on)  # everybody is near itself

    def _apply_forces(self) -> None:
        """A friction-limited bicycle: tyres follow the commanded curvature and stop sideways sliding."""
        on = np.flatnonzero(self.active)
        v, psi, command = self.velocity[on], self.pose[on, 2], self.accel_cmd[on]
        cos, sin = np.cos(psi), np.sin(psi)
        ahead, side = cos * v[:, 0] + sin * v[:, 1], cos * v[:, 1] - sin * v[:, 0]
        # Brakes and rolling resistance stop a wheel, never turn it backwards; one that is pushed back resists.
        stop = -ahead / _HOLD_S
        along = np.where(command < 0.0, np.maximum(command, np.minimum(stop, 0.0)), command)
        along = np.where(ahead < -1e-3, np.minimum(6.0, stop), along)
        along = np.minimum(np.maximum(along, -GRIP_MPS2), GRIP_MPS2)
        across = v[:, 2] * ahead - side / 0.05
        limit = np.sqrt(np.maximum(GRIP_MPS2**2 - along**2, 4.0))
        across = np.minimum(np.maximum(across, -limit), limit)
        turn_limit = GRIP_MPS2 / np.maximum(np.abs(ahead), 1.0)
        wanted = np.minimum(np.maximum(ahead * self.curvature_cmd[on], -turn_limit), turn_limit)
        twist = np.minimum(np.maximum((wanted - v[:, 2]) / 0.08, -9.0), 9.0)
        force = self.data.qfrc_applied.reshape(-1, 3)
        force[on, 0] = self.mass_kg[on] * (cos * along - sin * across)
        force[on, 1] = self.mass_kg[on] * (sin * along + cos * across)
        force[on, 2] = self._izz[on] * twist

    def _collect(self, dt_s: float, contacts: Contacts) -> None:
        """Add this substep's contact impulses; the contact force points from the first geom to the second."""
        wrench = np.zeros(6)
        x, y, psi = self.pose[0]
        for k in range(self.data.ncon):
            contact = self.data.contact[k]
            first, second = (self._hull_owner[int(g)] for g in contact.geom)
            contacts.touched |= {i for i in (first, second) if i != STATIC}
            if 0 not in (first, second):
                continue
            mujoco.mj_contactForce(self.model, self.data, k, wrench)
            force = (contact.frame.reshape(3, 3).T @ wrench[:3])[:2]
            partner = second if first == 0 else first
            impact = contacts.ego.setdefault(partner, Impact(heading_rad=float(psi)))
            impact.impulse_ns += (force if second == 0 else -force) * dt_s
            if impact.samples < 8:  # where the contact began, before the bodies slide along each other
                dx, dy = contact.pos[0] - x, contact.pos[1] - y
                here = np.array([np.cos(psi) * dx + np.sin(psi) * dy, np.cos(psi) * dy - np.sin(psi) * dx])
                impact.point_m += here
                impact.samples += 1
