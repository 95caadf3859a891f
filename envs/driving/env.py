"""DrivingEnv: a seeded road with dangerous traffic, MuJoCo contacts and any of six cameras, as a gymnasium env."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from simworld.episode import EpisodeSpec
from simworld.scenario import BODIES

from .bodies import build_rig
from .observe import actors_in_ego_frame, caption, state_vector
from .options import ActorOption, ResetOptions, check_ego
from .outcomes import collision_outcomes, fresh_partners
from .physics import Physics
from .renderer import Renderer
from .scene import Scene, draw_scene
from .spawn import Spawner
from .spec import ACTION, OUTCOMES, STATE_NAMES, STATE_UNITS, mounts_of, sizes_of
from .traffic import Driver, Traffic

Observation = dict[str, NDArray[np.uint8]]
STEER_PER_STEP = 0.5
CRASHED_ACCEL_MPS2 = -4.0


@dataclass(frozen=True)
class DrivingConfig:
    """What an episode is like; draws are uniform between min and max."""

    horizon: int = 600  # steps, after which the episode is truncated
    min_actors: int = 4
    max_actors: int = 12
    max_actor_rows: int = 16  # rows of info["actors"]
    p_oncoming: float = 0.3
    ego_kind: str = "car"
    road_length_m: float = 3200.0
    start_m: float = 200.0
    aftermath_s: float = 0.0  # how long an episode goes on after the ego's first impact
    supersample: int = 2  # pictures are drawn this many times larger and averaged
    dt_s: float = 0.1


@dataclass
class Clock:
    """What changes besides physics and traffic."""

    step: int = 0
    steer: float = 0.0
    pedal: float = 0.0
    speed_mps: float = 0.0
    accel_mps2: float = 0.0
    impact_step: int | None = None
    off_road: bool = False
    last_touch: dict[int, int] = field(default_factory=dict)  # partner -> step of the last contact


class DrivingEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """Drive among traffic; action [steer, pedal] in [-1, 1], steer left positive, pedal accelerates or brakes.

    Observation {camera: uint8 (h, w, 3)}. Reward per step in [-1, 1]: speed along the road over the limit (at most
    1), less 0.2 at the lane's edge, less 0.5 in an oncoming lane; -1 at a collision or when leaving the road, which
    end the episode (a collision `aftermath_s` later).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        cameras: Sequence[str] = ("front",),
        size: Sequence[int] | Mapping[str, Sequence[int]] = (64, 64),
        render_mode: str | None = "rgb_array",
        aftermath_s: float | None = None,
        config: DrivingConfig | None = None,
    ) -> None:
        config = config or DrivingConfig()
        self.sizes, self.cameras = sizes_of(cameras, size, render_mode), tuple(cameras)
        check_ego(config.ego_kind)
        self.config, self.render_mode = config, render_mode
        self._aftermath_s = config.aftermath_s if aftermath_s is None else float(aftermath_s)
        self.observation_space: gymnasium.spaces.Dict = gymnasium.spaces.Dict(  # type: ignore[assignment]
            {c: gymnasium.spaces.Box(0, 255, (*hw, 3), np.uint8) for c, hw in self.sizes.items()}
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.episode_spec = EpisodeSpec(
            env_id="simworld/Driving-v0",
            cameras=self.sizes,
            action=ACTION,
            outcomes=OUTCOMES,
            dt_s=config.dt_s,
            state_names=STATE_NAMES,
            state_units=STATE_UNITS,
            mounts=mounts_of(BODIES[config.ego_kind], self.cameras),
        )
        self._rig = build_rig(config.ego_kind)
        self._physics = Physics(self._rig)
        self._renderer = Renderer(self._rig, self.sizes, config.supersample)
        self._scene: Scene | None = None
        self._frames: Observation = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a new road and traffic; `options` as in ResetOptions, else drawn from the seed."""
        super().reset(seed=seed)
        wish, rng, cfg = ResetOptions.parse(options), self.np_random, self.config
        self._traffic_rng = np.random.default_rng(rng.integers(2**63))
        scene = draw_scene(rng, wish, self._rig.kinds, cfg.road_length_m, cfg.p_oncoming)
        self._enter(scene)
        self._physics.clear()
        self._traffic = Traffic(self._physics, scene.layout, self._traffic_rng)
        self._place_ego(rng, wish)
        num_actors = int(rng.integers(cfg.min_actors, cfg.max_actors + 1))
        num_actors = num_actors if wish.num_actors is None else wish.num_actors
        self._spawner = Spawner(self._traffic, self._traffic_rng, 0 if wish.actors is not None else num_actors)
        self._clock = Clock(speed_mps=float(self._physics.forward_speed()[0]))
        for actor in wish.actors or ():
            self._place_actor(actor)
        self._spawner.populate()
        self._physics.move_barriers(scene.layout, float(self._traffic.state.s_m[0]))
        self._traffic.step(0.0)
        self._traffic.observe()
        return self._observe(), self._info()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One tenth of a second; info holds outcomes, state, actors and caption."""
        if self._scene is None:
            raise RuntimeError("call reset() before step()")
        wanted = np.asarray(action, dtype=np.float64)
        if wanted.shape != (2,) or not np.isfinite(wanted).all():
            raise ValueError(f"an action is two finite numbers [steer, pedal], got {action}")
        clock, dt_s = self._clock, self.config.dt_s
        clock.step += 1
        self._drive_ego(np.clip(wanted, -1.0, 1.0))
        self._traffic.step(dt_s)
        outcomes = self._advance()
        speed = float(self._physics.forward_speed()[0])
        clock.accel_mps2, clock.speed_mps = (speed - clock.speed_mps) / dt_s, speed
        self._spawner.recycle()
        self._physics.move_barriers(self._scene.layout, float(self._traffic.state.s_m[0]))
        terminated = clock.off_road and clock.impact_step is None
        if clock.impact_step is not None:
            terminated = (clock.step - clock.impact_step) * dt_s >= self._aftermath_s - 1e-9
        end_of_road = float(self._traffic.state.s_m[0]) > self._scene.layout.line.length_m - 250.0
        truncated = not terminated and (clock.step >= self.config.horizon or end_of_road)
        return self._observe(), self._reward(outcomes), terminated, truncated, self._info() | {"outcomes": outcomes}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The present picture of the first camera."""
        return self._frames[self.cameras[0]].copy() if self.render_mode == "rgb_array" and self._frames else None

    def close(self) -> None:
        self._renderer.close()

    def snapshot(self) -> dict[str, Any]:
        """Everything needed to go on from here later, as an opaque value."""
        traffic, spawner = self._traffic, self._spawner
        return {
            "scene": self._scene,
            "physics": self._physics.snapshot(),
            "drivers": copy.deepcopy(traffic.drivers),
            "road_state": copy.deepcopy(traffic.state),
            "num_actors": spawner.num_actors,
            "rng": (copy.deepcopy(self.np_random), self._traffic_rng.bit_generator.state),
            "clock": copy.deepcopy(self._clock),
        }

    def restore(self, snapshot: dict[str, Any]) -> tuple[Observation, dict[str, Any]]:
        """Go back to a snapshot of this or an equal env; returns observation and info like `reset`."""
        scene: Scene = snapshot["scene"]
        self._enter(scene)
        self._physics.restore(snapshot["physics"])
        self._np_random = copy.deepcopy(snapshot["rng"][0])
        self._traffic_rng = np.random.default_rng()
        self._traffic_rng.bit_generator.state = snapshot["rng"][1]
        self._traffic = Traffic(self._physics, scene.layout, self._traffic_rng)
        self._traffic.drivers = copy.deepcopy(snapshot["drivers"])
        self._traffic.state = copy.deepcopy(snapshot["road_state"])
        self._spawner = Spawner(self._traffic, self._traffic_rng, snapshot["num_actors"])
        self._clock = copy.deepcopy(snapshot["clock"])
        self._traffic.observe()
        return self._observe(), self._info()

    def _enter(self, scene: Scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self._renderer.set_scene(scene)

    def _place_ego(self, rng: np.random.Generator, wish: ResetOptions) -> None:
        """Put the ego near a lane's centre, on the road's curve, mostly at about the speed limit."""
        layout, traffic = self._traffic.layout, self._traffic
        lane = int(rng.integers(layout.num_lanes)) if wish.lane is None else wish.lane
        if not 0 <= lane < layout.num_lanes:
            raise ValueError(f"option lane {lane} is not among the road's {layout.num_lanes} lanes")
        drawn = layout.speed_limit_mps * float(rng.uniform(0.5, 1.1)) if rng.random() < 0.85 else rng.uniform(0.0, 5.0)
        speed = float(drawn if wish.ego_speed_mps is None else wish.ego_speed_mps)
        off = float(rng.uniform(-0.3, 0.3)) if wish.actors is None else 0.0
        d = layout.lane_centre_m(lane) + off
        traffic.put(0, None, self.config.start_m, d, 0.0, speed)
        traffic.observe()
        self._physics.velocity[0, 2] = speed * float(layout.line.curvature(self.config.start_m))

    def _place_actor(self, wish: ActorOption) -> None:
        traffic, kinds = self._traffic, self._rig.kinds
        free = [i for i, k in enumerate(kinds) if i > 0 and k == wish.kind and not self._physics.active[i]]
        if not free:
            raise ValueError(f"there are no more than {kinds[1:].count(wish.kind)} actors of kind {wish.kind!r}")
        d = float(traffic.state.d_m[0]) + wish.left_m
        driver = Driver(wish.role, wish.speed_mps, d)
        traffic.put(free[0], driver, self.config.start_m + wish.ahead_m, d, wish.heading_rad, wish.speed_mps)

    def _drive_ego(self, wanted: NDArray[np.float64]) -> None:
        """Hand the controls on; the steering wheel turns at a limited rate, and nobody drives after a crash."""
        clock, physics = self._clock, self._physics
        clock.steer += float(np.clip(wanted[0] - clock.steer, -STEER_PER_STEP, STEER_PER_STEP))
        clock.pedal = float(wanted[1])
        if clock.impact_step is None:
            physics.command_ego(clock.steer, clock.pedal)
        else:
            physics.accel_cmd[0], physics.curvature_cmd[0] = CRASHED_ACCEL_MPS2, 0.0

    def _advance(self) -> dict[str, float]:
        """Run the physics for one step and say what it caused."""
        clock, layout = self._clock, self._traffic.layout
        contacts = self._physics.advance(self.config.dt_s)
        fresh = fresh_partners(contacts, clock.last_touch, clock.step)
        outcomes = collision_outcomes(self._physics, contacts, fresh)
        if fresh and clock.impact_step is None:
            clock.impact_step = clock.step
        self._traffic.mark_crashed(contacts.touched)
        self._traffic.observe()
        off_road = not layout.right_edge_m < float(self._traffic.state.d_m[0]) < layout.left_edge_m
        outcomes["off_road"] = float(off_road and not clock.off_road)
        clock.off_road = clock.off_road or off_road
        return outcomes

    def _reward(self, outcomes: dict[str, float]) -> float:
        if outcomes["collision"] or outcomes["off_road"]:
            return -1.0
        layout, st = self._traffic.layout, self._traffic.state
        d = float(st.d_m[0])
        progress = float(np.clip(st.along_mps[0] / layout.speed_limit_mps, -1.0, 1.0))
        lateral = abs(d - layout.lane_centre_m(layout.lane_at(d))) / (layout.lane_width_m / 2)
        return float(np.clip(progress - 0.2 * min(lateral, 1.0) - 0.5 * (d > 0.3), -1.0, 1.0))

    def _observe(self) -> Observation:
        physics = self._physics
        braking = physics.accel_cmd < -1.0
        self._renderer.show(physics.pose, physics.active, braking, float(self._traffic.state.s_m[0]))
        physics.refresh()
        self._frames = self._renderer.draw(physics.data)
        return {c: f.copy() for c, f in self._frames.items()}

    def _info(self) -> dict[str, Any]:
        assert self._scene is not None
        clock = self._clock
        return {
            "state": state_vector(self._traffic, clock.accel_mps2, clock.steer, clock.pedal),
            "actors": actors_in_ego_frame(self._traffic, self.config.max_actor_rows),
            "caption": caption(self._traffic, self._scene.look.light),
        }
