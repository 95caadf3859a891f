"""Guides: where a scenario's actors are to be, by their tracks, by the storyboard that moves them, or by a change."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simworld.readers import open_storyboard
from simworld.readers.opendrive import Pose
from simworld.readers.openscenario import ExternalState, Runner
from simworld.scenario import Scenario, ScenarioActor, Track

Floats = NDArray[np.float64]

HOLD_S = 0.01
BLOCK = 1000  # steps that tracks are sampled for at once


class Whereabouts(Protocol):
    """Pose and speed of an actor that the world moves, not the guide."""

    @property
    def pose(self) -> tuple[float, float, float]: ...
    @property
    def speed_mps(self) -> float: ...


class Guide(Protocol):
    """Moves in steps of HOLD_S; rows are the scenario's actors in their order, NaN while they are not there."""

    @property
    def now(self) -> Floats:
        """(n, 4) x_m, y_m, heading_rad, speed_mps."""
        ...

    @property
    def t_s(self) -> float: ...
    def advance(self, elsewhere: Mapping[str, Any]) -> None: ...
    def snapshot(self) -> Any: ...
    def restore(self, snapshot: Any) -> None: ...


class TrackGuide:
    """Everybody on the track of the source; who has none stands at the start, who waits for a policy is not there."""

    def __init__(self, scenario: Scenario) -> None:
        self._actors = scenario.actors
        self._step, self._first, self._block = 0, 0, self._sampled(0)

    @property
    def t_s(self) -> float:
        return self._step * HOLD_S

    @property
    def now(self) -> Floats:
        if not 0 <= self._step - self._first < BLOCK:
            self._first = self._step - self._step % BLOCK
            self._block = self._sampled(self._first)
        return self._block[self._step - self._first]

    def advance(self, elsewhere: Mapping[str, Whereabouts]) -> None:
        self._step += 1

    def snapshot(self) -> int:
        return self._step

    def restore(self, snapshot: int) -> None:
        self._step = snapshot

    def _sampled(self, first: int) -> Floats:
        t_s = np.asarray((first + np.arange(BLOCK)) * HOLD_S, np.float64)
        return np.stack([places(actor, t_s) for actor in self._actors], axis=1)


class StoryboardGuide:
    """The storyboard of the scenario's file, run live, so that triggers see what the world made of its actors."""

    def __init__(self, scenario: Scenario, runner: Runner) -> None:
        self._ids = [a.id for a in scenario.actors]
        self._runner = runner
        self._every = max(round(runner.step_s / HOLD_S), 1)
        self._count, self._before = 0, self._places()
        self._after = self._before

    @property
    def t_s(self) -> float:
        return self._count * HOLD_S

    @property
    def now(self) -> Floats:
        share = (self._count % self._every) / self._every
        if share == 0.0:
            return self._after
        turn = (self._after[:, 2] - self._before[:, 2] + math.pi) % (2 * math.pi) - math.pi
        way = self._after - self._before
        way[:, 2] = turn
        return self._before + share * way

    def advance(self, elsewhere: Mapping[str, Whereabouts]) -> None:
        """A crowd's storyboard ticks coarser than HOLD_S; in between, its actors move evenly."""
        if self._count % self._every == 0:
            external = {name: ExternalState(Pose(*w.pose), w.speed_mps) for name, w in elsewhere.items()}
            if not self._runner.done:
                self._runner.step(external)
            self._before, self._after = self._after, self._places()
        self._count += 1

    def _places(self) -> Floats:
        rows = np.full((len(self._ids), 4), np.nan)
        for row, name in zip(rows, self._ids, strict=True):
            entity = self._runner.world.entities.get(name)
            if entity is not None and entity.present:
                row[:] = (*entity.centre(), entity.speed_mps)
        return rows

    def snapshot(self) -> Any:
        """The road network, which never changes, is shared with the copy."""
        network = self._runner.world.network
        memo: dict[int, Any] = {} if network is None else {id(network): network}
        return copy.deepcopy((self._runner, self._count, self._before, self._after), memo)

    def restore(self, snapshot: Any) -> None:
        network = snapshot[0].world.network
        memo: dict[int, Any] = {} if network is None else {id(network): network}
        self._runner, self._count, self._before, self._after = copy.deepcopy(snapshot, memo)


class ChangedGuide:
    """Another guide, but for some actors that follow tracks of their own; the other's snapshots are its own too."""

    def __init__(self, base: Guide, scenario: Scenario, changed: Sequence[str]) -> None:
        self._base = base
        self._actors = {i: a for i, a in enumerate(scenario.actors) if a.id in changed}

    @property
    def t_s(self) -> float:
        return self._base.t_s

    @property
    def now(self) -> Floats:
        rows = self._base.now.copy()
        for i, actor in self._actors.items():
            rows[i] = places(actor, np.array([self.t_s]))[0]
        return rows

    def advance(self, elsewhere: Mapping[str, Whereabouts]) -> None:
        """The storyboard of the other guide sees where the changed actors are."""
        now = self.now
        own = {
            a.id: Placed((float(now[i, 0]), float(now[i, 1]), float(now[i, 2])), float(now[i, 3]))
            for i, a in self._actors.items()
            if np.isfinite(now[i, 0])
        }
        self._base.advance({**own, **elsewhere})

    def snapshot(self) -> Any:
        return self._base.snapshot()

    def restore(self, snapshot: Any) -> None:
        self._base.restore(snapshot)


@dataclass(frozen=True)
class Placed:
    """Whereabouts of an actor on a track of its own."""

    pose: tuple[float, float, float]
    speed_mps: float


@dataclass(frozen=True)
class Deviation:
    """From `at_s` on an actor keeps the path of its guide, but not its speed: it slows down, or holds a speed.

    brake_mps2  it slows down at this rate until it stands
    speed_mps   it goes over to this speed, at no more than `change_mps2`
    """

    actor: str
    at_s: float
    brake_mps2: float | None = None
    speed_mps: float | None = None
    change_mps2: float = 6.0


def deviated(actor: ScenarioActor, deviation: Deviation, duration_s: float) -> ScenarioActor:
    """The actor with a track that follows the old one's path at another speed; beyond its end straight on."""
    track = actor.track
    if track is None:
        raise ValueError(f"actor {actor.id} has no track in {duration_s:g} s to depart from; name one that moves")
    fine = np.arange(0.0, duration_s + 2 * HOLD_S, 5 * HOLD_S)
    fine = fine[(fine > track.t_s[0] + 1e-6) & (np.abs(fine - deviation.at_s) > 1e-6)]
    t_s = np.unique(np.concatenate([[track.t_s[0]], fine, [deviation.at_s]]))
    at = track.sample(t_s)
    moved = np.hypot(np.diff(at[:, 0]), np.diff(at[:, 1]))
    arc = np.concatenate([[0.0], np.cumsum(moved)])
    v = float(track.at(deviation.at_s)[3])
    s = float(np.interp(deviation.at_s, t_s, arc))
    rows = []
    for before, now in zip(t_s, t_s[1:], strict=False):
        if before < deviation.at_s - 1e-9:
            continue
        dt_s = now - before
        after = _next_speed(v, dt_s, deviation)
        s, v = s + (v + after) / 2 * dt_s, after
        rows.append((now, *_on_path(at, arc, s), v))
    kept = t_s <= deviation.at_s + 1e-9
    new = np.array(rows).reshape(-1, 5)
    pose = np.concatenate([at[kept, :3], new[:, 1:4]])
    speed = np.concatenate([at[kept, 3], new[:, 4]])
    return replace(actor, track=Track(np.concatenate([t_s[kept], new[:, 0]]), pose, speed))


def _next_speed(speed: float, dt_s: float, deviation: Deviation) -> float:
    if deviation.brake_mps2 is not None:
        return math.copysign(max(abs(speed) - deviation.brake_mps2 * dt_s, 0.0), speed)
    wanted = speed if deviation.speed_mps is None else deviation.speed_mps
    most = deviation.change_mps2 * dt_s
    return speed + min(max(wanted - speed, -most), most)


def _on_path(at: Floats, arc: Floats, s: float) -> tuple[float, float, float]:
    heading = np.unwrap(at[:, 2])
    # Standing samples repeat an arc length; the last of them leads on.
    keep = np.append(np.diff(arc) > 1e-6, True)
    x, y, psi = (float(np.interp(s, arc[keep], column[keep])) for column in (at[:, 0], at[:, 1], heading))
    beyond = max(s - float(arc[-1]), 0.0)
    return x + beyond * math.cos(psi), y + beyond * math.sin(psi), psi


def places(actor: ScenarioActor, t_s: Floats) -> Floats:
    """Where the source has an actor at times (n,): (n, 4), NaN while it is not there."""
    if actor.track is not None:
        rows = actor.track.sample(t_s)
        rows[(t_s < actor.track.t_s[0] - 1e-9) | (t_s > actor.track.t_s[-1] + 1e-9)] = np.nan
        return rows
    if actor.needs_policy:
        return np.full((len(t_s), 4), np.nan)
    return np.tile(np.array([*actor.start, 0.0]), (len(t_s), 1))


def live_guide(scenario: Scenario, road_dirs: tuple[str, ...] = ()) -> Guide:
    """The scenario's storyboard where it has one, or else its tracks."""
    if scenario.source.lower().endswith(".xosc"):
        return StoryboardGuide(scenario, open_storyboard(scenario.source, road_dirs=road_dirs))
    return TrackGuide(scenario)
