"""Runs a scenario in a world: its actors led by their guide, its ego by the log or by a policy."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.collect import resolve
from simworld.episode import Episode, EpisodeSpec
from simworld.policy import Policy
from simworld.readers import actions_from_track, contacts
from simworld.replay.guides import ChangedGuide, Guide, TrackGuide, live_guide
from simworld.replay.result import Collision, Replay
from simworld.scenario import ACTOR_CLASSES, BODIES, Scenario, Track

SIDES = ("front", "rear", "left", "right")
LOG = "log"
Action = NDArray[np.float32]


@dataclass(frozen=True)
class ReplayConfig:
    """world: name of the maker of the real world; duration_s: at most, the scenario's own where None; cameras: those of
    the ego {name: (h, w)}, the world's own where None.

    A film of more than `max_film_frames` leaves steps out, so that logs of minutes do not fill the memory.
    """

    world: str = "simworld.envs.scenario.world:ScenarioWorld"
    film: bool = True
    max_film_frames: int = 1200
    cameras: Mapping[str, tuple[int, int]] | None = None
    frames: bool = False  # keep what the ego's cameras see at every step
    duration_s: float | None = None
    road_dirs: tuple[str, ...] = ()
    seed: int = 0


@dataclass
class Recording:
    """What is kept of every step of a run."""

    cameras: dict[str, list[Any]] = field(default_factory=dict)
    films: dict[str, list[Any]] = field(default_factory=dict)
    actions: list[Action] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)
    actors: list[Any] = field(default_factory=list)
    off_road: list[bool] = field(default_factory=list)
    track_error_m: float | None = None


def open_world(
    scenario: Scenario, config: ReplayConfig, *, live: bool, source: Scenario | None = None, changed: Sequence[str] = ()
) -> Any:
    """The real world at the scenario's start; `live` runs its storyboard instead of the tracks that it left.

    source, changed  the scenario without its changes, and the actors that follow changed tracks
    """
    source = source or scenario
    check_actors(scenario)
    guide: Guide = live_guide(source, config.road_dirs) if live else TrackGuide(source)
    guide = ChangedGuide(guide, scenario, changed) if changed else guide
    slides = [(*c.actors, c.t_s) for c in contacts(source) if c.tracking_overlap]
    return resolve(config.world)(scenario, guide, slides=slides, cameras=config.cameras)


def check_actors(scenario: Scenario) -> None:
    """Refuse a scenario with nobody in it, such as a road file."""
    if not scenario.actors:
        raise ValueError(f"{scenario.name} has no actors: there is nothing to replay; choose a scenario or a log")


def duration_of(scenario: Scenario, config: ReplayConfig) -> float:
    """How long a replay lasts; ValueError where there is nothing to replay."""
    check_actors(scenario)
    if config.duration_s is not None:
        if not 0 < config.duration_s < 24 * 3600:
            raise ValueError(f"duration_s {config.duration_s:g} must lie above 0 and below a day")
        return config.duration_s
    return scenario.duration_s


def replay(
    scenario: Scenario, driver: Policy | None = None, config: ReplayConfig | None = None, *, name: str = ""
) -> Replay:
    """Replay a scenario in MuJoCo, its ego driven by its log (None) or by a policy."""
    config = config or ReplayConfig()
    world = open_world(scenario, config, live=driver is not None)
    try:
        run = Run(world, scenario, driver, config)
        run.to(duration_of(scenario, config))
        return run.result(name or "mujoco")
    finally:
        world.close()


class Run:
    """A world on its way through a scenario, and what was recorded; may be branched between steps."""

    def __init__(self, world: Any, scenario: Scenario, driver: Policy | None, config: ReplayConfig) -> None:
        self.world, self.scenario, self.config = world, scenario, config
        self.spec: EpisodeSpec = world.episode_spec
        self.recording = Recording()
        self.driver: Policy | None = None
        self._seen: dict[str, NDArray[np.uint8]] = {}
        self.film_every = max(1, -int(-duration_of(scenario, config) / self.spec.dt_s // config.max_film_frames))
        self.log_actions = log_actions(scenario, self.spec.dt_s)
        if driver is not None:
            self.hand_over(driver)
        self._look()

    @property
    def t_s(self) -> float:
        return float(self.world.t_s)

    def hand_over(self, driver: Policy) -> None:
        """From here on a policy drives the ego."""
        if driver.needs_state:
            raise ValueError(
                f"policy {driver.name!r} needs the simulator's own state; choose one that drives by camera"
            )
        if not self.world.scenario.ego_id:
            raise ValueError(f"{self.scenario.name} has no ego to drive; replay it with ego=log")
        self.driver = driver
        driver.reset(np.array([self.config.seed], np.int64))
        self.world.take_wheel()
        if self.recording.states:
            self.recording.states[-1] = self.world.state()

    def fork(self, world: Any, scenario: Scenario, snapshot: Any) -> Run:
        """This run going on in another world, put where `snapshot` was taken; both then go their own ways."""
        world.restore(snapshot)
        other = copy.copy(self)
        other.world, other.scenario = world, scenario
        other.recording, other.driver = copy.copy(self.recording), copy.deepcopy(self.driver)
        for name in ("actions", "states", "actors", "off_road"):
            setattr(other.recording, name, list(getattr(self.recording, name)))
        for name in ("cameras", "films"):
            setattr(other.recording, name, {c: list(f) for c, f in getattr(self.recording, name).items()})
        return other

    def to(self, t_s: float) -> None:
        """Go on to a time; the last step may end a little before it."""
        dt_s = self.spec.dt_s
        while self.t_s + dt_s <= t_s + 1e-6:
            self.step()

    def step(self) -> None:
        action = None
        if self.driver is not None:
            observation = {c: f[None] for c, f in (self._seen or self.world.draw()).items()}
            raw = np.asarray(self.driver.act(observation, [{}]), np.float32)
            if raw.shape != (1, self.spec.action.size) or not np.isfinite(raw).all():
                raise ValueError(f"policy {self.driver.name!r} gave the action {raw.tolist()} at {self.t_s:.1f} s")
            action = np.clip(raw[0], -1.0, 1.0)
        self.world.step(action)
        self.recording.actions.append(self.logged(len(self.recording.actions)) if action is None else action)
        self._look()

    def logged(self, step: int) -> Action:
        """What the ego's log did at a step, by inverse dynamics; zeros where it has none."""
        if step < len(self.log_actions):
            return np.asarray(self.log_actions[step], np.float32)
        return np.zeros(self.spec.action.size, np.float32)

    def _look(self) -> None:
        recording, world = self.recording, self.world
        filmed = self.config.film and len(recording.states) % self.film_every == 0
        self._seen = world.draw() if filmed or self.config.frames else {}
        for camera, picture in self._seen.items():
            if self.config.frames:
                recording.cameras.setdefault(camera, []).append(picture)
            if filmed:
                recording.films.setdefault(camera, []).append(picture)
        if filmed:
            recording.films.setdefault("overhead", []).append(world.overhead())
        recording.states.append(world.state())
        recording.actors.append(world.actors())
        recording.off_road.append(world.off_road())
        self._measure()

    def _measure(self) -> None:
        poses = self.world.poses()
        for ident in self.world.led():
            track = self.scenario.actor(ident).track
            if track is not None and track.covers(self.t_s):
                x, y, *_ = track.at(self.t_s)
                miss = float(np.hypot(poses[ident][0] - x, poses[ident][1] - y))
                self.recording.track_error_m = max(self.recording.track_error_m or 0.0, miss)

    def result(self, name: str) -> Replay:
        """What happened up to now."""
        world, scenario = self.world, self.scenario
        driven = self.driver is not None
        absent = [a.id for a in scenario.actors if a.needs_policy and not (driven and a.id == scenario.ego_id)]
        overlaps = world.overlaps()
        error = self.recording.track_error_m
        return Replay(
            world=name,
            scenario=scenario.name,
            ego=scenario.ego_id,
            driver=LOG if self.driver is None else self.driver.name,
            duration_s=self.t_s,
            dt_s=self.spec.dt_s,
            num_actors=len(scenario.actors),
            ego_body=scenario.actor(scenario.ego_id).body if scenario.ego_id else BODIES["car"],
            collisions=[_collision(c) for c in world.crashes()],
            track_error_m=None if error is None else round(error, 6),
            absent=absent,
            overlaps=overlaps,
            notes=notes_of(scenario, absent, overlaps),
            films={c: np.stack(f) for c, f in self.recording.films.items()},
            film_dt_s=self.spec.dt_s * self.film_every,
            episode=self.episode(),
            spec=self.spec,
        )

    def episode(self) -> Episode:
        """The ego's side of the run as an Episode; frames only where they were kept."""
        recording = self.recording
        t = len(recording.actions)
        cameras = {c: np.stack(f) for c, f in recording.cameras.items()}
        return Episode(
            frames=cameras,
            actions=np.array(recording.actions, np.float32).reshape(t, self.spec.action.size),
            reward=np.zeros(t, np.float32),
            terminated=np.zeros(t, bool),
            outcomes=self._outcomes(t),
            state=np.array(recording.states, np.float32),
            actors=np.array(recording.actors, np.float32),
            provenance={"scenario": self.scenario.name, "driver": LOG if self.driver is None else self.driver.name},
        )

    def _outcomes(self, t: int) -> dict[str, NDArray[np.float32]]:
        """The ego's collisions at the steps in which they began, as the spec's outcomes."""
        found = {o.name: np.full(t, 0.0 if o.kind == "event" else np.nan, np.float32) for o in self.spec.outcomes}
        kinds = {a.id: a.kind for a in self.scenario.actors}
        for crash in map(_collision, self.world.crashes()):
            step = min(int(crash.t_s / self.spec.dt_s + 1e-6), t - 1)
            if self.scenario.ego_id not in (crash.a, crash.b) or step < 0:
                continue
            partner = crash.b if crash.a == self.scenario.ego_id else crash.a
            values = {
                "collision": 1.0,
                "impulse": crash.impulse_Ns,
                "delta_v": crash.delta_v_a_mps if crash.a == self.scenario.ego_id else crash.delta_v_b_mps,
                "side": float(SIDES.index(crash.side or "front")),
                "partner": float(ACTOR_CLASSES.index(kinds[partner])),
            }
            for name, value in values.items():
                found[name][step] = value
        off = np.array(self.recording.off_road, bool)
        found["off_road"][:] = off[1:] & ~np.maximum.accumulate(off[:-1])
        return found


def log_actions(scenario: Scenario, dt_s: float) -> NDArray[np.float64]:
    """Actions (t, 2) that carry Driving's ego along the log from time 0; zeros before it begins, none without one."""
    track = scenario.actor(scenario.ego_id).track if scenario.ego_id else None
    if track is None or track.t_s[-1] - track.t_s[0] < dt_s:
        return np.zeros((0, 2))
    wait = int(np.ceil(track.t_s[0] / dt_s - 1e-6))
    t_s = np.asarray(np.arange(wait, int(track.t_s[-1] / dt_s + 1e-6) + 1) * dt_s, np.float64)
    if len(t_s) < 2:
        return np.zeros((0, 2))
    at = track.sample(t_s)
    actions = actions_from_track(Track(t_s, at[:, :3], at[:, 3]), dt_s)
    return np.concatenate([np.zeros((wait, 2)), actions])


def _collision(crash: Any) -> Collision:
    return Collision(
        t_s=crash.t_s,
        a=crash.a,
        b=crash.b,
        impulse_Ns=float(np.hypot(*crash.impulse_ns)),
        closing_mps=crash.closing_mps,
        delta_v_a_mps=crash.delta_v_a_mps,
        delta_v_b_mps=crash.delta_v_b_mps,
        side=crash.side,
    )


def notes_of(
    scenario: Scenario, absent: Sequence[str], overlaps: Sequence[tuple[str, str, float]]
) -> list[dict[str, Any]]:
    """What could not be honoured, the source's own and the replay's, as report.json lists it."""
    notes = [{"element": u.element, "line": u.line, "instead": u.instead} for u in scenario.unsupported]
    for ident in absent:
        ego = ident == scenario.ego_id
        text = "not there: the source does not say how it moves"
        text += "; cameras stand at its start, and ego=POLICY lets it drive" if ego else ""
        notes.append({"element": f"actor {ident}", "line": None, "instead": text})
    for a, b, t_s in overlaps:
        text = f"the source's own boxes overlap from {t_s:.2f} s on: not counted as a collision"
        notes.append({"element": f"actors {a} and {b}", "line": None, "instead": text})
    return notes
