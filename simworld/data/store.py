"""EpisodeStore: episodes on disk in the LeRobot v3.0 layout, lossless and safe against being killed.

Beyond the layout (see `simworld.data.layout`) a store holds

    meta/simworld.json    the EpisodeSpec, and the recipe that recorded it
    staging/              episodes written but not yet in their place (only while recording)
    cache/                the FrameCache, rebuilt at need

An episode exists once its row under meta/episodes does. That row is written last, so a process killed at any
moment leaves whole episodes only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from simworld.data import files, layout
from simworld.data.video import decode_video, encode_video
from simworld.episode import ACTOR_FIELDS, Episode, EpisodeSpec

if TYPE_CHECKING:
    from simworld.data.cache import FrameCache

VERSION = 1


class EpisodeStore:
    """The episodes under one folder; `EpisodeStore(path)` opens, `EpisodeStore.create` begins one.

    spec      what all its episodes have in common
    recipe    JSON-like mapping, free for the recorder: what was asked for
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open an existing store; ValueError where there is none, or its files are damaged."""
        self.path = Path(path)
        file = self.path / "meta/simworld.json"
        if not file.exists():
            raise ValueError(
                f"{self.path} holds no episode store ({file} is missing); record one with `simworld collect`"
            )
        raw = files.read_json(file)
        if not isinstance(raw, dict) or raw.get("version") != VERSION:
            raise files.damaged(file, f"it is not of version {VERSION}")
        try:
            self.spec = EpisodeSpec.from_json(raw["spec"])
            self.recipe: dict[str, Any] = dict(raw["recipe"])
        except (KeyError, TypeError, ValueError) as error:
            raise files.damaged(file, error) from error
        self._rows: dict[int, dict[str, Any]] = {}
        self._task_index: dict[str, int] | None = None
        self._num = self._count()

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], spec: EpisodeSpec, recipe: Mapping[str, Any] | None = None
    ) -> EpisodeStore:
        """Begin an empty store; ValueError where the folder already holds something."""
        root = Path(path)
        if root.exists() and any(not entry.name.startswith(".") for entry in root.iterdir()):
            raise ValueError(f"{root} is not empty; choose another folder, or open it with EpisodeStore(path)")
        bad = [n for n in [*spec.cameras, *(o.name for o in spec.outcomes)] if not re.fullmatch(r"[\w.-]+", n)]
        if bad:
            raise ValueError(f"{bad[0]!r} can not name a file or column; use letters, digits, '_', '-' and '.'")
        begun = root / f".meta.{os.getpid()}.tmp"
        files.write_json(begun / "info.json", layout.info(spec, []))
        about = {"version": VERSION, "spec": spec.to_json(), "recipe": dict(recipe or {})}
        files.write_json(begun / "simworld.json", about)
        os.replace(begun, root / "meta")
        return cls(root)

    def __len__(self) -> int:
        return self._num

    def append(self, episode: Episode) -> int:
        """Add an episode at the end and return its index; ValueError where it does not fit the spec."""
        index = len(self)
        self.stage(index, episode)
        self.commit()
        return index

    def stage(self, index: int, episode: Episode) -> None:
        """Write episode `index` aside, from any process and in any order; `commit` puts it in its place."""
        episode.validate(self.spec)
        columns = layout.frame_columns(episode, self.spec)
        folder = self._staged(index)
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            for camera, frames in episode.frames.items():
                files.write_bytes(unfinished / f"{camera}.mp4", encode_video(frames, self.spec.dt_s))
            files.write_table(unfinished / "data.parquet", layout.to_table(columns))
            about = {
                "length": episode.num_steps + 1,
                "num_actors": episode.actors.shape[1],
                "caption": episode.caption,
                "provenance": episode.provenance,
                "stats": layout.statistics(episode, columns),
            }
            files.write_json(unfinished / "episode.json", about)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(unfinished, folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def is_staged(self, index: int) -> bool:
        return self._staged(index).is_dir()

    def commit(self) -> int:
        """Put staged episodes in their place, in order, up to the first that is not there; returns len(self)."""
        while self.is_staged(len(self)):
            self._commit_one(len(self))
        return len(self)

    def _commit_one(self, index: int) -> None:
        folder = self._staged(index)
        staged = files.read_json(folder / "episode.json")
        if index and staged["num_actors"] != self._row(0)["num_actors"]:
            raise ValueError(
                f"episode {index} has {staged['num_actors']} actors, episode 0 {self._row(0)['num_actors']}; "
                "pad them with NaN to a fixed number"
            )
        first_frame = self._row(index - 1)["dataset_to_index"] if index else 0
        tasks = self._tasks()
        task = tasks.setdefault(staged["caption"], len(tasks))
        # Every step can be repeated: a file that is no longer aside has already been moved.
        for camera in self.spec.cameras:
            source, target = folder / f"{camera}.mp4", self.path / layout.video_path(camera, index)
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
        table = files.read_table(folder / "data.parquet")
        num = staged["length"]
        late = {
            "episode_index": np.full(num, index),
            "index": first_frame + np.arange(num),
            "task_index": np.full(num, task),
        }
        for name, values in late.items():
            table = table.append_column(name, layout.to_table({name: values}).column(0))
        files.write_table(self.path / layout.data_path(index), table)
        row = layout.episode_row(index, first_frame, self.spec, staged)
        files.write_table(self.path / layout.episode_path(index), layout.row_table(row))
        self._rows[index] = row
        self._num = index + 1
        shutil.rmtree(folder)

    def flush(self) -> None:
        """Bring the store-wide metadata (counts, statistics, captions) up to date; call it after recording."""
        rows = [self._row(i) for i in range(len(self))]
        files.write_table(self.path / "meta/tasks.parquet", layout.tasks_table(list(self._tasks())))
        files.write_json(self.path / "meta/stats.json", layout.pooled_statistics(rows))
        files.write_json(self.path / "meta/info.json", layout.info(self.spec, rows))
        staging = self.path / "staging"
        if staging.is_dir():
            for folder in staging.glob("[0-9]*"):
                if int(folder.name) < len(self):  # staged again by a worker that outlived its parent
                    shutil.rmtree(folder)
            if not any(staging.iterdir()):
                staging.rmdir()

    @property
    def num_actors(self) -> int:
        """Rows that every episode has for actors; 0 in an empty store."""
        return self._row(0)["num_actors"] if len(self) else 0

    def num_steps(self, index: int) -> int:
        """Steps of an episode, without reading it."""
        return self._row(index)["length"] - 1

    def has_event(self, index: int, event: str) -> bool:
        """Whether a declared event happens in an episode, without reading it."""
        return self._row(index)[f"stats/outcome.{event}/max"][0] > 0.5

    def provenance(self, index: int) -> dict[str, Any]:
        """Where an episode comes from (policy, seed, ...), without reading its frames."""
        return json.loads(self._row(index)["provenance"])

    def episode(self, index: int) -> Episode:
        """Read an episode as it was written; ValueError naming the file where one is missing or damaged."""
        row = self._row(index)
        length, path = row["length"], self.path / layout.data_path(index)
        table = files.read_table(path)
        if table.num_rows != length:
            raise files.damaged(path, f"it holds {table.num_rows} rows, its episode {length} frames")
        try:
            episode = self._from_table(table, row)
        except (KeyError, ValueError, pa.ArrowException) as error:
            raise files.damaged(path, error) from error
        for camera in self.spec.cameras:
            video = self.path / layout.video_path(camera, index)
            episode.frames[camera] = decode_video(video, length)
        episode.validate(self.spec)
        return episode

    def _from_table(self, table: pa.Table, row: dict[str, Any]) -> Episode:
        t, num_actors, num_state = row["length"] - 1, row["num_actors"], len(self.spec.state_names)
        state = np.zeros((t + 1, 0), np.float32)
        actors = np.zeros((t + 1, 0), np.float32)
        if num_state:
            state = layout.column(table, "observation.state", num_state)
        if num_actors:
            actors = layout.column(table, "observation.actors", num_actors * len(ACTOR_FIELDS))
        return Episode(
            frames={},
            actions=layout.column(table, "action", self.spec.action.size)[:t],
            reward=layout.column(table, "next.reward")[:t],
            terminated=layout.column(table, "next.terminated")[:t],
            outcomes={o.name: layout.column(table, f"outcome.{o.name}")[:t] for o in self.spec.outcomes},
            state=state,
            actors=actors.reshape(t + 1, num_actors, len(ACTOR_FIELDS)),
            caption=row["tasks"][0],
            provenance=json.loads(row["provenance"]),
        )

    def cache(self, cameras: Collection[str] | None = None) -> FrameCache:
        """The memory-mapped arrays that training reads, of all `cameras` or of these; built on first use, rebuilt after
        episodes were added."""
        from simworld.data.cache import FrameCache  # here, because the cache is built from a store

        cache = FrameCache.of(self)
        return cache if cameras is None else cache.seen_by(cameras)

    def paths(self, index: int) -> list[Path]:
        """Every file that an episode consists of."""
        videos = [layout.video_path(camera, index) for camera in self.spec.cameras]
        return [self.path / p for p in (layout.episode_path(index), layout.data_path(index), *videos)]

    def _staged(self, index: int) -> Path:
        return self.path / "staging" / f"{index:06d}"

    def _row(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self._num:
            raise IndexError(f"episode {index} of a store that holds {self._num}")
        if index not in self._rows:
            path = self.path / layout.episode_path(index)
            table = files.read_table(path)
            missing = {"length", "tasks", "num_actors", "provenance", "dataset_to_index"} - set(table.column_names)
            if missing or table.num_rows != 1:
                raise files.damaged(path, f"it is not one episode's row, {sorted(missing)} are absent")
            self._rows[index] = table.to_pylist()[0]
        return self._rows[index]

    def _tasks(self) -> dict[str, int]:
        """Captions and their index, in order of first appearance; kept up to date by commits."""
        if self._task_index is None:
            self._task_index = {}
            for i in range(len(self)):
                self._task_index.setdefault(self._row(i)["tasks"][0], len(self._task_index))
        return self._task_index

    def _count(self) -> int:
        """Episodes that have a row; ValueError where one before the last, or that was counted, has none."""
        declared = self._declared()
        found = {p.relative_to(self.path) for p in (self.path / "meta/episodes").glob("chunk-*/file-*.parquet")}
        num = max(len(found), declared)
        for index in range(num):
            if layout.episode_path(index) not in found:
                raise files.damaged(self.path / layout.episode_path(index), FileNotFoundError())
        return num

    def _declared(self) -> int:
        path = self.path / "meta/info.json"
        raw = files.read_json(path)
        if not isinstance(raw, dict) or not isinstance(raw.get("total_episodes"), int):
            raise files.damaged(path, "it holds no total_episodes")
        return raw["total_episodes"]
