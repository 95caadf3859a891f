"""FrameCache: memory-mapped arrays of a whole store, one row per frame, that training reads windows from."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from simworld.data import files
from simworld.data.store import EpisodeStore
from simworld.episode import ACTOR_FIELDS, Episode, EpisodeSpec

NEVER = 2**30  # steps to an event that does not come
VERSION = 2
MAX_ACTORS = 12  # rows of an episode's actors that are kept; envs give the nearest first
GROUPS = ("frames", "outcomes", "steps_to_event", "value_at_event")


@dataclass(frozen=True)
class FrameCache:
    """F rows, one per frame; an episode of t steps owns t + 1 rows, and per-step arrays close with zero or NaN.

    frames          {camera: uint8 (F, h, w, 3)}
    actions         float32 (F, a)
    reward          float32 (F,)
    terminated      bool (F,)
    outcomes        {name: float32 (F,)}
    state           float32 (F, s)
    actors          float32 (F, n, 9) as ACTOR_FIELDS, NaN where absent
    steps_left      int64 (F,), steps of the episode after this one; -1 at its last frame
    steps_to_event  {event: int64 (F,)}, 0 where it happens at this step, NEVER where it does not come
    value_at_event  {scalar or category with `given`: float32 (F,)}, its value at the next such event, else NaN
    first_row       int64 (episodes,)
    num_steps       int64 (episodes,)
    """

    spec: EpisodeSpec
    path: Path
    frames: dict[str, NDArray[np.uint8]]
    actions: NDArray[np.float32]
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    outcomes: dict[str, NDArray[np.float32]]
    state: NDArray[np.float32]
    actors: NDArray[np.float32]
    steps_left: NDArray[np.int64]
    steps_to_event: dict[str, NDArray[np.int64]]
    value_at_event: dict[str, NDArray[np.float32]]
    first_row: NDArray[np.int64]
    num_steps: NDArray[np.int64]

    def parted(self, share: float, at_least: int) -> tuple[FrameCache, FrameCache]:
        """The first episodes, and a share of them, the last ones; all of them twice where those were fewer than
        `at_least`."""
        aside = round(share * len(self.first_row))
        if aside < at_least:
            return self, self
        row = int(self.first_row[-aside])
        return self._part(slice(row), slice(-aside)), self._part(slice(row, None), slice(-aside, None))

    def seen_by(self, cameras: Collection[str]) -> FrameCache:
        """The same as only these cameras recorded it."""
        known = self.spec.cameras
        if foreign := [c for c in cameras if c not in known]:
            near = difflib.get_close_matches(foreign[0], known, n=1) or list(known)
            raise ValueError(f"the data has no camera {foreign[0]!r}; did you mean {' or '.join(near)}?")
        frames = {c: self.frames[c] for c in cameras}
        mounts = {c: mount for c, mount in self.spec.mounts.items() if c in cameras}
        spec = dataclasses.replace(self.spec, cameras={c: known[c] for c in cameras}, mounts=mounts)
        return dataclasses.replace(self, spec=spec, frames=frames)

    def _part(self, rows: slice, episodes: slice) -> FrameCache:
        """Some consecutive episodes, and the rows that they own."""
        fields: dict[str, Any] = {}
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name in GROUPS:
                fields[f.name] = {name: x[rows] for name, x in value.items()}
            elif isinstance(value, np.ndarray):
                fields[f.name] = value[episodes if f.name in ("first_row", "num_steps") else rows]
        fields["first_row"] = fields["first_row"] - fields["first_row"][0]
        return dataclasses.replace(self, **fields)

    @classmethod
    def of(cls, store: EpisodeStore) -> FrameCache:
        """The cache of a store, built where it is absent or older than the episodes; those that an older one holds
        are copied from there."""
        if len(store) == 0:
            raise ValueError(f"{store.path} holds no episode; record some with `simworld collect`")
        key = _fingerprint(store)
        path = store.path / "cache" / key
        if not path.is_dir():
            # One builds, the others wait and then find the work done.
            with files.locked(store.path / "cache/lock"):
                if not path.is_dir():
                    _build(store, path)
        return cls._open(store.spec, path)

    @classmethod
    def _open(cls, spec: EpisodeSpec, path: Path) -> FrameCache:
        read = {name: _map(path / f"{name}.npy") for name in _names(spec)}
        fields: dict[str, Any] = {group: {} for group in GROUPS}
        for name, array in read.items():
            group, _, member = name.partition(".")
            if member:
                fields[group][member] = array
            else:
                fields[name] = array
        return cls(spec=spec, path=path, **fields)


def _names(spec: EpisodeSpec) -> list[str]:
    """Every array of a cache; a group's member is written group.member."""
    events = [o.name for o in spec.outcomes if o.kind == "event"]
    return [
        *(f"frames.{c}" for c in spec.cameras),
        *(f"outcomes.{o.name}" for o in spec.outcomes),
        *(f"steps_to_event.{e}" for e in events),
        *(f"value_at_event.{o.name}" for o in spec.outcomes if o.given),
        *("actions", "reward", "terminated", "state", "actors", "steps_left", "first_row", "num_steps"),
    ]


def _map(path: Path) -> NDArray[Any]:
    try:
        # A plain view: indexing np.memmap itself pays for a Python call on each slice.
        return np.asarray(np.load(path, mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} can not be read ({error}): delete {path.parent}, it will be built again") from error


def _fingerprint(store: EpisodeStore, num: int | None = None) -> str:
    """Of the first `num` episodes, by default of all: changes when episodes are added or rewritten; where cameras are
    mounted changes no array."""
    num = len(store) if num is None else num
    held = {name: value for name, value in store.spec.to_json().items() if name != "mounts"}
    parts: list[Any] = [VERSION, held, num]
    for index in range(num):
        for path in store.paths(index):
            try:
                stat = path.stat()
            except OSError as error:
                raise files.damaged(path, error) from error
            parts.append((stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _build(store: EpisodeStore, path: Path) -> None:
    """Decode every episode that no older cache holds into arrays beside `path`, then move them there whole; older
    caches are deleted."""
    older = _older(store, path)
    for leftover in path.parent.iterdir():
        if leftover.is_dir() and (older is None or leftover != older.path):
            shutil.rmtree(leftover)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.mkdir()
    try:
        arrays = _allocate(store, temporary)
        known = 0 if older is None else _copy(arrays, older)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(
                pool.map(
                    lambda i: _fill(arrays, store.episode(i), store.spec, int(arrays["first_row"][i])),
                    range(known, len(store)),
                )
            )
        for array in arrays.values():
            array.flush()
        os.replace(temporary, path)
        if older is not None:
            shutil.rmtree(older.path)
    except OSError as error:
        raise files.explained(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _older(store: EpisodeStore, path: Path) -> FrameCache | None:
    """A whole cache beside `path` of the same episodes before others were added."""
    for folder in path.parent.iterdir():
        try:
            num = len(np.load(folder / "num_steps.npy"))
            if 0 < num < len(store) and _fingerprint(store, num) == folder.name:
                return FrameCache._open(store.spec, folder)
        except (OSError, ValueError):
            continue
    return None


def _copy(arrays: dict[str, np.memmap], older: FrameCache) -> int:
    """The rows of an older cache; returns of how many episodes."""
    for name, array in arrays.items():
        if name not in ("first_row", "num_steps"):
            group, _, member = name.partition(".")
            held = getattr(older, group)
            part = held[member] if member else held
            array[: len(part)] = part
    return len(older.num_steps)


def _allocate(store: EpisodeStore, folder: Path) -> dict[str, np.memmap]:
    spec = store.spec
    num_steps = np.array([store.num_steps(i) for i in range(len(store))], np.int64)
    rows = int((num_steps + 1).sum())
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "actions": (np.float32, (rows, spec.action.size)),
        "terminated": (np.bool_, (rows,)),
        "state": (np.float32, (rows, len(spec.state_names))),
        "actors": (np.float32, (rows, min(MAX_ACTORS, store.num_actors), len(ACTOR_FIELDS))),
        "steps_left": (np.int64, (rows,)),
        "first_row": (np.int64, num_steps.shape),
        "num_steps": (np.int64, num_steps.shape),
    }
    arrays = {}
    for name in _names(spec):
        group, _, member = name.partition(".")
        dtype, shape = shapes.get(name, (np.float32, (rows,)))
        if group == "frames":
            dtype, shape = np.uint8, (rows, *spec.cameras[member], 3)
        elif group == "steps_to_event":
            dtype = np.int64
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size == 0:
            np.save(folder / f"{name}.npy", np.zeros(shape, dtype))
            continue
        arrays[name] = open_memmap(folder / f"{name}.npy", "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):  # not on macOS
            with open(folder / f"{name}.npy", "rb+") as file:
                # Claims the space now: writing to a sparse map on a full disk would kill the process.
                os.posix_fallocate(file.fileno(), 0, os.path.getsize(file.name))
    arrays["num_steps"][:] = num_steps
    arrays["first_row"][:] = np.concatenate([[0], np.cumsum(num_steps + 1)[:-1]])
    return arrays


def _fill(arrays: dict[str, np.memmap], episode: Episode, spec: EpisodeSpec, first: int) -> None:
    """Write the rows of one episode."""
    t = episode.num_steps
    steps, rows = slice(first, first + t), slice(first, first + t + 1)
    for camera, frames in episode.frames.items():
        arrays[f"frames.{camera}"][rows] = frames
    arrays["actions"][steps] = episode.actions
    arrays["reward"][steps] = episode.reward
    arrays["terminated"][steps] = episode.terminated
    arrays["steps_left"][rows] = np.arange(t - 1, -2, -1)
    if episode.state.shape[1]:
        arrays["state"][rows] = episode.state
    if episode.actors.shape[1]:
        arrays["actors"][rows] = episode.actors[:, :MAX_ACTORS]
    for outcome in spec.outcomes:
        arrays[f"outcomes.{outcome.name}"][rows] = np.append(episode.outcomes[outcome.name], np.nan)
        if outcome.kind == "event":
            to_event, _ = _next_event(episode.outcomes[outcome.name])
            arrays[f"steps_to_event.{outcome.name}"][rows] = np.append(to_event, NEVER)
        if outcome.given:
            _, at = _next_event(episode.outcomes[outcome.given])
            values = np.append(episode.outcomes[outcome.name], np.nan)
            arrays[f"value_at_event.{outcome.name}"][rows] = np.append(values[at], np.nan)


def _next_event(happens: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per step (t,): steps to the next event at or after it (else NEVER), and that event's index (else t)."""
    t = len(happens)
    index = np.where(happens > 0.5, np.arange(t), t)
    at = np.minimum.accumulate(index[::-1])[::-1]
    return np.where(at < t, at - np.arange(t), NEVER), at
