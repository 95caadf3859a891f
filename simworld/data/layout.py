"""The LeRobot v3.0 layout: where files lie, what columns they hold, and the metadata that describes them.

    meta/info.json                              format version, rate, features, counts
    meta/stats.json                             min, max, mean, std, count of every feature
    meta/tasks.parquet                          captions and their index
    meta/episodes/chunk-000/file-000.parquet    one row per episode
    data/chunk-000/file-000.parquet             one row per frame
    videos/observation.images.<camera>/chunk-000/file-000.mp4

Each episode has files of its own, so `file` counts episodes within chunks of 1000.

The format has one row per frame, and an episode of t steps has t + 1 frames. Its last row therefore closes the
episode: it holds the last frame, state and actors, a zero action, zero reward and NaN outcomes, and
`observation_only` is true in it alone. `next.done` is true at the last step and in the closing row;
`next.terminated` at the last step, where the episode ended in a terminal state.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from simworld.data.video import frame_rate
from simworld.episode import ACTOR_FIELDS, Episode, EpisodeSpec

CHUNK_SIZE = 1000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODE_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"


def place(index: int) -> dict[str, int]:
    """Chunk and file of an episode."""
    return {"chunk_index": index // CHUNK_SIZE, "file_index": index % CHUNK_SIZE}


def data_path(index: int) -> Path:
    return Path(DATA_PATH.format(**place(index)))


def episode_path(index: int) -> Path:
    return Path(EPISODE_PATH.format(**place(index)))


def video_key(camera: str) -> str:
    return f"observation.images.{camera}"


def video_path(camera: str, index: int) -> Path:
    return Path(VIDEO_PATH.format(video_key=video_key(camera), **place(index)))


def features(spec: EpisodeSpec, num_actors: int) -> dict[str, Any]:
    """The `features` of meta/info.json."""
    rate = frame_rate(spec.dt_s)
    found: dict[str, Any] = {}
    for camera, (h, w) in spec.cameras.items():
        video = {"height": h, "width": w, "codec": "h264", "pix_fmt": "gbrp", "fps": _number(rate), "channels": 3}
        found[video_key(camera)] = {
            "dtype": "video",
            "shape": [h, w, 3],
            "names": ["height", "width", "channels"],
            "info": {f"video.{name}": value for name, value in video.items()}
            | {"video.is_depth_map": False, "has_audio": False},
        }
    found["action"] = _feature("float32", spec.action.size, [f"action_{i}" for i in range(spec.action.size)])
    if spec.state_names:
        found["observation.state"] = _feature("float32", len(spec.state_names), list(spec.state_names))
    if num_actors:
        names = [f"actor_{i}.{name}" for i in range(num_actors) for name in ACTOR_FIELDS]
        found["observation.actors"] = _feature("float32", len(names), names)
    found["next.reward"] = _feature("float32", 1)
    found |= {name: _feature("bool", 1) for name in ("next.terminated", "next.done", "observation_only")}
    found |= {f"outcome.{o.name}": _feature("float32", 1) for o in spec.outcomes}
    found["timestamp"] = _feature("float32", 1)
    return found | {name: _feature("int64", 1) for name in ("frame_index", "episode_index", "index", "task_index")}


def _feature(dtype: str, size: int, names: list[str] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [size], "names": names}


def _number(rate: Any) -> int | float:
    return int(rate) if rate.denominator == 1 else float(rate)


def info(spec: EpisodeSpec, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """meta/info.json for the given episode rows."""
    return {
        "codebase_version": "v3.0",
        "robot_type": spec.env_id,
        "fps": _number(frame_rate(spec.dt_s)),
        "features": features(spec, rows[0]["num_actors"] if rows else 0),
        "total_episodes": len(rows),
        "total_frames": sum(row["length"] for row in rows),
        "total_tasks": len({row["tasks"][0] for row in rows}),
        "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "splits": {"train": f"0:{len(rows)}"},
    }


def frame_columns(episode: Episode, spec: EpisodeSpec) -> dict[str, NDArray[Any]]:
    """One row per frame (t + 1), without the columns that depend on the episodes before it."""
    t = episode.num_steps
    columns: dict[str, NDArray[Any]] = {"action": _closed(episode.actions, 0.0)}
    if spec.state_names:
        columns["observation.state"] = np.asarray(episode.state, np.float32)
    if episode.actors.shape[1]:
        columns["observation.actors"] = np.asarray(episode.actors, np.float32).reshape(t + 1, -1)
    columns["next.reward"] = _closed(episode.reward, 0.0)
    columns["next.terminated"] = np.append(episode.terminated, False)
    columns["next.done"] = np.arange(t + 1) >= t - 1
    columns["observation_only"] = np.arange(t + 1) == t
    for outcome in spec.outcomes:
        columns[f"outcome.{outcome.name}"] = _closed(episode.outcomes[outcome.name], np.nan)
    columns["timestamp"] = (np.arange(t + 1) / float(frame_rate(spec.dt_s))).astype(np.float32)
    columns["frame_index"] = np.arange(t + 1)
    return columns


def _closed(steps: NDArray[Any], fill: float) -> NDArray[np.float32]:
    """Per-step values (t, ...) with one more row of `fill`."""
    return np.concatenate([steps, np.full((1, *steps.shape[1:]), fill)]).astype(np.float32)


def to_table(columns: dict[str, NDArray[Any]]) -> pa.Table:
    """Arrow columns; a feature of one number is a plain column, more numbers a fixed-size list."""
    arrays = {}
    for name, values in columns.items():
        if values.ndim == 2 and values.shape[1] > 1:
            arrays[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
        else:
            arrays[name] = pa.array(values.reshape(-1))
    return pa.table(arrays)


def column(table: pa.Table, name: str, size: int | None = None) -> NDArray[Any]:
    """A column as an array (rows,), or (rows, size) where a size is given."""
    array = table.column(name).combine_chunks()
    if isinstance(array, pa.FixedSizeListArray):
        array = array.flatten()
    values = array.to_numpy(zero_copy_only=False)
    return values.copy() if size is None else values.reshape(-1, size).copy()


def statistics(episode: Episode, columns: dict[str, NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """min, max, mean, std and count per feature; NaN and the closing row's zeros are left out."""
    found = {}
    for camera, frames in episode.frames.items():
        found[video_key(camera)] = _image_statistics(frames)
    for name, values in columns.items():
        per_step = name in ("action", "next.reward") or name.startswith("outcome.")
        table = values[: episode.num_steps] if per_step else values
        found[name] = _column_statistics(table.reshape(len(table), -1).astype(np.float64))
    return found


def _image_statistics(frames: NDArray[np.uint8]) -> dict[str, Any]:
    """Per channel and in [0, 1], shaped (3, 1, 1), which is how readers of the format normalise images."""
    # From a count of the 256 levels: several times faster than passes over the pixels, and exact.
    counts = np.stack([np.bincount(frames[..., c].ravel(), minlength=256) for c in range(3)])
    levels = np.arange(256) / 255.0
    mean = (counts * levels).sum(1) / counts.sum(1)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1)
    seen = [levels[c > 0] for c in counts]
    each = {"min": [s.min() for s in seen], "max": [s.max() for s in seen], "mean": mean, "std": np.sqrt(variance)}
    return {name: np.reshape(v, (3, 1, 1)).tolist() for name, v in each.items()} | {"count": [len(frames)]}


def _column_statistics(values: NDArray[np.float64]) -> dict[str, Any]:
    here = np.isfinite(values)
    count = np.maximum(here.sum(0), 1)
    mean = np.where(here, values, 0.0).sum(0) / count
    variance = np.where(here, (values - mean) ** 2, 0.0).sum(0) / count
    empty = ~here.any(0)
    low = np.where(empty, 0.0, np.where(here, values, np.inf).min(0))
    high = np.where(empty, 0.0, np.where(here, values, -np.inf).max(0))
    return {
        "min": low.tolist(),
        "max": high.tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [len(values)],
    }


def pooled_statistics(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """meta/stats.json: the episodes' statistics pooled, weighted by their counts."""
    pooled: dict[str, dict[str, Any]] = {}
    names = (
        [key.split("/")[1] for key in rows[0] if key.startswith("stats/") and key.endswith("/count")] if rows else []
    )
    for name in names:
        per = {k: np.array([row[f"stats/{name}/{k}"] for row in rows]) for k in ("min", "max", "mean", "std", "count")}
        weight = per["count"].reshape(-1, *[1] * (per["mean"].ndim - 1)) / per["count"].sum()
        mean = (weight * per["mean"]).sum(0)
        variance = (weight * (per["std"] ** 2 + (per["mean"] - mean) ** 2)).sum(0)
        pooled[name] = {
            "min": per["min"].min(0).tolist(),
            "max": per["max"].max(0).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(variance).tolist(),
            "count": [int(per["count"].sum())],
        }
    return pooled


def episode_row(index: int, first_frame: int, spec: EpisodeSpec, staged: dict[str, Any]) -> dict[str, Any]:
    """The row of meta/episodes for an episode whose first frame is row `first_frame` of the whole store."""
    length = staged["length"]
    row: dict[str, Any] = {"episode_index": index, "tasks": [staged["caption"]], "length": length}
    row |= {"dataset_from_index": first_frame, "dataset_to_index": first_frame + length}
    row |= {f"data/{k}": v for k, v in place(index).items()}
    for camera in spec.cameras:
        key = f"videos/{video_key(camera)}"
        row |= {f"{key}/{k}": v for k, v in place(index).items()}
        row |= {f"{key}/from_timestamp": 0.0, f"{key}/to_timestamp": length / float(frame_rate(spec.dt_s))}
    for feature, stats in staged["stats"].items():
        row |= {f"stats/{feature}/{name}": value for name, value in stats.items()}
    row |= {f"meta/episodes/{k}": v for k, v in place(index).items()}
    return row | {"num_actors": staged["num_actors"], "provenance": json.dumps(staged["provenance"], sort_keys=True)}


def tasks_table(captions: list[str]) -> pa.Table:
    """meta/tasks.parquet: a pandas frame whose index is the caption."""
    frame = pd.DataFrame({"task_index": np.arange(len(captions))}, index=pd.Index(captions, name="task"))
    return pa.Table.from_pandas(frame)


def row_table(row: dict[str, Any]) -> pa.Table:
    """A file of meta/episodes: one row."""
    return pa.Table.from_pylist([row])
