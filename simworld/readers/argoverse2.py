"""Reads Argoverse 2 motion-forecasting scenarios: the parquet of tracks, and the map's JSON where it lies beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.xml import one_line, read_bytes
from simworld.scenario import BODIES, ActorClass, Lane, Road, Scenario, ScenarioActor, Track

COLUMNS = (
    "track_id",
    "object_type",
    "timestep",
    "position_x",
    "position_y",
    "heading",
    "velocity_x",
    "velocity_y",
    "scenario_id",
    "focal_track_id",
)
EGO = "AV"  # the id of the recording car's own track
DT_S = 0.1
_KINDS: dict[str, ActorClass] = {
    "vehicle": "car",
    "bus": "bus",
    "pedestrian": "pedestrian",
    "motorcyclist": "motorcycle",
    "cyclist": "cyclist",
    "riderless_bicycle": "static",
    "static": "static",
    "construction": "static",
}
_LEFT_OUT = ("background", "unknown")
_LANE_KINDS = {"VEHICLE": "driving", "BUS": "driving", "BIKE": "biking"}


def read_argoverse2(path: str | Path) -> Scenario:
    """Read a scenario parquet; ValueError, in one sentence, where it is none or makes no sense."""
    path = Path(path)
    columns = _columns(path)
    notes = Notes()
    ids = np.array([str(v) for v in columns["track_id"]])
    found = np.unique(ids)
    if len(found) > LIMITS.actors:
        raise ValueError(f"{path.name} has {len(found)} tracks, more than the {LIMITS.actors} that are read")
    steps = _floats(columns, "timestep", path)
    first = float(steps.min())
    actors = []
    for ident in found.tolist():
        rows = np.flatnonzero(ids == ident)
        actor = _actor(ident, rows[np.argsort(steps[rows], kind="stable")], columns, first, path, notes)
        if actor is not None:
            actors.append(actor)
    notes.add("sizes", None, "the format has none: every actor has its class's typical size and mass")
    present = {a.id for a in actors}
    focal = str(columns["focal_track_id"][0])
    ego = EGO if EGO in present else focal if focal in present else ""
    return Scenario(
        name=str(columns["scenario_id"][0]),
        road=_road(path, notes),
        actors=tuple(actors),
        ego_id=ego,
        duration_s=float(steps.max() - first) * DT_S,
        dt_s=DT_S,
        unsupported=notes.entries(),
        source=str(path),
    )


def _columns(path: Path) -> dict[str, Any]:
    data = read_bytes(path)
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        missing = [c for c in COLUMNS if c not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"{path.name} is no Argoverse 2 scenario: it lacks the column {missing[0]!r}")
        if not 0 < file.metadata.num_rows <= LIMITS.track_samples:
            raise ValueError(f"{path.name} has {file.metadata.num_rows} rows, outside 1 to {LIMITS.track_samples}")
        table = file.read(columns=list(COLUMNS))
        return {name: table[name].to_numpy() for name in COLUMNS}
    except (pa.ArrowException, OSError, KeyError, OverflowError) as error:
        raise ValueError(f"{path.name} is no readable parquet file: {one_line(error)}") from error


def _floats(columns: dict[str, Any], name: str, path: Path) -> NDArray[np.float64]:
    try:
        values = np.asarray(columns[name], dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{path.name}: the column {name!r} does not hold numbers") from None
    if not np.isfinite(values).all() or np.abs(values).max() > LIMITS.coordinate_m:
        raise ValueError(f"{path.name}: the column {name!r} holds numbers that are not finite, or far too large")
    return values


def _actor(
    ident: str, rows: NDArray[np.int64], columns: dict[str, Any], first: float, path: Path, notes: Notes
) -> ScenarioActor | None:
    source_kind = str(columns["object_type"][rows[0]])
    if source_kind in _LEFT_OUT:
        notes.add(f"object_type {source_kind}", None, "left out")
        return None
    if source_kind not in _KINDS:
        notes.add(f"object_type {source_kind}", None, "taken as a car")
    kind = _KINDS.get(source_kind, "car")
    t_s, x, y, heading, vx, vy = (
        _floats({k: columns[k][rows]}, k, path)
        for k in ("timestep", "position_x", "position_y", "heading", "velocity_x", "velocity_y")
    )
    if (np.diff(t_s) <= 0).any():
        raise ValueError(f"{path.name}: the track {ident!r} has two states at one timestep")
    speed = vx * np.cos(heading) + vy * np.sin(heading)
    pose = np.column_stack([x, y, np.unwrap(heading)])
    track = Track((t_s - first) * DT_S, pose, speed)
    start = (float(x[0]), float(y[0]), float(pose[0, 2]))
    return ScenarioActor(ident, kind, BODIES[kind], start, float(speed[0]), track)


def _road(path: Path, notes: Notes) -> Road:
    """Lanes from `log_map_archive_*.json` in the scenario's folder, as the dataset ships it."""
    maps = sorted(path.parent.glob("log_map_archive_*.json"))
    if not maps:
        notes.add("log_map_archive_*.json", None, "no map beside the scenario: an empty plane")
        return Road()
    try:
        raw = json.loads(read_bytes(maps[0], LIMITS.xml_bytes))
        segments = list(raw["lane_segments"].values())
        lanes = tuple(_lane(s) for s in segments)
        crossings = len(raw.get("pedestrian_crossings", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{maps[0].name} is no Argoverse 2 map: {one_line(error)}") from error
    if crossings:
        notes.add("pedestrian_crossings", None, f"{crossings} of them left out")
    ids = {lane.id for lane in lanes}
    linked = tuple(
        Lane(
            **{
                **vars(lane),
                "successors": tuple(s for s in lane.successors if s in ids),
                "left": lane.left if lane.left in ids else "",
                "right": lane.right if lane.right in ids else "",
            }
        )
        for lane in lanes
    )
    return Road(linked, maps[0].stem)


def _lane(segment: dict[str, Any]) -> Lane:
    bounds = [
        np.array([(float(p["x"]), float(p["y"])) for p in segment[f"{side}_lane_boundary"]])
        for side in ("left", "right")
    ]
    if any(len(b) < 2 or not np.isfinite(b).all() or np.abs(b).max() > LIMITS.coordinate_m for b in bounds):
        raise ValueError(f"lane {segment['id']} has a boundary without two finite points")
    lengths = [np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(b, axis=0), axis=1))]) for b in bounds]
    fraction = np.linspace(0.0, 1.0, 2 + min(int(max(along[-1] for along in lengths) / 2.0), 50_000))
    left, right = (
        np.stack([np.interp(fraction * along[-1], along, b[:, k]) for k in (0, 1)], axis=1)
        for b, along in zip(bounds, lengths, strict=True)
    )
    return Lane(
        id=str(segment["id"]),
        centre=(left + right) / 2,
        width_m=np.linalg.norm(left - right, axis=1),
        kind=_LANE_KINDS.get(str(segment["lane_type"]), "other"),
        left_mark=_mark(str(segment["left_lane_mark_type"])),
        right_mark=_mark(str(segment["right_lane_mark_type"])),
        successors=tuple(str(s) for s in segment["successors"]),
        left=str(segment.get("left_neighbor_id") or ""),
        right=str(segment.get("right_neighbor_id") or ""),
    )


def _mark(kind: str) -> str:
    if "SOLID" in kind:
        return "solid"
    return "broken" if "DASH" in kind else "none"
