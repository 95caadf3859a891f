"""An Episode as a Scenario: the ego's way integrated from its state, the other actors put around it in the world."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simworld.data.store import EpisodeStore
from simworld.episode import Episode, EpisodeSpec
from simworld.readers.notes import Notes
from simworld.scenario import ACTOR_CLASSES, BODIES, Body, Road, Scenario, ScenarioActor, SourceEvent, Track

Floats = NDArray[np.float64]

SPEEDS = ("speed_mps", "v_mps", "speed")
YAW_RATES = ("yaw_rate_radps", "yaw_rate_rps", "yaw_rate")
HEADINGS = ("heading_rad", "yaw_rad")
COLLISION = "collision"


@dataclass(frozen=True)
class MatchConfig:
    """Rows of `actors` are sorted by distance, not by identity: how far an actor may be from where it should be.

    jump_m       beyond its own motion, from one frame to the next
    size_slack_m in length and width
    """

    jump_m: float = 1.5
    size_slack_m: float = 0.05


def read_episode(path: str | Path, index: int = 0) -> Scenario:
    """One episode of a store on disk as a Scenario; ValueError where there is no such store or episode."""
    store = EpisodeStore(path)
    if not 0 <= index < len(store):
        raise ValueError(f"{path} has {len(store)} episodes, none with number {index}")
    return scenario_from_episode(store.episode(index), store.spec, name=f"{Path(path).name}#{index}")


def scenario_from_episode(episode: Episode, spec: EpisodeSpec, *, name: str = "episode") -> Scenario:
    """The episode's actors with tracks in a world frame that begins at the ego's first pose.

    Needs the ego's pose (x_m, y_m and a heading) among the state, or its speed and yaw rate, from which the pose
    is integrated. Raises ValueError where the state has neither.
    """
    notes = Notes()
    t_s = np.arange(episode.num_steps + 1, dtype=np.float64) * spec.dt_s
    speed = _column(episode, spec, SPEEDS)
    pose = _ego_pose(episode, spec, speed, notes)
    if speed is None:
        moved = np.hypot(np.gradient(pose[:, 0], t_s), np.gradient(pose[:, 1], t_s))
        speed = np.asarray(moved, dtype=np.float64)
    ego = ScenarioActor("ego", "car", BODIES["car"], _triple(pose[0]), float(speed[0]), Track(t_s, pose, speed))
    others = _others(episode.actors.astype(np.float64), pose, spec.dt_s, MatchConfig())
    notes.add("road", None, "an episode holds none: an empty plane")
    return Scenario(
        name=name,
        road=Road(),
        actors=(ego, *others),
        ego_id="ego",
        duration_s=float(t_s[-1]),
        dt_s=spec.dt_s,
        events=_events(episode, spec),
        unsupported=notes.entries(),
        source=name,
    )


def _column(episode: Episode, spec: EpisodeSpec, names: tuple[str, ...]) -> Floats | None:
    for name in names:
        if name in spec.state_names:
            column = episode.state[:, spec.state_names.index(name)].astype(np.float64)
            if not np.isfinite(column).all():
                raise ValueError(f"the episode's state {name!r} holds NaN or infinity")
            return column
    return None


def _ego_pose(episode: Episode, spec: EpisodeSpec, speed: Floats | None, notes: Notes) -> Floats:
    x, y, heading = (_column(episode, spec, n) for n in (("x_m",), ("y_m",), HEADINGS))
    if x is not None and y is not None and heading is not None:
        return np.column_stack([x, y, np.unwrap(heading)])
    rate = _column(episode, spec, YAW_RATES)
    if speed is None or rate is None:
        raise ValueError(
            "the episode's state has neither x_m, y_m and heading_rad nor speed_mps and yaw_rate_radps; "
            f"it has {', '.join(spec.state_names) or 'nothing'}"
        )
    notes.add("ego pose", None, "integrated from speed and yaw rate: it drifts over long episodes")
    return integrate(speed, rate, spec.dt_s)


def integrate(speed_mps: Floats, yaw_rate_radps: Floats, dt_s: float) -> Floats:
    """Poses (n, 3) from speeds and yaw rates (n,), from the origin heading along x; trapezoids, arcs between."""
    turn = (yaw_rate_radps[1:] + yaw_rate_radps[:-1]) / 2 * dt_s
    heading = np.concatenate([[0.0], np.cumsum(turn)])
    step = (speed_mps[1:] + speed_mps[:-1]) / 2 * dt_s * np.sinc(turn / (2 * math.pi))  # the chord of the arc
    middle = heading[:-1] + turn / 2
    x = np.concatenate([[0.0], np.cumsum(step * np.cos(middle))])
    y = np.concatenate([[0.0], np.cumsum(step * np.sin(middle))])
    return np.column_stack([x, y, heading])


def _others(actors: Floats, ego: Floats, dt_s: float, config: MatchConfig) -> list[ScenarioActor]:
    """Chain the rows of successive frames into actors: same class and size, nearest to where it was going."""
    chains: list[list[tuple[int, Floats]]] = []
    open_chains: list[int] = []
    for step in range(len(actors)):
        rows = [_to_world(row, ego[step]) for row in actors[step] if np.isfinite(row[:3]).all()]
        taken: set[int] = set()
        still_open = []
        for row in rows:
            best = _nearest(row, chains, [c for c in open_chains if c not in taken], dt_s, config)
            if best is None:
                chains.append([])
                best = len(chains) - 1
            chains[best].append((step, row))
            taken.add(best)
            still_open.append(best)
        open_chains = still_open
    return [_actor(f"actor-{i}", chain, dt_s) for i, chain in enumerate(chains)]


def _to_world(row: Floats, ego: Floats) -> Floats:
    """[class, x, y, heading, vx, vy, length, width, mass] from the ego frame into the world."""
    cos, sin = math.cos(ego[2]), math.sin(ego[2])
    out = row.copy()
    out[1], out[2] = ego[0] + row[1] * cos - row[2] * sin, ego[1] + row[1] * sin + row[2] * cos
    out[3] = row[3] + ego[2]
    out[4], out[5] = row[4] * cos - row[5] * sin, row[4] * sin + row[5] * cos
    return out


def _nearest(
    row: Floats, chains: list[list[tuple[int, Floats]]], candidates: list[int], dt_s: float, config: MatchConfig
) -> int | None:
    best: tuple[float, int] | None = None
    for index in candidates:
        last = chains[index][-1][1]
        if last[0] != row[0] or np.abs(last[6:8] - row[6:8]).max() > config.size_slack_m:
            continue
        miss = math.hypot(*(row[1:3] - last[1:3] - (row[4:6] + last[4:6]) / 2 * dt_s))
        if miss <= config.jump_m and (best is None or miss < best[0]):
            best = miss, index
    return best[1] if best else None


def _actor(ident: str, chain: list[tuple[int, Floats]], dt_s: float) -> ScenarioActor:
    rows = np.array([row for _, row in chain])
    t_s = np.array([step for step, _ in chain]) * dt_s
    index = int(np.clip(np.nan_to_num(rows[0, 0]), 0, len(ACTOR_CLASSES) - 1))
    kind = ACTOR_CLASSES[index]
    typical = BODIES[kind]
    length, width, mass = (
        float(v) if math.isfinite(v) and v > 0 else t
        for v, t in zip(rows[0, 6:9], (typical.length_m, typical.width_m, typical.mass_kg), strict=True)
    )
    pose = np.column_stack([rows[:, 1], rows[:, 2], np.unwrap(rows[:, 3])])
    speed = rows[:, 4] * np.cos(pose[:, 2]) + rows[:, 5] * np.sin(pose[:, 2])
    body = Body(length, width, typical.height_m, mass)
    return ScenarioActor(ident, kind, body, _triple(pose[0]), float(speed[0]), Track(t_s, pose, speed))  # type: ignore[arg-type]


def _triple(pose: Floats) -> tuple[float, float, float]:
    return float(pose[0]), float(pose[1]), float(pose[2])


def _events(episode: Episode, spec: EpisodeSpec) -> tuple[SourceEvent, ...]:
    """Steps at which an event outcome of the episode occurred; it is known at the end of the step."""
    events = []
    for outcome in spec.outcomes:
        if outcome.kind == "event":
            for step in np.flatnonzero(episode.outcomes[outcome.name] > 0.5):
                events.append(SourceEvent(float(step + 1) * spec.dt_s, outcome.name, "ego"))
    return tuple(sorted(events, key=lambda e: e.t_s or 0.0))
