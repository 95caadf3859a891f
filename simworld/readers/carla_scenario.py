"""A CARLA recorder log as a Scenario: vehicles and walkers with their tracks, in the right-handed frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.readers.carla_log import (
    POSITIONS,
    VELOCITIES,
    CarlaLog,
    LoggedActor,
    read_carla_log,
)
from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.opendrive import find_road, read_opendrive, to_road, to_signals
from simworld.scenario import BODIES, ActorClass, Body, Road, Scenario, ScenarioActor, Signal, SourceEvent, Track

# What a blueprint is, by a part of its name; everything else with four wheels is a car.
_BLUEPRINTS: tuple[tuple[ActorClass, tuple[str, ...]], ...] = (
    ("cyclist", ("crossbike", "century", "omafiets")),
    ("motorcycle", ("harley", "kawasaki", "yamaha", "vespa")),
    ("truck", ("carlacola", "firetruck")),
    ("bus", ("fusorosa", "fuso")),
    ("van", ("ambulance", "sprinter", "volkswagen.t2")),
    ("tank", ("tank",)),
)


def read_carla_scenario(path: str | Path, *, road_dirs: tuple[str | Path, ...] = ()) -> Scenario:
    """Read a recorder log as a Scenario; the map is looked up by name in `road_dirs`."""
    path = Path(path)
    return carla_scenario(read_carla_log(path), path, tuple(Path(d) for d in road_dirs))


def carla_scenario(log: CarlaLog, path: Path, road_dirs: tuple[Path, ...]) -> Scenario:
    """A parsed log as a Scenario; `path` names it and is where its map is looked for first."""
    notes = Notes()
    notes.extend(log.unsupported)
    times = _times(log, notes)
    movers = [a for a in log.actors.values() if a.type in ("vehicle", "walker")]
    if len(movers) > LIMITS.actors:
        raise ValueError(f"{path.name} has {len(movers)} vehicles and walkers, more than {LIMITS.actors}")
    props = sum(a.blueprint.startswith("static.") for a in log.actors.values())
    if props:
        notes.add("static props", None, f"{props} of them left out of the scenario; the JSON has them")
    rows = _rows_by_actor(log, {a.id for a in movers})
    actors = [a for m in movers if (a := _actor(m, rows.get(m.id, []), times, notes)) is not None]
    road, signals = _road(log, path, road_dirs, notes)
    hero = [str(m.id) for m in movers if m.attributes.get("role_name") in ("hero", "ego_vehicle")]
    ids = [a.id for a in actors]
    ego = next((i for i in hero + ids if i in ids), "")
    return Scenario(
        name=path.stem,
        road=road,
        actors=tuple(actors),
        ego_id=ego,
        duration_s=float(times[-1]),
        dt_s=max(round(float(np.median(np.diff(times))), 4), 1e-3) if len(times) > 1 else 0.05,
        events=_collisions(log, times),
        unsupported=notes.entries(),
        source=str(path),
        signals=(*signals, *_signals(log)),
    )


def _times(log: CarlaLog, notes: Notes) -> NDArray[np.float64]:
    """Scenario time of every frame (n,), rising; one that stands still or runs back comes just after the last."""
    elapsed = np.array([f.elapsed_s for f in log.frames])
    if not np.isfinite(elapsed).all() or elapsed.max() - elapsed.min() > LIMITS.duration_s:
        raise ValueError("the recorder log has frame times that are not finite, or lie days apart")
    times = elapsed - elapsed[0]
    for i in range(1, len(times)):
        if times[i] <= times[i - 1]:
            notes.add("frame time", None, "a frame that does not come after the one before it is put 0.1 ms later")
            times[i] = times[i - 1] + 1e-4
    return times


def _rows_by_actor(log: CarlaLog, wanted: set[int]) -> dict[int, list[tuple[int, Any, Any]]]:
    """Per actor (frame index, position record, velocity record or None), frames in which the actor is there."""
    rows: dict[int, list[tuple[int, Any, Any]]] = {}
    for index, frame in enumerate(log.frames):
        velocities = {int(r["id"]): r for r in frame.records.get(VELOCITIES, ())}
        for record in frame.records.get(POSITIONS, ()):
            ident = int(record["id"])
            if ident in wanted:
                rows.setdefault(ident, []).append((index, record, velocities.get(ident)))
    return rows


def _actor(
    logged: LoggedActor, rows: list[tuple[int, Any, Any]], times: NDArray[np.float64], notes: Notes
) -> ScenarioActor | None:
    kind = _kind(logged)
    body, ahead, left = _body(logged, kind, notes)
    poses, speeds, at = [], [], []
    for index, position, velocity in rows:
        x, y, _ = (position["location_cm"] / 100.0).tolist()
        heading = -math.radians(float(position["rotation_deg"][2]))
        if not all(map(math.isfinite, (x, y, heading))) or max(abs(x), abs(y)) > LIMITS.coordinate_m:
            notes.add(f"position of {logged.blueprint}", None, "a frame in which it is not finite is left out")
            continue
        cos, sin = math.cos(heading), math.sin(heading)
        poses.append((x + ahead * cos - left * sin, -y + ahead * sin + left * cos, heading))
        at.append(float(times[index]))
        speed = math.nan
        if velocity is not None:
            vx, vy, _ = velocity["velocity"].tolist()
            speed = vx * cos - vy * sin  # along the heading; CARLA's y points right
        speeds.append(speed)
    if not poses:
        notes.add(f"{logged.type} {logged.blueprint}", None, "left out: the log gives it no position")
        return None
    pose, t_s = np.array(poses), np.array(at)
    pose[:, 2] = np.unwrap(pose[:, 2])
    speed_mps = _filled(np.array(speeds), pose, t_s)
    return ScenarioActor(str(logged.id), kind, body, poses[0], float(speed_mps[0]), Track(t_s, pose, speed_mps))


def _filled(speed: NDArray[np.float64], pose: NDArray[np.float64], t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Speeds with those that the log lacks taken from the motion."""
    missing = ~np.isfinite(speed)
    if missing.any() and len(t_s) > 1:
        vx, vy = np.gradient(pose[:, 0], t_s), np.gradient(pose[:, 1], t_s)
        along = vx * np.cos(pose[:, 2]) + vy * np.sin(pose[:, 2])
        speed = np.where(missing, along, speed)
    return np.clip(np.nan_to_num(speed), -LIMITS.speed_mps, LIMITS.speed_mps)


def _kind(logged: LoggedActor) -> ActorClass:
    if logged.type == "walker":
        return "pedestrian"
    for kind, parts in _BLUEPRINTS:
        if any(part in logged.blueprint for part in parts):
            return kind
    return "motorcycle" if logged.attributes.get("number_of_wheels") == "2" else "car"


def _body(logged: LoggedActor, kind: ActorClass, notes: Notes) -> tuple[Body, float, float]:
    """Box and where its middle sits ahead and left of the actor's location; typical where the log has no box."""
    typical = BODIES[kind]
    if logged.extent_m is None or max(logged.extent_m) > 50:
        notes.add(f"box of {logged.blueprint}", None, f"missing or not finite: a typical {kind}")
        return typical, 0.0, 0.0
    x, y, z = logged.extent_m
    return Body(2 * x, 2 * y, max(2 * z, 0.05), typical.mass_kg), logged.origin_m[0], -logged.origin_m[1]


def _road(log: CarlaLog, path: Path, road_dirs: tuple[Path, ...], notes: Notes) -> tuple[Road, tuple[Signal, ...]]:
    found = find_road(Path(log.map).name, path.parent, road_dirs)
    if found is None:
        notes.add(f"map {log.map}", None, "its road file was not found: an empty plane")
        return Road(), ()
    network = read_opendrive(found)
    notes.extend(network.unsupported)
    return to_road(network, notes), to_signals(network)


def _signals(log: CarlaLog) -> tuple[Signal, ...]:
    signals = []
    for actor in log.actors.values():
        if actor.type not in ("traffic_light", "traffic_sign"):
            continue
        x, y, _ = actor.location_m
        heading = -math.radians(actor.rotation_deg[2])
        if not all(map(math.isfinite, (x, y, heading))):
            continue
        last = actor.blueprint.rsplit(".", 1)[-1]
        value = float(last) if last.isdigit() else None
        light = actor.type == "traffic_light"
        signals.append(Signal(f"carla-{actor.id}", actor.blueprint, (x, -y, heading), value, light))
    return tuple(signals)


def _collisions(log: CarlaLog, times: NDArray[np.float64]) -> tuple[SourceEvent, ...]:
    events = []
    for index, frame in enumerate(log.frames):
        for first, second in frame.collisions():
            events.append(SourceEvent(float(times[index]), f"collision with {second}", str(first)))
    return tuple(events)
