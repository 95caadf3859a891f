"""CarlaEnv: simworld/Driving-v0's spaces, outcomes and contract over a live CARLA server."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from simworld.episode import ActionSpec, EpisodeSpec
from simworld.scenario import BODIES

from ..driving.spec import OUTCOMES, STATE_NAMES, STATE_UNITS, check_name, mounts_of, sizes_of
from .cameras import CameraRig
from .collisions import CollisionLog
from .config import CarlaConfig
from .control import CRASH_BRAKE, STEER_RATE, Steering, vehicle_control
from .kinds import Hull, hull_of
from .observe import Scene, caption
from .roads import Place, place_on_road
from .server import load_carla, server_errors
from .session import Session
from .spawn import PlacedActor, place_actors, set_speed, spawn_ego, spawn_traffic
from .weather import LIGHTS, weather_for

T = TypeVar("T")
OPTIONS = ("ego_speed_mps", "num_actors", "light", "actors")
# Of simworld/Driving-v0, which draws its own roads.
MAP_OPTIONS = ("num_lanes", "curviness", "oncoming", "lane")
Frames = dict[str, NDArray[np.uint8]]


@dataclass
class Ride:
    """The present episode: the ego and what is attached to it, and what changes from step to step."""

    ego: Any
    hull: Hull
    steering: Steering
    rig: CameraRig
    collisions: CollisionLog
    scene: Scene
    light: str
    town: str
    step: int = 0
    steer: float = 0.0
    pedal: float = 0.0
    speed_mps: float = 0.0
    accel_mps2: float = 0.0
    impact_step: int | None = None
    off_road: bool = False


class CarlaEnv(gymnasium.Env[dict[str, Any], NDArray[np.float32]]):
    """Drive in CARLA; action [steer, pedal] in [-1, 1], steer left positive, pedal accelerates or brakes.

    Connects at the first reset. The server is put into synchronous mode; actors, settings, weather and recorder are
    put back by `close`, at the end of a `with` block, when an exception leaves reset or step, when the env is garbage
    collected and when the interpreter exits. Observation, reward, outcomes, state and the end of an episode are those
    of simworld/Driving-v0.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        cameras: Sequence[str] = ("front",),
        size: Sequence[int] | Mapping[str, Sequence[int]] = (64, 64),
        render_mode: str | None = "rgb_array",
        aftermath_s: float | None = None,
        config: CarlaConfig | None = None,
    ) -> None:
        self.sizes, self.cameras = sizes_of(cameras, size, render_mode), tuple(cameras)
        self._carla = load_carla()
        self.config, self.render_mode = config or CarlaConfig(), render_mode
        self._aftermath_s = self.config.aftermath_s if aftermath_s is None else float(aftermath_s)
        self.observation_space = gymnasium.spaces.Dict(
            {c: gymnasium.spaces.Box(0, 255, (*hw, 3), np.uint8) for c, hw in self.sizes.items()}
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.episode_spec = EpisodeSpec(
            env_id="simworld/Carla-v0",
            cameras=self.sizes,
            action=ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
            outcomes=OUTCOMES,
            dt_s=self.config.dt_s,
            state_names=STATE_NAMES,
            state_units=STATE_UNITS,
            # of a typical car: the vehicle itself is known only once it has spawned
            mounts=mounts_of(BODIES["car"], self.cameras),
        )
        self._session: Session | None = None
        self._undo: weakref.finalize[..., Any] | None = None
        self._ride: Ride | None = None
        self._frames: Frames = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frames, dict[str, Any]]:
        """A new ride. options: ego_speed_mps, num_actors, light (daylight, dusk, fog), actors (see PlacedActor).

        Raises ConnectionError with one sentence where no server answers.
        """
        super().reset(seed=seed)
        options = options or {}
        _check_options(options)
        return self._guarded(lambda: self._begin(seed, options))

    def step(self, action: NDArray[np.float32]) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        """One tenth of a second; info holds outcomes, state, actors and caption."""
        if self._ride is None:
            raise RuntimeError("call reset() before step()")
        wanted = np.clip(np.asarray(action, np.float64).reshape(2), -1.0, 1.0)
        if not np.isfinite(wanted).all():
            raise ValueError("the action holds NaN")
        ride = self._ride
        return self._guarded(lambda: self._advance(ride, wanted))

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The present picture of the first camera."""
        return self._frames[self.cameras[0]].copy() if self.render_mode == "rgb_array" and self._frames else None

    def close(self) -> None:
        """Put the server back as it was found; a later reset connects anew."""
        self._ride, self._frames = None, {}
        if self._undo is not None:
            self._undo()
        self._session, self._undo = None, None

    def _guarded(self, work: Callable[[], T]) -> T:
        """Whatever goes wrong, a keyboard interrupt included, the server is not left waiting for our ticks."""
        with server_errors(self.config):
            try:
                return work()
            except BaseException:
                self.close()
                raise

    def _begin(self, seed: int | None, options: dict[str, Any]) -> tuple[Frames, dict[str, Any]]:
        rng, carla = self.np_random, self._carla
        if self._session is None:
            self._session = Session(carla, self.config)
            self._undo = weakref.finalize(self, self._session.close)  # also runs at interpreter exit
        session = self._session
        self._ride = None
        drawn_seed = int(rng.integers(2**31))
        session.new_episode(drawn_seed, label=drawn_seed if seed is None else seed)
        light = options.get("light") or list(LIGHTS)[int(rng.integers(len(LIGHTS)))]
        session.world.set_weather(weather_for(carla, light))
        ego = spawn_ego(session, rng)
        ego.apply_control(carla.VehicleControl(brake=1.0))
        session.tick()  # actors have a place only after a tick
        hull = hull_of(ego)
        if "actors" in options:
            place_actors(session, ego, [PlacedActor.of(a) for a in options["actors"]])
        else:
            low, high = self.config.min_actors, self.config.max_actors
            spawn_traffic(session, ego, rng, int(options.get("num_actors", rng.integers(low, high + 1))))
        ride = Ride(
            ego=ego,
            hull=hull,
            steering=Steering.of(ego, hull.length_m),
            rig=CameraRig(session, ego, hull, self.sizes),
            collisions=CollisionLog(session, ego, hull),
            scene=Scene(ego, hull, self.config.max_actor_rows),
            light=light,
            town=session.town,
        )
        for _ in range(self.config.settle_ticks):
            session.tick()
        drawn = self._speed_limit(ego) * rng.uniform(0.3, 1.0)
        set_speed(carla, ego, float(options.get("ego_speed_mps", drawn)))
        ego.apply_control(carla.VehicleControl())
        frame = session.tick()
        ride.collisions.forget()
        ride.speed_mps = ride.scene.speed_mps()
        self._ride, self._frames = ride, ride.rig.read(frame)
        return self._copies(), self._info(ride, self._place(ride))

    def _advance(self, ride: Ride, wanted: NDArray[np.float64]) -> tuple[Frames, float, bool, bool, dict[str, Any]]:
        assert self._session is not None
        session, config = self._session, self.config
        ride.step += 1
        self._drive(ride, wanted)
        before, frame = ride.scene.motion(session.world), 0
        for _ in range(config.ticks_per_step):
            frame = session.tick()
        self._frames = ride.rig.read(frame)
        outcomes = ride.collisions.judge(before)
        speed_mps = ride.scene.speed_mps()
        ride.accel_mps2, ride.speed_mps = (speed_mps - ride.speed_mps) / config.dt_s, speed_mps
        place = self._place(ride)
        outcomes["off_road"] = float(place.off_road and not ride.off_road)
        ride.off_road = ride.off_road or place.off_road
        if outcomes["collision"] and ride.impact_step is None:
            ride.impact_step = ride.step
        terminated = place.off_road
        if ride.impact_step is not None:
            terminated = (ride.step - ride.impact_step) * config.dt_s >= self._aftermath_s - 1e-9
        truncated = not terminated and ride.step >= config.horizon
        reward = self._reward(ride, place, outcomes)
        return (
            self._copies(),
            reward,
            bool(terminated),
            bool(truncated),
            self._info(ride, place) | {"outcomes": outcomes},
        )

    def _drive(self, ride: Ride, wanted: NDArray[np.float64]) -> None:
        if ride.impact_step is not None:  # after a crash the driver is out of the loop
            ride.ego.apply_control(self._carla.VehicleControl(brake=CRASH_BRAKE))
            return
        ride.steer += float(np.clip(wanted[0] - ride.steer, -STEER_RATE, STEER_RATE))
        ride.pedal = float(wanted[1])
        control = vehicle_control(self._carla, ride.steering, ride.steer, ride.pedal, ride.scene.speed_mps())
        ride.ego.apply_control(control)

    def _reward(self, ride: Ride, place: Place, outcomes: dict[str, float]) -> float:
        if outcomes["collision"] or outcomes["off_road"]:
            return -1.0
        along_mps = ride.speed_mps * np.cos(place.heading_error_rad)
        progress = float(np.clip(along_mps / self._speed_limit(ride.ego), -1.0, 1.0))
        beside = abs(place.lateral_m) / (place.lane_width_m / 2)
        return float(np.clip(progress - 0.2 * min(beside, 1.0) - 0.5 * place.oncoming, -1.0, 1.0))

    def _place(self, ride: Ride) -> Place:
        assert self._session is not None
        return place_on_road(self._carla, self._session.road_map, ride.ego.get_transform(), ride.speed_mps)

    def _speed_limit(self, ego: Any) -> float:
        """In m/s; a vehicle knows of none before it has passed a sign."""
        limit_kmh = float(ego.get_speed_limit())
        return limit_kmh / 3.6 if limit_kmh > 0 else self.config.default_limit_mps

    def _info(self, ride: Ride, place: Place) -> dict[str, Any]:
        assert self._session is not None
        rows = ride.scene.actors(self._session.world)
        ahead = ride.scene.ahead(rows, place.curvature_1pm)
        limit_mps = self._speed_limit(ride.ego)
        return {
            "state": ride.scene.state(place, ahead, ride.accel_mps2, limit_mps, ride.steer, ride.pedal),
            "actors": rows,
            "caption": caption(place, ahead, ride.light, ride.town),
        }

    def _copies(self) -> Frames:
        return {c: f.copy() for c, f in self._frames.items()}


def _check_options(options: dict[str, Any]) -> None:
    for name in options:
        if name in MAP_OPTIONS:
            raise ValueError(
                f"reset option {name!r} does not apply to CARLA, whose maps are fixed; choose a town instead"
            )
        check_name("reset option", name, OPTIONS)
    if options.get("light") is not None:
        check_name("light", options["light"], tuple(LIGHTS))
    for actor in options.get("actors", ()):
        PlacedActor.of(actor)
