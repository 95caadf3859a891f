"""RLDS: reads robot episodes stored as TensorFlow records, without TensorFlow.

The folder is what `tfds` writes: features.json, and files named *.tfrecord-*. A record holds one episode as a
tf.train.Example message whose lists run over the steps. An RLDS step is an observation and the action chosen
there, so the last step's action leads nowhere and is left out: n steps make an episode of n - 1 actions.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from simworld.data.files import read_json
from simworld.episode import ActionSpec, Episode, EpisodeSpec

# A feature of an Example: byte strings (images, text), or numbers.
Feature: TypeAlias = list[bytes] | NDArray[Any]
Record: TypeAlias = dict[str, Feature]

OBSERVATION = "steps/observation/"


def rlds_spec(folder: Path, *, dt_s: float, cameras: tuple[str, ...] | None = None) -> EpisodeSpec:
    """The spec of all episodes in a folder; action bounds are the least and greatest that occur.

    `dt_s` is the time between steps, which RLDS does not record (BridgeData V2: 0.2). `cameras` picks some of
    the image observations. Raises ValueError where the folder or a camera is not there, or files are damaged.
    """
    observation = _observation_features(folder)
    images = {n: f["image"]["shape"]["dimensions"] for n, f in observation.items() if "image" in f}
    missing = [c for c in cameras or () if c not in images]
    if missing:
        raise ValueError(f"{folder} has no camera {missing[0]!r}; it has {', '.join(sorted(images))}")
    actions = np.concatenate([_numbers(record, "steps/action", _num_steps(record)) for record in _examples(folder)])
    size = _state_size(observation)
    return EpisodeSpec(
        env_id=str(read_json(folder / "dataset_info.json")["name"]),
        cameras={c: (int(images[c][0]), int(images[c][1])) for c in cameras or sorted(images)},
        action=ActionSpec("continuous", tuple(actions.min(0).tolist()), tuple(actions.max(0).tolist())),
        dt_s=dt_s,
        state_names=tuple(f"state_{i}" for i in range(size)),
        state_units=("",) * size,
    )


def read_rlds(folder: Path, spec: EpisodeSpec) -> Iterator[Episode]:
    """The episodes of a folder, in the order of its files; ValueError where one is damaged."""
    for index, record in enumerate(_examples(folder)):
        num = _num_steps(record)
        if num < 2:
            continue  # a single observation: nothing was done
        terminated = np.zeros(num - 1, bool)
        terminated[-1] = bool(_numbers(record, "steps/is_terminal", num)[-1, 0])
        state = np.zeros((num, 0), np.float32)
        if spec.state_names:
            state = _numbers(record, f"{OBSERVATION}state", num).astype(np.float32)
        episode = Episode(
            frames={camera: _frames(record, camera) for camera in spec.cameras},
            actions=_numbers(record, "steps/action", num)[:-1].astype(np.float32),
            reward=_reward(_numbers(record, "steps/reward", num)[:, 0]),
            terminated=terminated,
            outcomes={},
            state=state,
            actors=np.zeros((num, 0, 9), np.float32),
            caption=_caption(record),
            provenance={"source": "rlds", "dataset": spec.env_id, "record": index},
        )
        episode.validate(spec)
        yield episode


def _observation_features(folder: Path) -> dict[str, Any]:
    raw = read_json(folder / "features.json")
    try:
        steps = raw["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
        return steps["observation"]["featuresDict"]["features"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'features.json'} describes no RLDS steps with observations") from error


def _state_size(observation: dict[str, Any]) -> int:
    return int(observation["state"]["tensor"]["shape"]["dimensions"][0]) if "state" in observation else 0


def _num_steps(record: Record) -> int:
    if "steps/is_first" not in record:
        raise ValueError(f"a record holds no steps/is_first, but {', '.join(sorted(record)) or 'nothing'}")
    return len(record["steps/is_first"])


def _reward(reward: NDArray[Any]) -> NDArray[np.float32]:
    """Rewards of the n - 1 actions; demonstrations mark success on the last step, whose own action is left out."""
    kept = reward[:-1].astype(np.float32)
    kept[-1] += reward[-1]
    return kept


def _numbers(record: Record, name: str, num: int) -> NDArray[Any]:
    """A feature as (num steps, size)."""
    values = np.asarray(record.get(name, []))
    if not values.size or values.dtype.kind not in "fi" or values.size % num:
        raise ValueError(f"a record of {num} steps holds no numbers for each step under {name}")
    return values.reshape(num, -1)


def _frames(record: Record, camera: str) -> NDArray[np.uint8]:
    try:
        images = [Image.open(io.BytesIO(data)) for data in record[f"{OBSERVATION}{camera}"]]
        return np.stack([np.asarray(image.convert("RGB")) for image in images])
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"a record's images of {camera!r} can not be read: {error}") from error


def _caption(record: Record) -> str:
    said = record.get("steps/language_instruction")
    return said[0].decode(errors="replace") if isinstance(said, list) and said else ""


def _examples(folder: Path) -> Iterator[Record]:
    paths = sorted(Path(folder).glob("*.tfrecord*"))
    if not paths:
        raise ValueError(f"{folder} holds no *.tfrecord files")
    for path in paths:
        for payload in _payloads(path):
            try:
                yield _example(payload)
            except (IndexError, KeyError, ValueError, struct.error) as error:
                raise ValueError(f"{path} is damaged: a record is no tf.train.Example ({error})") from error


def _payloads(path: Path) -> Iterator[bytes]:
    """TFRecord framing: u64 length, u32 checksum of the length, payload, u32 checksum of the payload."""
    with open(path, "rb") as file:
        while head := file.read(12):
            length = int.from_bytes(head[:8], "little")
            if len(head) < 12 or _masked_crc(head[:8]) != int.from_bytes(head[8:], "little"):
                raise ValueError(f"{path} is damaged: no record begins where one should")
            payload = file.read(length)
            if len(payload) < length or len(file.read(4)) < 4:
                raise ValueError(f"{path} is cut off in the middle of a record; download it again")
            yield payload


def _masked_crc(data: bytes) -> int:
    """CRC-32C, rotated and offset as TFRecord does."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _example(payload: bytes) -> Record:
    """tf.train.Example: features (1) -> map (1) of name (1) to a Feature (2) with one of three lists."""
    record: Record = {}
    for _, features in _fields(payload):
        for _, entry in _fields(features):
            pair = dict(_fields(entry))
            lists = list(_fields(pair[2]))
            if lists:
                kind, values = lists[0]
                record[pair[1].decode()] = _values(kind, values)
    return record


def _values(kind: int, message: bytes) -> Feature:
    """bytes_list (1), float_list (2) or int64_list (3); numbers come packed or one by one."""
    parts = [value for _, value in _fields(message)]
    if kind == 1:
        return parts
    if kind == 2:
        return np.frombuffer(b"".join(parts), "<f4")
    numbers: list[int] = []
    for part in parts:
        at = 0
        while at < len(part):
            value, at = _varint(part, at)
            numbers.append(value - (1 << 64) if value >> 63 else value)
    return np.array(numbers, np.int64)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(field number, raw value) of a protobuf message; a varint's value stays encoded."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        start = at
        wire = key & 7
        if wire == 0:
            _, end = _varint(message, at)
        elif wire == 2:
            size, start = _varint(message, at)
            end = start + size
        elif wire in (1, 5):
            end = at + (8 if wire == 1 else 4)
        else:
            raise ValueError(f"wire type {wire}")
        if end > len(message):
            raise ValueError("a field runs past the end")
        yield key >> 3, message[start:end]
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
