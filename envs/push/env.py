"""PushEnv: a robot arm on a table pushes a block of foam, wood or steel to a goal past vessels it must not touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from simworld.episode import NOT_APPLICABLE, ActionSpec, EpisodeSpec, OutcomeSpec
from simworld.scenario import ACTOR_CLASSES

from .cameras import Cameras, check_cameras
from .layout import (
    GOAL_RADIUS_M,
    MAX_VESSELS,
    REACH_HIGH_M,
    REACH_LOW_M,
    Layout,
    LayoutOptions,
    describe,
    sample_layout,
)
from .stage import apply_layout, load_model

CAMERAS = ("front", "overhead", "side", "wrist")
DT_S = 0.1
MAX_SPEED_MPS = 0.2
BREAK_FORCE_N = 8.0  # a vessel hit harder than this counts as broken
TOPPLE_RAD = 0.5  # a vessel tilted further than this does not come back
TOUCH_FORCE_N = 0.02  # less is the numerical noise of resting contacts

STATE = (
    ("tip_x", "m"),
    ("tip_y", "m"),
    ("tip_vx", "m/s"),
    ("tip_vy", "m/s"),
    ("block_x", "m"),
    ("block_y", "m"),
    ("block_sin4", ""),  # a block looks the same after a quarter turn, so its heading is told times four
    ("block_cos4", ""),
    ("block_vx", "m/s"),
    ("block_vy", "m/s"),
    ("goal_x", "m"),
    ("goal_y", "m"),
    ("goal_distance", "m"),
    ("block_mass", "kg"),
    ("clearance", "m"),  # from the block's or tip's centre to the nearest vessel's axis
    ("max_tilt", "rad"),
)
OUTCOMES = (
    OutcomeSpec("success", "event"),
    OutcomeSpec("forbidden_contact", "event"),
    OutcomeSpec("contact_force", "scalar", unit="N", given="forbidden_contact", scale=5.0),
)


@dataclass(frozen=True)
class Snapshot:
    """A moment of an episode: the scene, MuJoCo's integration state and the goal distance of the last step."""

    layout: Layout
    physics: NDArray[np.float64]
    goal_distance_m: float
    rng_state: Mapping[str, Any]


class PushEnv(gymnasium.Env[dict[str, NDArray[np.uint8]], NDArray[np.float32]]):
    """10 Hz; the action (2,) in [-1, 1] is the tip's wanted velocity over MAX_SPEED_MPS, x away from the robot, y left.

    Terminates when the block's centre is on the goal disc, and, with `end_on_break`, when a vessel is hit harder
    than BREAK_FORCE_N or topples. `reset(options=...)` may pin ``material``, ``shape`` and ``num_vessels``.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        cameras: tuple[str, ...] = ("front",),
        size: tuple[int, int] = (64, 64),
        render_mode: str | None = "rgb_array",
        end_on_break: bool = True,
    ) -> None:
        cameras, size = tuple(cameras), (size[0], size[1])
        check_cameras(cameras, CAMERAS, size)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is not offered; use 'rgb_array'")
        self.render_mode = render_mode
        self.end_on_break = end_on_break
        self.episode_spec = EpisodeSpec(
            env_id="simworld/Push-v0",
            cameras={name: size for name in cameras},
            action=ActionSpec("continuous", low=(-1.0, -1.0), high=(1.0, 1.0)),
            outcomes=OUTCOMES,
            dt_s=DT_S,
            state_names=tuple(name for name, _ in STATE),
            state_units=tuple(unit for _, unit in STATE),
        )
        box = gymnasium.spaces.Box(0, 255, (*size, 3), np.uint8)
        self.observation_space: gymnasium.spaces.Dict = gymnasium.spaces.Dict(  # type: ignore[assignment]
            {name: box for name in cameras}
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._model = load_model()
        self._data = mujoco.MjData(self._model)
        self._cameras = Cameras(self._model, cameras, size)
        self._num_substeps = round(DT_S / self._model.opt.timestep)
        self._vessel_geoms = np.array([self._model.geom(f"vessel{i}").id for i in range(MAX_VESSELS)])
        # hits[g1, g2]: a contact between these geoms is one of a vessel with anything but the table
        self._hits = np.zeros((self._model.ngeom, self._model.ngeom), dtype=bool)
        self._hits[self._vessel_geoms, :] = self._hits[:, self._vessel_geoms] = True
        table = self._model.geom("table").id
        self._hits[table, :] = self._hits[:, table] = False
        self._layout: Layout | None = None
        self._goal_distance_m = 0.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        super().reset(seed=seed)
        self._layout = sample_layout(self.np_random, LayoutOptions.parse(options))
        apply_layout(self._model, self._data, self._layout)
        self._goal_distance_m = self._distance_to_goal()
        return self._cameras.render(self._data), self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.uint8]], float, bool, bool, dict[str, Any]]:
        self._data.ctrl[:] = self._wanted_velocity(action)
        force_n = 0.0
        for _ in range(self._num_substeps):
            mujoco.mj_step(self._model, self._data)
            force_n = max(force_n, self._vessel_force())
        # mj_step leaves positions a substep ahead of what is derived from them; frames must show the present.
        mujoco.mj_forward(self._model, self._data)
        touched = force_n > TOUCH_FORCE_N
        broken = force_n > BREAK_FORCE_N or self._max_tilt() > TOPPLE_RAD
        distance = self._distance_to_goal()
        success = distance < GOAL_RADIUS_M and not (broken and self.end_on_break)
        progress = (self._goal_distance_m - distance) / (MAX_SPEED_MPS * DT_S)
        self._goal_distance_m = distance
        reward = float(np.clip(0.5 * progress + success - 0.3 * touched - 0.7 * broken, -1.0, 1.0))
        info = self._info()
        info["outcomes"] = {
            "success": float(success),
            "forbidden_contact": float(touched),
            "contact_force": force_n if touched else NOT_APPLICABLE,
        }
        terminated = bool(success or (broken and self.end_on_break))
        return self._cameras.render(self._data), reward, terminated, False, info

    def render(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """All cameras side by side, uint8 (h, k w, 3)."""
        self._started()
        return np.concatenate(list(self._cameras.render(self._data).values()), axis=1)

    def close(self) -> None:
        self._cameras.close()

    def snapshot(self) -> Snapshot:
        """This moment, for `restore`; a film that goes on from it is the same byte for byte."""
        layout = self._started()
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        physics = np.empty(mujoco.mj_stateSize(self._model, kind))
        mujoco.mj_getState(self._model, self._data, physics, kind)
        return Snapshot(layout, physics, self._goal_distance_m, self.np_random.bit_generator.state)

    def restore(self, snapshot: Snapshot) -> dict[str, NDArray[np.uint8]]:
        """Go back to a moment of this or another PushEnv and return its frames."""
        self._layout = snapshot.layout
        apply_layout(self._model, self._data, snapshot.layout)
        mujoco.mj_setState(self._model, self._data, snapshot.physics, mujoco.mjtState.mjSTATE_INTEGRATION)
        # Derived quantities only: a full forward pass would overwrite the solver's warm start.
        mujoco.mj_fwdPosition(self._model, self._data)
        mujoco.mj_fwdVelocity(self._model, self._data)
        self._goal_distance_m = snapshot.goal_distance_m
        self.np_random.bit_generator.state = snapshot.rng_state
        return self._cameras.render(self._data)

    def _started(self) -> Layout:
        if self._layout is None:
            raise gymnasium.error.ResetNeeded("call reset() before step(), render() or snapshot()")
        return self._layout

    def _wanted_velocity(self, action: NDArray[np.float32]) -> NDArray[np.float64]:
        self._started()
        wanted = np.asarray(action, dtype=np.float64)
        if wanted.shape != (2,) or not np.isfinite(wanted).all():
            raise ValueError(f"an action must be 2 finite numbers in [-1, 1], got {action}")
        velocity = MAX_SPEED_MPS * np.clip(wanted, -1.0, 1.0)
        # Never ask for more than would just arrive at the edge of the reach within the step.
        tip = self._data.site("tip").xpos[:2]
        return np.clip(velocity, (REACH_LOW_M - tip) / DT_S, (REACH_HIGH_M - tip) / DT_S)

    def _vessel_force(self) -> float:
        """Largest total force (N) on a vessel, now, from anything but the table."""
        geom = self._data.contact.geom
        total = np.zeros(self._model.ngeom)
        wrench = np.zeros(6)
        for i in np.flatnonzero(self._hits[geom[:, 0], geom[:, 1]]):
            mujoco.mj_contactForce(self._model, self._data, i, wrench)
            total[geom[i]] += np.linalg.norm(wrench[:3])
        return float(total[self._vessel_geoms].max())

    def _max_tilt(self) -> float:
        """Largest angle (rad) between a vessel's axis and the vertical."""
        up = self._data.geom_xmat[self._vessel_geoms, 8]
        return float(np.arccos(np.clip(up.min(), -1.0, 1.0)))

    def _distance_to_goal(self) -> float:
        return float(np.hypot(*(self._data.body("block").xpos[:2] - self._started().goal_m)))

    def _info(self) -> dict[str, Any]:
        layout = self._started()
        return {"state": self._state(layout), "actors": self._actors(layout), "caption": describe(layout)}

    def _state(self, layout: Layout) -> NDArray[np.float32]:
        data = self._data
        tip, block = data.site("tip").xpos[:2], data.body("block").xpos[:2]
        heading = _heading(data.body("block").xmat)
        vessels = data.geom_xpos[self._vessel_geoms[: len(layout.vessels)], :2]
        gaps = [np.linalg.norm(vessels - point, axis=1).min(initial=1.0) for point in (tip, block)]
        return np.array(
            [
                *tip,
                *data.actuator_velocity,
                *block,
                np.sin(4 * heading),
                np.cos(4 * heading),
                *data.joint("block").qvel[:2],
                *layout.goal_m,
                self._distance_to_goal(),
                layout.block.mass_kg,
                min(gaps),
                self._max_tilt(),
            ],
            dtype=np.float32,
        )

    def _actors(self, layout: Layout) -> NDArray[np.float32]:
        """(1 + MAX_VESSELS, 9): the block, then the vessels, in the robot base frame; NaN where there is none."""
        actors = np.full((1 + MAX_VESSELS, 9), np.nan, dtype=np.float32)
        static = ACTOR_CLASSES.index("static")
        things = [("block", 2 * layout.block.half_m, layout.block.mass_kg)]
        things += [(f"vessel{i}", 2 * v.radius_m, v.mass_kg) for i, v in enumerate(layout.vessels)]
        for row, (name, width_m, mass_kg) in enumerate(things):
            body = self._data.body(name)
            address = self._model.body(name).dofadr[0]
            velocity = self._data.qvel[address : address + 2]
            actors[row] = (static, *body.xpos[:2], _heading(body.xmat), *velocity, width_m, width_m, mass_kg)
        # Masked as well as NaN, so that rows of absent vessels compare equal between two runs.
        return np.ma.masked_invalid(actors, copy=False)


def _heading(matrix: NDArray[np.float64]) -> float:
    """Rotation about the vertical (rad) of a row-major (9,) rotation matrix."""
    return float(np.arctan2(matrix[3], matrix[0]))
