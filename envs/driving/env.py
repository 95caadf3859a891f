"""DrivingEnv: a seeded road with dangerous traffic, MuJoCo contacts and any of six cameras, as a gymnasium env."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from simworld.episode import ActionSpec, EpisodeSpec, OutcomeSpec
from simworld.scenario import ACTOR_CLASSES, BODIES

from .bodies import CAMERAS, HIDDEN_GROUP, build_rig
from .observe import STATE_NAMES, STATE_UNITS, actors_in_ego_frame, caption, state_vector
from .physics import STATIC, Contacts, Impact, Physics
from .renderer import Renderer
from .road import CURVINESS, RoadLayout, make_layout
from .scenery import WINDOW_STEP_M, Look, Slots, build_window, draw_look, draw_slots, write_window
from .spawn import Spawner
from .traffic import ROLES, Driver, Traffic

SIDES = ("front", "rear", "left", "right")
OUTCOMES = (
    OutcomeSpec("collision", "event"),
    OutcomeSpec("impulse", "scalar", unit="N s", given="collision", scale=5000.0),
    OutcomeSpec("delta_v", "scalar", unit="m/s", given="collision", scale=5.0),
    OutcomeSpec("side", "category", categories=SIDES, given="collision"),
    OutcomeSpec("partner", "category", categories=ACTOR_CLASSES, given="collision"),
    OutcomeSpec("off_road", "event"),
)
LIGHTS = ("daylight", "dusk", "fog")
BRAKE_ON, BRAKE_OFF = (1.0, 0.08, 0.05), (0.3, 0.03, 0.03)
PAINTS = (
    (0.85, 0.85, 0.87),
    (0.1, 0.1, 0.12),
    (0.75, 0.12, 0.1),
    (0.12, 0.25, 0.65),
    (0.55, 0.57, 0.6),
    (0.9, 0.75, 0.15),
    (0.1, 0.5, 0.5),
)
OWN_PAINT = {"tank": (0.3, 0.34, 0.16), "bus": (0.9, 0.6, 0.1), "motorcycle": (0.7, 0.1, 0.1)}
OPTIONS = ("ego_speed_mps", "num_actors", "num_lanes", "curviness", "light", "oncoming", "lane", "actors")


class NotApplicable(float):
    """NaN that equals itself, so that two equal infos compare equal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NotApplicable)

    def __hash__(self) -> int:
        return 0


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


@dataclass(frozen=True)
class Scene:
    """What stays the same during one episode."""

    layout: RoadLayout
    look: Look
    slots: Slots
    paint: NDArray[np.float64]  # (n, 3) colour of every actor


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
    last_touch: dict[int, int] | None = None  # partner -> step of the last contact


class DrivingEnv(gymnasium.Env[dict[str, NDArray[np.uint8]], NDArray[np.float32]]):
    """Drive among traffic; action [steer, pedal] in [-1, 1], steer left positive, pedal accelerates or brakes.

    Observation {camera: uint8 (h, w, 3)}. Reward per step in [-1, 1]: speed along the road over the limit (at most
    1), less 0.2 at the lane's edge, less 0.5 in an oncoming lane; -1 at a collision or when leaving the road, which
    end the episode (a collision `aftermath_s` later).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        cameras: Sequence[str] = ("front",),
        size: Sequence[int] = (64, 64),
        render_mode: str | None = "rgb_array",
        aftermath_s: float | None = None,
        config: DrivingConfig | None = None,
    ) -> None:
        config = config or DrivingConfig()
        _check_arguments(cameras, size, render_mode, config)
        self.config, self.render_mode = config, render_mode
        self.cameras, self.size = tuple(cameras), (int(size[0]), int(size[1]))
        self._aftermath_s = config.aftermath_s if aftermath_s is None else float(aftermath_s)
        self.observation_space = gymnasium.spaces.Dict(
            {c: gymnasium.spaces.Box(0, 255, (*self.size, 3), np.uint8) for c in self.cameras}
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.episode_spec = EpisodeSpec(
            env_id="simworld/Driving-v0",
            cameras={c: self.size for c in self.cameras},
            action=ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
            outcomes=OUTCOMES,
            dt_s=config.dt_s,
            state_names=STATE_NAMES,
            state_units=STATE_UNITS,
        )
        self._rig = build_rig(config.ego_kind)
        self._physics = Physics(self._rig)
        self._renderer = Renderer(self._rig.model, self.size, config.supersample)
        self._scene: Scene | None = None
        self._window: float | None = None
        self._frames: dict[str, NDArray[np.uint8]] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
        """Draw a new road and traffic. options: any of OPTIONS.

        ego_speed_mps, num_actors, num_lanes (of the ego's direction, 1 to 4), lane, oncoming (bool), curviness
        (straight, mild, curvy, winding), light (daylight, dusk, fog), actors: a list of
        {kind, ahead_m, left_m, heading_rad, speed_mps, role} relative to the ego along the road, instead of traffic.
        """
        super().reset(seed=seed)
        options = options or {}
        _check_options(options)
        rng = self.np_random
        self._traffic_rng = np.random.default_rng(rng.integers(2**63))
        cfg = self.config
        oncoming = options.get("oncoming")
        p_oncoming = cfg.p_oncoming if oncoming is None else float(oncoming)
        layout = make_layout(rng, cfg.road_length_m, p_oncoming, options.get("num_lanes"), options.get("curviness"))
        paint = _draw_paint(rng, self._rig.kinds)
        self._enter(Scene(layout, draw_look(rng, options.get("light")), draw_slots(rng, layout), paint))
        self._physics.clear()
        self._traffic = Traffic(self._physics, layout, self._traffic_rng)
        self._place_ego(rng, options)
        num_actors = int(options.get("num_actors", rng.integers(cfg.min_actors, cfg.max_actors + 1)))
        if "actors" in options:
            num_actors = 0
        self._spawner = Spawner(self._traffic, self._traffic_rng, num_actors)
        self._clock = Clock(speed_mps=float(self._physics.forward_speed()[0]), last_touch={})
        if "actors" in options:
            self._place_actors(options["actors"])
        elif num_actors:
            self._spawner.populate()
        self._physics.move_barriers(layout, float(self._traffic.state.s_m[0]))
        self._traffic.step(0.0)
        self._traffic.observe()
        self._settle()
        return self._observe(), self._info()

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.uint8]], float, bool, bool, dict[str, Any]]:
        """One tenth of a second; info holds outcomes, state, actors and caption."""
        if self._scene is None:
            raise RuntimeError("call reset() before step()")
        wanted = np.clip(np.asarray(action, dtype=np.float64).reshape(2), -1.0, 1.0)
        clock, dt_s = self._clock, self.config.dt_s
        clock.step += 1
        self._drive_ego(wanted)
        self._traffic.step(dt_s)
        contacts = self._physics.advance(dt_s)
        outcomes = self._judge(contacts)
        self._traffic.observe()
        off_road = self._is_off_road()
        outcomes["off_road"] = float(off_road and not clock.off_road)
        clock.off_road = clock.off_road or off_road
        speed = float(self._physics.forward_speed()[0])
        clock.accel_mps2, clock.speed_mps = (speed - clock.speed_mps) / dt_s, speed
        self._spawner.recycle()
        self._physics.move_barriers(self._scene.layout, float(self._traffic.state.s_m[0]))
        self._settle()
        terminated = off_road and clock.impact_step is None
        if clock.impact_step is not None:
            terminated = (clock.step - clock.impact_step) * dt_s >= self._aftermath_s - 1e-9
        end_of_road = float(self._traffic.state.s_m[0]) > self._scene.layout.line.length_m - 250.0
        truncated = not terminated and (clock.step >= self.config.horizon or end_of_road)
        reward = self._reward(outcomes)
        return self._observe(), reward, bool(terminated), bool(truncated), self._info() | {"outcomes": outcomes}

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

    def restore(self, snapshot: dict[str, Any]) -> tuple[dict[str, NDArray[np.uint8]], dict[str, Any]]:
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
        self._settle()
        return self._observe(), self._info()

    def _enter(self, scene: Scene) -> None:
        """Dress the model for a scene."""
        if scene is self._scene:
            return
        self._scene, self._window = scene, None
        self._renderer.set_look(scene.look)
        self._rig.model.geom_rgba[self._rig.paint_geom, :3] = scene.paint[self._rig.paint_owner]

    def _place_ego(self, rng: np.random.Generator, options: dict[str, Any]) -> None:
        layout, traffic = self._traffic.layout, self._traffic
        lane = int(options.get("lane", rng.integers(layout.num_lanes)))
        drawn = layout.speed_limit_mps * float(rng.uniform(0.5, 1.1)) if rng.random() < 0.85 else rng.uniform(0.0, 5.0)
        speed = float(options.get("ego_speed_mps", drawn))
        if not 0 <= lane < layout.num_lanes:
            raise ValueError(f"option lane {lane} is not among the road's {layout.num_lanes} lanes")
        d = layout.lane_centre_m(lane) + (0.0 if "actors" in options else float(rng.uniform(-0.3, 0.3)))
        traffic.put(0, Driver("ego", 0.0, d), self.config.start_m, d, 0.0, speed)
        del traffic.drivers[0]
        traffic.observe()
        # Start on the road's curve, not turning into it.
        self._physics.velocity[0, 2] = speed * float(layout.line.curvature(self.config.start_m))

    def _place_actors(self, wanted: Sequence[Mapping[str, Any]]) -> None:
        traffic, kinds = self._traffic, self._rig.kinds
        for spec in wanted:
            free = [i for i, k in enumerate(kinds) if i > 0 and k == spec["kind"] and not self._physics.active[i]]
            if not free:
                raise ValueError(f"the pool holds no further actor of kind {spec['kind']!r}")
            s = self.config.start_m + float(spec["ahead_m"])
            d = float(traffic.state.d_m[0]) + float(spec.get("left_m", 0.0))
            speed = float(spec.get("speed_mps", 0.0))
            driver = Driver(str(spec.get("role", "puppet")), speed, d)
            traffic.put(free[0], driver, s, d, float(spec.get("heading_rad", 0.0)), speed)

    def _drive_ego(self, wanted: NDArray[np.float64]) -> None:
        """Steering turns at a limited rate and its authority falls with speed; pedals as in an ordinary car."""
        clock, physics = self._clock, self._physics
        clock.steer += float(np.clip(wanted[0] - clock.steer, -0.5, 0.5))
        clock.pedal = float(wanted[1])
        speed = max(float(physics.forward_speed()[0]), 0.0)
        if clock.impact_step is not None:  # after a crash the driver is out of the loop
            physics.accel_cmd[0], physics.curvature_cmd[0] = -4.0, 0.0
            return
        drag = 0.05 + 0.00035 * speed**2 if speed > 0.05 else 0.0
        push = 4.0 * min(1.0, 60.0 / max(speed, 1.0) / 4.0) * max(clock.pedal, 0.0)
        physics.accel_cmd[0] = push + 8.0 * min(clock.pedal, 0.0) - drag
        physics.curvature_cmd[0] = clock.steer * min(0.16, 7.0 / max(speed, 1.0) ** 2)

    def _is_off_road(self) -> bool:
        layout, d = self._traffic.layout, float(self._traffic.state.d_m[0])
        return not layout.right_edge_m < d < layout.left_edge_m

    def _judge(self, contacts: Contacts) -> dict[str, float]:
        """Outcomes of the step; a collision counts once, when a contact begins after a second without it."""
        clock, nan = self._clock, NotApplicable("nan")
        outcomes = {"collision": 0.0, "impulse": nan, "delta_v": nan, "side": nan, "partner": nan}
        again = round(1.0 / self.config.dt_s)
        touch = clock.last_touch = dict(clock.last_touch or {})
        fresh = [p for p in contacts.ego if clock.step - touch.get(p, -again - 1) > again]
        touch.update(dict.fromkeys(contacts.ego, clock.step))
        if fresh:
            totals = {p: contacts.ego[p].impulse_ns + self._physics.finish_impact(p) for p in fresh}
            partner = max(fresh, key=lambda p: float(np.linalg.norm(totals[p])))
            impulse = float(np.linalg.norm(totals[partner]))
            kind = "static" if partner == STATIC else self._rig.kinds[partner]
            outcomes = {
                "collision": 1.0,
                "impulse": impulse,
                "delta_v": impulse / float(self._physics.mass_kg[0]),
                "side": float(SIDES.index(self._side(contacts.ego[partner]))),
                "partner": float(ACTOR_CLASSES.index(kind)),
            }
            clock.impact_step = clock.step if clock.impact_step is None else clock.impact_step
        self._traffic.mark_crashed(contacts.touched)
        return outcomes

    def _side(self, impact: Impact) -> str:
        """The ego's side that was hit, by where on its box the contact began."""
        body = BODIES[self.config.ego_kind]
        x, y = impact.point_m / max(impact.samples, 1) / (body.length_m / 2, body.width_m / 2)
        if abs(x) > abs(y):
            return "front" if x > 0 else "rear"
        return "left" if y > 0 else "right"

    def _reward(self, outcomes: dict[str, float]) -> float:
        if outcomes["collision"] or outcomes["off_road"]:
            return -1.0
        layout, st = self._traffic.layout, self._traffic.state
        d = float(st.d_m[0])
        progress = float(np.clip(st.along_mps[0] / layout.speed_limit_mps, -1.0, 1.0))
        lateral = abs(d - layout.lane_centre_m(layout.lane_at(d))) / (layout.lane_width_m / 2)
        return float(np.clip(progress - 0.2 * min(lateral, 1.0) - 0.5 * (d > 0.3), -1.0, 1.0))

    def _settle(self) -> None:
        """Bring everything that is drawn up to date with the physical state."""
        assert self._scene is not None
        model, rig, physics = self._rig.model, self._rig, self._physics
        s = float(self._traffic.state.s_m[0])
        window = np.floor(s / WINDOW_STEP_M) * WINDOW_STEP_M
        if window != self._window:
            self._window = window
            write_window(model, build_window(self._scene.layout, self._scene.slots, window))
            self._renderer.upload_scenery()
        model.geom("ground").pos[:2] = np.round(physics.pose[0, :2])
        shown, braking = np.where(physics.active, 1, HIDDEN_GROUP), physics.accel_cmd < -1.0
        model.geom_group[rig.drawn_geom] = shown[rig.drawn_owner]
        model.geom_rgba[rig.brake_geom, :3] = np.where(braking[rig.brake_owner, None], BRAKE_ON, BRAKE_OFF)
        mujoco.mj_fwdPosition(model, physics.data)

    def _observe(self) -> dict[str, NDArray[np.uint8]]:
        self._frames = self._renderer.draw(self._physics.data, self.cameras)
        return {c: f.copy() for c, f in self._frames.items()}

    def _info(self) -> dict[str, Any]:
        assert self._scene is not None
        clock = self._clock
        return {
            "state": state_vector(self._traffic, clock.accel_mps2, clock.steer, clock.pedal),
            "actors": actors_in_ego_frame(self._traffic, self.config.max_actor_rows),
            "caption": caption(self._traffic, self._scene.look.light),
        }


def _draw_paint(rng: np.random.Generator, kinds: tuple[str, ...]) -> NDArray[np.float64]:
    rgb = np.array(PAINTS)[rng.integers(len(PAINTS), size=len(kinds))] * rng.uniform(0.85, 1.1, (len(kinds), 1))
    for i, kind in enumerate(kinds):
        rgb[i] = np.array(OWN_PAINT[kind]) * rng.uniform(0.9, 1.1) if kind in OWN_PAINT else rgb[i]
        if kind == "pedestrian":
            rgb[i] = np.array(((0.95, 0.2, 0.6), (1.0, 0.55, 0.1), (0.2, 0.85, 0.95)))[rng.integers(3)]
    return np.clip(rgb, 0.0, 1.0)


def _check_arguments(
    cameras: Sequence[str], size: Sequence[int], render_mode: str | None, config: DrivingConfig
) -> None:
    for camera in cameras:
        if camera not in CAMERAS:
            raise ValueError(_unknown("camera", camera, CAMERAS))
    if not cameras or len(set(cameras)) != len(cameras):
        raise ValueError(f"cameras must name at least one camera, each once; got {list(cameras)}")
    if len(size) != 2 or not all(8 <= int(v) <= 2048 for v in size):
        raise ValueError(f"size must be (height, width) between 8 and 2048 pixels, got {tuple(size)}")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}")
    if config.ego_kind not in BODIES or config.ego_kind in ("static", "pedestrian", "cyclist"):
        raise ValueError(f"ego_kind {config.ego_kind!r} can not be driven")


def _check_options(options: dict[str, Any]) -> None:
    for name in options:
        if name not in OPTIONS:
            raise ValueError(_unknown("reset option", name, OPTIONS))
    for name, known in (("curviness", tuple(CURVINESS)), ("light", LIGHTS)):
        if name in options and options[name] not in known:
            raise ValueError(_unknown(name, str(options[name]), known))
    if not 1 <= int(options.get("num_lanes") or 2) <= 4:
        raise ValueError(f"option num_lanes must be 1 to 4, got {options['num_lanes']}")
    for actor in options.get("actors", ()):
        if actor.get("kind") not in BODIES or "ahead_m" not in actor:
            raise ValueError(f"an actor needs a kind among {sorted(BODIES)} and ahead_m, got {actor}")
        if actor.get("role", "puppet") not in ROLES:
            raise ValueError(_unknown("role", str(actor["role"]), ROLES))


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.0)
    return f"unknown {what} {name!r}; nearest: {', '.join(near)}"
