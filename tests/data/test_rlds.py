"""RLDS reader: hand-built records with known values, and a real BridgeData file where it is at hand."""

from __future__ import annotations

import io
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simworld.data.rlds import _masked_crc, read_rlds, rlds_spec
from simworld.data.store import EpisodeStore
from simworld.episode import Episode

BRIDGE = Path(__file__).parents[3] / "shared/data/bridge_rlds"


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def example(lists: dict[str, bytes]) -> bytes:
    return field(1, b"".join(field(1, field(1, name.encode()) + field(2, data)) for name, data in lists.items()))


def floats(values: list[float], packed: bool = True) -> bytes:
    if packed:
        return field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
    return field(2, b"".join(varint(1 << 3 | 5) + struct.pack("<f", v) for v in values))


def ints(values: list[int], packed: bool = True) -> bytes:
    if packed:
        return field(3, field(1, b"".join(varint(v) for v in values)))
    return field(3, b"".join(varint(1 << 3) + varint(v) for v in values))


def strings(values: list[bytes]) -> bytes:
    return field(1, b"".join(field(1, v) for v in values))


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_dataset(folder: Path, packed: bool) -> Path:
    payload = example(
        {
            "steps/is_first": ints([1, 0, 0], packed),
            "steps/is_terminal": ints([0, 0, 1], packed),
            "steps/reward": floats([0.5, 0.0, 1.0], packed),
            "steps/action": floats([0.0, -1.0, 0.25, 2.0, 9.0, 9.0], packed),
            "steps/observation/eye": strings([png(10), png(20), png(30)]),
            "steps/observation/state": floats([1.0, 2.0, 3.0], packed),
            "steps/language_instruction": strings([b"push the cup"] * 3),
            "episode_metadata/id": ints([-7], packed),
        }
    )
    head = struct.pack("<Q", len(payload))
    record = head + struct.pack("<I", _masked_crc(head)) + payload + struct.pack("<I", 0)
    folder.mkdir()
    (folder / "x-train.tfrecord-00000-of-00001").write_bytes(record * 2)
    (folder / "dataset_info.json").write_text('{"name": "cups"}')
    observation = {
        "eye": {"image": {"shape": {"dimensions": ["4", "6", "3"]}}},
        "state": {"tensor": {"shape": {"dimensions": ["1"]}}},
    }
    steps = {"featuresDict": {"features": {"observation": {"featuresDict": {"features": observation}}}}}
    features = {"featuresDict": {"features": {"steps": {"sequence": {"feature": steps}}}}}
    (folder / "features.json").write_text(json.dumps(features))
    return folder


def test_checksum_is_crc32c() -> None:
    # RFC 3720, B.4: the CRC-32C of 32 zero bytes is 0x8A9136AA.
    crc = 0x8A9136AA
    assert _masked_crc(bytes(32)) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("packed", [True, False])
def test_known_records(tmp_path: Path, packed: bool) -> None:
    folder = write_dataset(tmp_path / "d", packed)
    spec = rlds_spec(folder, dt_s=0.2)
    assert (spec.env_id, spec.cameras, spec.dt_s, spec.state_names) == ("cups", {"eye": (4, 6)}, 0.2, ("state_0",))
    assert (spec.action.low, spec.action.high) == ((0.0, -1.0), (9.0, 9.0))
    episodes = list(read_rlds(folder, spec))
    assert len(episodes) == 2
    episode = episodes[1]
    assert episode.actions.tolist() == [[0.0, -1.0], [0.25, 2.0]]
    assert episode.reward.tolist() == [0.5, 1.0] and episode.terminated.tolist() == [False, True]
    assert episode.frames["eye"][:, 0, 0, 0].tolist() == [10, 20, 30]
    assert episode.state.tolist() == [[1.0], [2.0], [3.0]]
    assert episode.caption == "push the cup" and episode.provenance["record"] == 1


def test_damage_is_named(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", True)
    file = folder / "x-train.tfrecord-00000-of-00001"
    data = file.read_bytes()
    file.write_bytes(data[:-30])
    with pytest.raises(ValueError, match="tfrecord-00000-of-00001 is cut off"):
        rlds_spec(folder, dt_s=0.2)
    file.write_bytes(b"\x01" + data[1:])
    with pytest.raises(ValueError, match="no record begins"):
        rlds_spec(folder, dt_s=0.2)
    file.write_bytes(data[:12] + b"\xff" * (len(data) // 2 - 16) + data[len(data) // 2 - 4 :])
    with pytest.raises(ValueError, match="no tf.train.Example"):
        rlds_spec(folder, dt_s=0.2)
    file.write_bytes(data)
    with pytest.raises(ValueError, match="no camera 'nose'; it has eye"):
        rlds_spec(folder, dt_s=0.2, cameras=("nose",))
    file.unlink()
    with pytest.raises(ValueError, match="holds no \\*.tfrecord files"):
        rlds_spec(folder, dt_s=0.2)
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match="features.json is missing"):
        rlds_spec(folder, dt_s=0.2)


@pytest.mark.skipif(not BRIDGE.exists(), reason="../shared/data/bridge_rlds is absent")
def test_bridge_data_goes_into_a_store(tmp_path: Path, assert_same: Callable[[Episode, Episode], None]) -> None:
    spec = rlds_spec(BRIDGE, dt_s=0.2, cameras=("image_0", "image_2"))
    episodes = list(read_rlds(BRIDGE, spec))
    assert len(episodes) == 25 and {e.num_steps for e in episodes} == {9}
    assert episodes[0].caption == "put cup from counter or drying rack into sink"
    assert spec.action.size == 7 and spec.action.high[6] == 1.0
    moved = [np.abs(np.diff(e.frames["image_0"].astype(int), axis=0)).mean() for e in episodes]
    assert all(0.5 < m < 40 for m in moved), "neighbouring frames differ a little"
    store = EpisodeStore.create(tmp_path / "s", spec)
    for episode in episodes[:3]:
        store.append(episode)
    assert_same(episodes[2], EpisodeStore(tmp_path / "s").episode(2))
