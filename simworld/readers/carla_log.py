"""Reads CARLA recorder logs without CARLA: the binary packets as frames, and all of it as JSON.

Layout, little-endian: u16 version, text `CARLA_RECORDER`, i64 date, text map; then packets of u8 kind, u32 size.
Numbers stay in CARLA's frame here (left-handed, y to the right, degrees), in metres.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.xml import read_bytes
from simworld.scenario import Unsupported

MAGIC = "CARLA_RECORDER"
ACTOR_TYPES = ("other", "vehicle", "walker", "traffic_light", "traffic_sign", "sensor")
LIGHT_STATES = ("red", "yellow", "green", "off", "unknown")

_FRAME_START, _FRAME_END, _ADD, _REMOVE, _PARENT, _COLLISION, POSITIONS, _LIGHT, _VEHICLE, _WALKER = range(10)
VELOCITIES, _BOX = 12, 13
_KNOWN_UNUSED = {10: "VehicleLight", 11: "SceneLight", 14: "PlatformTime", 15: "PhysicsControl", 16: "TrafficLightTime"}
_XYZ = "3<f4"
_RECORDS = {
    _REMOVE: np.dtype([("id", "<u4")]),
    _PARENT: np.dtype([("id", "<u4"), ("parent", "<u4")]),
    _COLLISION: np.dtype([("id", "<u4"), ("first", "<u4"), ("second", "<u4"), ("hero", "u1", (2,))]),
    POSITIONS: np.dtype([("id", "<u4"), ("location_cm", _XYZ), ("rotation_deg", _XYZ)]),
    _LIGHT: np.dtype([("id", "<u4"), ("frozen", "u1"), ("elapsed_s", "<f4"), ("state", "u1")]),
    _VEHICLE: np.dtype(
        [("id", "<u4"), ("steer", "<f4"), ("throttle", "<f4"), ("brake", "<f4"), ("handbrake", "u1"), ("gear", "<i4")]
    ),
    _WALKER: np.dtype([("id", "<u4"), ("speed", "<f4")]),
    VELOCITIES: np.dtype([("id", "<u4"), ("velocity", _XYZ), ("angular", _XYZ)]),
    _BOX: np.dtype([("id", "<u4"), ("origin_cm", _XYZ), ("extent_cm", _XYZ)]),
}


@dataclass(frozen=True)
class LoggedActor:
    """An actor as the log introduces it; `extent_m` is half its box (x, y, z), None where not given or not finite."""

    id: int
    type: str
    blueprint: str
    attributes: dict[str, str]
    location_m: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    extent_m: tuple[float, float, float] | None = None
    origin_m: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass
class LoggedFrame:
    """One frame: record arrays by actor, as `_RECORDS` lays them out, and what happened in it."""

    number: int
    dt_s: float
    elapsed_s: float
    records: dict[int, NDArray[Any]] = field(default_factory=dict)
    added: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)

    def collisions(self) -> list[tuple[int, int]]:
        """Pairs of actors that the log says collided."""
        return [(int(r["first"]), int(r["second"])) for r in self.records.get(_COLLISION, ())]


@dataclass(frozen=True)
class CarlaLog:
    """A whole log."""

    version: int
    date: int
    map: str
    actors: dict[int, LoggedActor]
    frames: list[LoggedFrame]
    unsupported: tuple[Unsupported, ...] = ()


def read_carla_log(path: str | Path) -> CarlaLog:
    """Read a recorder log; ValueError, in one sentence, where it is none or is damaged."""
    return parse_carla_log(read_bytes(path), Path(path).name)


def parse_carla_log(data: bytes, name: str) -> CarlaLog:
    """The log in these bytes, which messages call `name`."""
    reader = _Reader(data, name)
    version = reader.take("H")[0]
    if reader.text() != MAGIC:
        raise ValueError(f"{name} is no CARLA recorder log")
    date, town = reader.take("q")[0], reader.text()
    notes = Notes()
    actors: dict[int, LoggedActor] = {}
    frames: list[LoggedFrame] = []
    samples = 0
    while reader.left >= 5:
        kind, size = reader.take("BI")
        if size > reader.left:
            notes.add("last packet", None, f"cut off after {reader.left} of {size} bytes; what came before is kept")
            break
        packet = reader.part(size)
        if kind == _FRAME_START:
            frames.append(LoggedFrame(*packet.take("Qdd")))
        elif not frames and kind in (_ADD, *_RECORDS):
            raise ValueError(f"{name} has a packet of kind {kind} before its first frame")
        elif kind == _ADD:
            _add_actors(packet, actors, frames[-1])
        elif kind in _RECORDS:
            records = packet.records(kind)
            samples += len(records)
            _keep(kind, records, frames[-1], actors)
        elif kind != _FRAME_END:
            notes.add(f"packet {_KNOWN_UNUSED.get(kind, kind)}", None, "skipped")
        if samples > 4 * LIMITS.track_samples or len(actors) > 20 * LIMITS.actors:
            raise ValueError(f"{name} holds more than {4 * LIMITS.track_samples} records or too many actors")
    if not frames:
        raise ValueError(f"{name} holds no frames")
    return CarlaLog(version, date, town, actors, frames, notes.entries())


def to_json(log: CarlaLog) -> dict[str, Any]:
    """Everything as plain JSON values: CARLA's frame, metres, degrees; numbers that are not finite become null.

    ``frames`` is a list of {frame, elapsed_s, dt_s, actors: {id: {location_m, rotation_deg, velocity_mps,
    angular_velocity_dps, control, walker_speed_mps, light}}, collisions, added, removed}; an entry appears where
    the log has it.
    """
    return {
        "version": log.version,
        "date": log.date,
        "map": log.map,
        "actors": {str(a.id): _actor_json(a) for a in log.actors.values()},
        "frames": [_frame_json(f) for f in log.frames],
    }


class _Reader:
    """Takes little-endian values off bytes, refusing to run past their end."""

    def __init__(self, data: bytes, name: str, start: int = 0, end: int | None = None) -> None:
        self._data = data
        self._name = name
        self._at = start
        self._end = len(data) if end is None else end

    @property
    def left(self) -> int:
        return self._end - self._at

    def take(self, layout: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + layout)
        if size > self.left:
            raise ValueError(f"{self._name} is damaged: {size} bytes are missing at byte {self._at}")
        values = struct.unpack_from("<" + layout, self._data, self._at)
        self._at += size
        return values

    def text(self) -> str:
        (size,) = self.take("H")
        (raw,) = self.take(f"{size}s")
        return raw.decode("utf-8", "replace")

    def part(self, size: int) -> _Reader:
        self._at += size
        return _Reader(self._data, self._name, self._at - size, self._at)

    def records(self, kind: int) -> NDArray[Any]:
        layout = _RECORDS[kind]
        (count,) = self.take("H")
        if count * layout.itemsize > self.left:
            raise ValueError(f"{self._name} is damaged: packet {kind} at byte {self._at} lacks its {count} entries")
        return np.frombuffer(self._data, layout, count, self._at)


def _add_actors(packet: _Reader, actors: dict[int, LoggedActor], frame: LoggedFrame) -> None:
    (count,) = packet.take("H")
    for _ in range(count):
        ident, kind, *pose, _unique = packet.take("IB3f3fI")
        blueprint = packet.text()
        (num_attributes,) = packet.take("H")
        attributes = {}
        for _ in range(num_attributes):
            packet.take("B")
            key = packet.text()
            attributes[key] = packet.text()
        kind_name = ACTOR_TYPES[kind] if kind < len(ACTOR_TYPES) else "other"
        location = (pose[0] / 100, pose[1] / 100, pose[2] / 100)
        actors[ident] = LoggedActor(ident, kind_name, blueprint, attributes, location, (pose[3], pose[4], pose[5]))
        frame.added.append(ident)


def _keep(kind: int, records: NDArray[Any], frame: LoggedFrame, actors: dict[int, LoggedActor]) -> None:
    if kind == _REMOVE:
        frame.removed += records["id"].tolist()
    elif kind == _BOX:
        for record in records:
            known = actors.get(int(record["id"]))
            extent, origin = record["extent_cm"] / 100.0, record["origin_cm"] / 100.0
            if known is not None and np.isfinite(extent).all() and np.isfinite(origin).all() and extent[:2].min() > 0:
                actors[known.id] = LoggedActor(
                    known.id,
                    known.type,
                    known.blueprint,
                    known.attributes,
                    known.location_m,
                    known.rotation_deg,
                    (float(extent[0]), float(extent[1]), float(extent[2])),
                    (float(origin[0]), float(origin[1]), float(origin[2])),
                )
    elif kind in frame.records:
        frame.records[kind] = np.concatenate([frame.records[kind], records])
    else:
        frame.records[kind] = records


def _number(value: Any) -> float | None:
    return round(float(value), 6) if math.isfinite(float(value)) else None


def _numbers(values: Any) -> list[float | None]:
    return [_number(v) for v in values]


def _actor_json(actor: LoggedActor) -> dict[str, Any]:
    return {
        "type": actor.type,
        "blueprint": actor.blueprint,
        "attributes": actor.attributes,
        "location_m": _numbers(actor.location_m),
        "rotation_deg": _numbers(actor.rotation_deg),
        "extent_m": None if actor.extent_m is None else _numbers(actor.extent_m),
    }


def _vectors(values: NDArray[Any]) -> list[list[float | None]]:
    """Rows of numbers as lists; whole arrays at once, since a log holds hundreds of thousands."""
    rows: list[list[float | None]] = np.round(values.astype(np.float64), 6).tolist()
    return rows if np.isfinite(values).all() else [_numbers(row) for row in rows]


def _frame_json(frame: LoggedFrame) -> dict[str, Any]:
    actors: dict[str, dict[str, Any]] = {}

    def give(kind: int, **columns: list[Any]) -> None:
        for i, ident in enumerate(frame.records[kind]["id"].tolist()):
            actors.setdefault(str(ident), {}).update({name: column[i] for name, column in columns.items()})

    for kind, records in frame.records.items():
        if kind == POSITIONS:
            places, turns = _vectors(records["location_cm"] / 100.0), _vectors(records["rotation_deg"])
            give(kind, location_m=places, rotation_deg=turns)
        elif kind == VELOCITIES:
            turning = _vectors(records["angular"])
            give(kind, velocity_mps=_vectors(records["velocity"]), angular_velocity_dps=turning)
        elif kind == _VEHICLE:
            give(kind, control=[_control_json(row) for row in records])
        elif kind == _WALKER:
            give(kind, walker_speed_mps=_numbers(records["speed"]))
        elif kind == _LIGHT:
            give(kind, light=[LIGHT_STATES[min(int(s), len(LIGHT_STATES) - 1)] for s in records["state"]])
    return {
        "frame": frame.number,
        "elapsed_s": _number(frame.elapsed_s),
        "dt_s": _number(frame.dt_s),
        "actors": actors,
        "collisions": [list(pair) for pair in frame.collisions()],
        "added": frame.added,
        "removed": frame.removed,
    }


def _control_json(row: Any) -> dict[str, Any]:
    control: dict[str, Any] = {k: _number(row[k]) for k in ("steer", "throttle", "brake")}
    return control | {"handbrake": bool(row["handbrake"]), "gear": int(row["gear"])}
