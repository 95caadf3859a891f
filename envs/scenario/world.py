"""ScenarioWorld: a Scenario on MuJoCo, its actors led by a guide until they crash, its ego led or driven."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.episode import ActionSpec, EpisodeSpec
from simworld.scenario import ACTOR_CLASSES, Scenario

from ..driving.bodies import compile_rig
from ..driving.outcomes import side_hit
from ..driving.renderer import Renderer
from ..driving.scene import draw_paint
from ..driving.scenery import draw_look
from ..driving.spec import OUTCOMES, mounts_of, sizes_of
from .guide import Guide
from .lanes import LaneIndex
from .physics import GuidedPhysics, Slide, Touch
from .scenery import capacities, road_triangles, window

Array = NDArray[np.float64]
Frames = dict[str, NDArray[np.uint8]]

STATE = (
    ("speed_mps", "m/s"),
    ("accel_mps2", "m/s2"),
    ("yaw_rate_radps", "rad/s"),
    ("steer", "1"),
    ("pedal", "1"),
    ("x_m", "m"),
    ("y_m", "m"),
    ("heading_rad", "rad"),
)
STEER_PER_STEP = 0.5
RELAY_M = 30.0  # scenery is laid anew when the ego has moved this far
WALKED = ("sidewalk", "other")
LEAST_SIDE_M, LEAST_MASS_KG = 0.05, 1.0


@dataclass(frozen=True)
class WorldConfig:
    """How a scenario is shown and cut into steps."""

    dt_s: float = 0.1
    overhead_size: tuple[int, int] = (256, 256)
    supersample: int = 2
    max_actor_rows: int = 16
    light: str = "daylight"
    seed: int = 0  # of colours and trees


@dataclass(frozen=True)
class Crash:
    """A collision of two actors, by their ids: when it began and how hard it was.

    impulse_ns     (2,) what b received, in the scenario's frame; a received the opposite
    closing_mps    how fast the two approached along the line of contact
    delta_v_*_mps  impulse over mass
    side           of the ego that was hit, empty where the ego had no part in it
    """

    t_s: float
    a: str
    b: str
    impulse_ns: tuple[float, float]
    closing_mps: float
    delta_v_a_mps: float
    delta_v_b_mps: float
    side: str = ""


class ScenarioWorld:
    """Steps of `config.dt_s`; the ego follows the guide until `take_wheel`, then actions [steer, pedal] in [-1, 1].

    slides  pairs of ids whose boxes overlap in the source itself from a time on: (id, id, t_s)
    """

    def __init__(
        self,
        scenario: Scenario,
        guide: Guide,
        *,
        slides: Sequence[tuple[str, str, float]] = (),
        cameras: Mapping[str, tuple[int, int]] | None = None,
        config: WorldConfig | None = None,
    ) -> None:
        """`cameras` {name: (h, w)} are those of the ego, by default front at 64 x 64."""
        if not scenario.actors:
            raise ValueError(f"{scenario.name} has no actors: there is nothing to replay")
        self.scenario, self.config = scenario, config or WorldConfig()
        cameras = {"front": (64, 64)} if cameras is None else cameras
        self.cameras = sizes_of(tuple(cameras), cameras, "rgb_array")
        ids = [a.id for a in scenario.actors]
        first = ids.index(scenario.ego_id) if scenario.ego_id else 0
        order = np.array([first, *(i for i in range(len(ids)) if i != first)], np.int64)
        self.ids = tuple(ids[i] for i in order)
        self.origin_m = np.round(np.array(scenario.actors[first].start[:2]))
        cast = [scenario.actors[i] for i in order]
        rng = np.random.default_rng(self.config.seed)
        start_m = np.array(scenario.actors[first].start[:2])
        self._triangles = road_triangles(scenario.road, self.origin_m, start_m, rng)
        self._rig = compile_rig([(a.kind, _solid(a.body)) for a in cast], capacities(self._triangles))
        at = {ident: row for row, ident in enumerate(self.ids)}
        known = [Slide(at[a], at[b], t_s) for a, b, t_s in slides]
        self.physics = GuidedPhysics(self._rig, guide, self.ids, order, self.origin_m, known)
        self._look = draw_look(rng, self.config.light)
        self._paint = draw_paint(rng, self._rig.kinds)
        self._lanes = LaneIndex([x for x in scenario.road.lanes if x.kind not in WALKED], self.origin_m)
        self._eyes: dict[str, _Eye] = {}
        self._ego_start = np.array(scenario.actors[first].start)
        self.episode_spec = EpisodeSpec(
            env_id="simworld/Scenario",
            cameras=self.cameras,
            action=ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
            outcomes=OUTCOMES,
            dt_s=self.config.dt_s,
            state_names=tuple(name for name, _ in STATE),
            state_units=tuple(unit for _, unit in STATE),
            mounts=mounts_of(self._rig.bodies[0], tuple(self.cameras)),
        )
        self.reset()

    def reset(self) -> None:
        """Back to the guide's present time."""
        self.physics.begin(self._ego_start)
        self._driven, self._steer, self._pedal = False, 0.0, 0.0
        self._speed_mps, self._accel_mps2 = float(self.physics.forward_speed()[0]), 0.0

    @property
    def t_s(self) -> float:
        return self.physics.t_s

    @property
    def ego_present(self) -> bool:
        return bool(self.physics.active[0])

    def take_wheel(self) -> None:
        """From here on actions drive the ego; one that is not there yet is put at its start."""
        physics = self.physics
        ego = self.scenario.actors[list(a.id for a in self.scenario.actors).index(self.ids[0])]
        if not physics.active[0]:
            x, y, heading = ego.start
            physics.enter(0, x - self.origin_m[0], y - self.origin_m[1], heading, ego.speed_mps)
            self._speed_mps = ego.speed_mps
        physics.guided[0] = False
        self._driven = True

    def step(self, action: NDArray[np.floating] | None = None) -> None:
        """One step; `action` drives the ego once the wheel is taken, and is not asked for before."""
        physics, dt_s = self.physics, self.config.dt_s
        if self._driven:
            if action is None:
                raise ValueError("the ego is driven: give an action [steer, pedal]")
            steer, pedal = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
            self._steer += float(np.clip(steer - self._steer, -STEER_PER_STEP, STEER_PER_STEP))
            self._pedal = float(pedal)
            if not self.ego_crashed:
                physics.command_ego(self._steer, self._pedal)
        physics.advance_guided(dt_s)
        speed = float(physics.forward_speed()[0])
        self._accel_mps2, self._speed_mps = (speed - self._speed_mps) / dt_s, speed

    @property
    def ego_crashed(self) -> bool:
        return any(touch.first == 0 for touch in self.physics.touches)

    def poses(self) -> dict[str, tuple[float, float, float]]:
        """Pose of everybody on the road, in the scenario's frame."""
        p = self.physics
        return {
            self.ids[i]: (float(p.pose[i, 0] + self.origin_m[0]), float(p.pose[i, 1] + self.origin_m[1]), psi)
            for i in np.flatnonzero(p.active)
            for psi in [float(p.pose[i, 2])]
        }

    def led(self) -> set[str]:
        """Who follows the guide now."""
        return {self.ids[i] for i in np.flatnonzero(self.physics.active & self.physics.guided)}

    def crashes(self) -> list[Crash]:
        """All collisions so far; the impulse of one that is less than 0.12 s old still grows."""
        return [self._crash(touch) for touch in self.physics.touches]

    def overlaps(self) -> list[tuple[str, str, float]]:
        """Pairs that overlapped when one appeared, or as the source says, and since when: no collisions."""
        return [(self.ids[s.first], self.ids[s.second], s.t_s) for s in self.physics.overlaps]

    def _crash(self, touch: Touch) -> Crash:
        mass, size = self.physics.mass_kg, float(np.linalg.norm(touch.impulse_ns))
        side = ""
        if touch.first == 0:
            psi = touch.heading_rad
            turn = np.array([[np.cos(psi), np.sin(psi)], [-np.sin(psi), np.cos(psi)]])
            side = side_hit(self._rig.bodies[0], touch.point_m, turn @ -touch.impulse_ns)
        return Crash(
            t_s=touch.t_s,
            a=self.ids[touch.first],
            b=self.ids[touch.second],
            impulse_ns=(float(touch.impulse_ns[0]), float(touch.impulse_ns[1])),
            closing_mps=touch.closing_mps,
            delta_v_a_mps=size / float(mass[touch.first]),
            delta_v_b_mps=size / float(mass[touch.second]),
            side=side,
        )

    def state(self) -> NDArray[np.float32]:
        """The ego's state, entries as in STATE; NaN while the ego is not there."""
        if not self.ego_present:
            return np.full(len(STATE), np.nan, np.float32)
        p = self.physics
        x, y, psi = p.pose[0]
        pose = (x + self.origin_m[0], y + self.origin_m[1], psi)
        values = (self._speed_mps, self._accel_mps2, p.velocity[0, 2], self._steer, self._pedal, *pose)
        return np.array(values, np.float32)

    def actors(self) -> NDArray[np.float32]:
        """The others (rows, 9) as simworld.episode.ACTOR_FIELDS says, nearest first, NaN where absent."""
        p, rows = self.physics, np.full((self.config.max_actor_rows, 9), np.nan, np.float32)
        x, y, psi = p.pose[0]
        others = np.flatnonzero(p.active[1:]) + 1
        others = others[np.argsort(np.hypot(p.pose[others, 0] - x, p.pose[others, 1] - y), kind="stable")]
        turn = np.array([[np.cos(psi), np.sin(psi)], [-np.sin(psi), np.cos(psi)]])
        for row, i in zip(rows, others, strict=False):
            heading = (p.pose[i, 2] - psi + np.pi) % (2 * np.pi) - np.pi
            kind = ACTOR_CLASSES.index(self._rig.kinds[i])
            place, velocity = turn @ (p.pose[i, :2] - (x, y)), turn @ p.velocity[i, :2]
            row[:] = (kind, *place, heading, *velocity, p.length_m[i], p.width_m[i], p.mass_kg[i])
        return rows

    def off_road(self) -> bool:
        """Whether the ego's middle is beside every lane; False where the source has no lanes."""
        return self.ego_present and self._lanes.beside(self.physics.pose[0, :2])

    def draw(self) -> Frames:
        """The present picture of every camera."""
        return self._eye("cameras", self.cameras, self.config.supersample).look(self)

    def overhead(self) -> NDArray[np.uint8]:
        """The present picture from above the ego, for people."""
        return self._eye("overhead", {"overhead": self.config.overhead_size}, 1).look(self)["overhead"]

    def _eye(self, name: str, sizes: dict[str, tuple[int, int]], supersample: int) -> _Eye:
        if name not in self._eyes:
            renderer = Renderer(self._rig, sizes, supersample)
            renderer.dress(self._look, self._paint)
            self._eyes[name] = _Eye(renderer)
        return self._eyes[name]

    def snapshot(self) -> dict[str, Any]:
        """Everything needed to go on from here later, as an opaque value."""
        own = (self._driven, self._steer, self._pedal, self._speed_mps, self._accel_mps2)
        return {"physics": self.physics.snapshot(), "own": copy.deepcopy(own)}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot of this world, or of one with the same actors in the same order."""
        self.physics.restore(snapshot["physics"])
        self._driven, self._steer, self._pedal, self._speed_mps, self._accel_mps2 = snapshot["own"]

    def close(self) -> None:
        """Free the graphics contexts."""
        for eye in self._eyes.values():
            eye.renderer.close()
        self._eyes = {}


class _Eye:
    """A renderer and where its scenery was laid last."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._laid_m: Array | None = None

    def look(self, world: ScenarioWorld) -> Frames:
        physics = world.physics
        here = physics.pose[0, :2].copy()
        if self._laid_m is None or np.linalg.norm(here - self._laid_m) > RELAY_M:
            self._laid_m = here
            self.renderer.lay_scenery(window(world._triangles, here, dict(world._rig.meshes)))
        self.renderer.show_actors(physics.pose, physics.active, physics.accel_cmd < -1.0)
        physics.refresh()
        return self.renderer.draw(physics.data)


def _solid(body: Any) -> Any:
    """A body that a simulator can hold: no side and no mass of nought."""
    sides = {s: max(getattr(body, s), LEAST_SIDE_M) for s in ("length_m", "width_m", "height_m")}
    return type(body)(**sides, mass_kg=max(body.mass_kg, LEAST_MASS_KG))
