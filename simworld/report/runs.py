"""Runs kept on disk: the episodes of one policy in one world, so that a cut evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from simworld.data import files
from simworld.episode import Episode

PARTS = ("actions", "reward", "terminated", "state", "actors")


def file_stem(name: str) -> str:
    """A policy's name as part of a file name; different names give different stems."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.')[:48]}-{digest}"


def run_path(out: Path, policy: str, world: str) -> Path:
    """Where the runs of a policy in a world are kept."""
    return out / "runs" / f"{file_stem(policy)}.{world}.npz"


def without_frames(episode: Episode) -> Episode:
    """The same episode with no film, no state and no actors: all that rates and returns need."""
    t = episode.num_steps
    no_state, no_actors = np.zeros((t + 1, 0), np.float32), np.zeros((t + 1, 0, 9), np.float32)
    return replace(episode, frames={}, state=no_state, actors=no_actors)


def save_run(path: Path, key: dict[str, Any], episodes: Sequence[Episode]) -> None:
    """Write episodes with the `key` (JSON-like) that says what they are; whole or not at all."""
    arrays: dict[str, Any] = {"key": _text(key)}
    for i, episode in enumerate(episodes):
        about = {"caption": episode.caption, "provenance": episode.provenance}
        arrays[f"{i}/about"] = _text(about)
        arrays |= {f"{i}/{part}": getattr(episode, part) for part in PARTS}
        arrays |= {f"{i}/frames/{camera}": film for camera, film in episode.frames.items()}
        arrays |= {f"{i}/outcomes/{name}": values for name, values in episode.outcomes.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.write_bytes(path, buffer.getvalue())


def load_run(path: Path, key: dict[str, Any]) -> list[Episode] | None:
    """The episodes that were saved under an equal `key`; None where there are none, or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
        if json.loads(str(arrays["key"])) != json.loads(json.dumps(key)):
            return None
        num = sum(name.endswith("/about") for name in arrays)
        return [_episode(arrays, i) for i in range(num)]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, EOFError):
        return None


def _episode(arrays: dict[str, Any], index: int) -> Episode:
    about = json.loads(str(arrays[f"{index}/about"]))
    groups: dict[str, dict[str, Any]] = {"frames": {}, "outcomes": {}}
    for name, values in arrays.items():
        number, _, rest = name.partition("/")
        group, _, member = rest.partition("/")
        if number == str(index) and member:
            groups[group][member] = values
    parts: dict[str, Any] = {part: arrays[f"{index}/{part}"] for part in PARTS}
    return Episode(
        frames=groups["frames"],
        outcomes=groups["outcomes"],
        caption=about["caption"],
        provenance=about["provenance"],
        **parts,
    )


def _text(value: Any) -> Any:
    return np.array(json.dumps(value))
