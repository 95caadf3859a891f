"""EpisodeStore: lossless, in the layout it claims, and safe against damage, kills and a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from simworld.data.store import EpisodeStore
from simworld.episode import ActionSpec, Episode, EpisodeSpec, OutcomeSpec

Same = Callable[[Episode, Episode], None]


def test_what_is_read_is_what_was_written(store: EpisodeStore, episodes: list[Episode], assert_same: Same) -> None:
    again = EpisodeStore(store.path)
    assert (len(again), again.spec, again.recipe) == (4, store.spec, {"seed": 1})
    for index, episode in enumerate(episodes):
        assert_same(episode, again.episode(index))
        assert again.num_steps(index) == episode.num_steps
        assert again.has_event(index, "collision") == (episode.outcomes["collision"] > 0).any()


def test_smallest_episode_round_trips(tmp_path: Path, assert_same: Same) -> None:
    spec = EpisodeSpec(
        env_id="tiny",
        cameras={"eye": (1, 3)},
        action=ActionSpec("discrete", n=4),
        outcomes=(OutcomeSpec("side", "category", categories=("left", "right")),),
        dt_s=1 / 30,
        state_names=("x_m",),
        state_units=("m",),
    )
    episode = Episode(
        frames={"eye": np.arange(18, dtype=np.uint8).reshape(2, 1, 3, 3)},
        actions=np.array([[3]], np.float32),
        reward=np.array([0.1], np.float32),
        terminated=np.array([True]),
        outcomes={"side": np.array([np.nan], np.float32)},
        state=np.array([[0.5], [np.nan]], np.float32),
        actors=np.zeros((2, 0, 9), np.float32),
    )
    store = EpisodeStore.create(tmp_path / "s", spec)
    store.append(episode)
    store.flush()
    assert_same(episode, EpisodeStore(tmp_path / "s").episode(0))
    bare = replace(spec, outcomes=(), state_names=(), state_units=())
    plain = replace(episode, outcomes={}, state=np.zeros((2, 0), np.float32))
    store = EpisodeStore.create(tmp_path / "bare", bare)
    store.append(plain)
    assert_same(plain, EpisodeStore(tmp_path / "bare").episode(0))
    assert store.cache().state.shape == (2, 0)


def test_layout_is_lerobot_v3(store: EpisodeStore, episodes: list[Episode]) -> None:
    root = store.path
    info = json.loads((root / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_tasks"]) == ("v3.0", 10, 4, 2)
    assert info["total_frames"] == sum(e.num_steps + 1 for e in episodes)
    tasks = pd.read_parquet(root / "meta/tasks.parquet")
    assert tasks.loc["a tank ahead", "task_index"] == 1
    row = pq.read_table(root / "meta/episodes/chunk-000/file-002.parquet").to_pylist()[0]
    assert (row["episode_index"], row["length"], row["tasks"]) == (2, 61, ["a tank ahead"])
    assert (row["dataset_from_index"], row["dataset_to_index"]) == (17, 78)
    assert (row["data/chunk_index"], row["data/file_index"]) == (0, 2)
    video = "videos/observation.images.front"
    assert (row[f"{video}/file_index"], row[f"{video}/from_timestamp"], row[f"{video}/to_timestamp"]) == (2, 0.0, 6.1)
    assert (root / video / "chunk-000/file-002.mp4").exists()
    table = pq.read_table(root / info["data_path"].format(chunk_index=0, file_index=2))
    columns = set(info["features"]) - {"observation.images.front", "observation.images.rear"}
    assert set(table.column_names) == columns
    frames = table.to_pandas()
    assert frames["index"].tolist() == list(range(17, 78))
    assert set(frames["task_index"]) == {1} and set(frames["episode_index"]) == {2}
    np.testing.assert_allclose(frames["timestamp"], np.arange(61) / 10, rtol=1e-6)
    assert frames["observation_only"].tolist() == [False] * 60 + [True]
    assert frames["next.done"].tolist() == [False] * 59 + [True, True]
    assert not np.any(frames["action"].iloc[-1])
    assert info["features"]["observation.actors"]["shape"] == [18]


def test_statistics_are_those_of_all_episodes(store: EpisodeStore, episodes: list[Episode]) -> None:
    stats = json.loads((store.path / "meta/stats.json").read_text())
    actions = np.concatenate([e.actions for e in episodes])
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0), atol=1e-6)
    np.testing.assert_allclose(stats["action"]["std"], actions.std(0), atol=1e-6)
    np.testing.assert_allclose(stats["action"]["max"], actions.max(0), atol=1e-6)
    pixels = np.concatenate([e.frames["rear"].reshape(-1, 3) for e in episodes]) / 255
    image = stats["observation.images.rear"]
    np.testing.assert_allclose(np.squeeze(image["mean"]), pixels.mean(0), atol=1e-9)
    np.testing.assert_allclose(np.squeeze(image["std"]), pixels.std(0), atol=1e-9)
    assert np.shape(image["min"]) == (3, 1, 1)
    assert "NaN" not in (store.path / "meta/stats.json").read_text()


def test_staged_in_any_order_gives_the_same_bytes(
    store: EpisodeStore, episodes: list[Episode], spec: EpisodeSpec, tmp_path: Path
) -> None:
    other = EpisodeStore.create(tmp_path / "other", spec, {"seed": 1})
    for index in (2, 3, 1):
        other.stage(index, episodes[index])
    assert other.commit() == 0
    other.stage(0, episodes[0])
    assert other.commit() == 4
    other.flush()
    assert _contents(other.path) == _contents(store.path)


@pytest.mark.parametrize("how", ["missing", "cut", "garbage"])
@pytest.mark.parametrize(
    "file",
    [
        "meta/simworld.json",
        "meta/info.json",
        "meta/episodes/chunk-000/file-001.parquet",
        "data/chunk-000/file-001.parquet",
        "videos/observation.images.front/chunk-000/file-001.mp4",
    ],
)
def test_damage_is_one_sentence_that_names_the_file(store: EpisodeStore, file: str, how: str) -> None:
    path = store.path / file
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if how == "cut" else b"no such thing" * 9)
    with pytest.raises(ValueError, match=Path(file).name) as error:
        EpisodeStore(store.path).episode(1)
    assert "\n" not in str(error.value) and any(w in str(error.value) for w in ("restore", "record"))


@pytest.mark.parametrize("text", ["[]", "{}", '{"version": 1}', '{"version": 1, "recipe": {}, "spec": {"env_id": 3}}'])
def test_wrong_json_is_refused(store: EpisodeStore, text: str) -> None:
    (store.path / "meta/simworld.json").write_text(text)
    with pytest.raises(ValueError, match="simworld.json"):
        EpisodeStore(store.path)


def test_refusals(store: EpisodeStore, spec: EpisodeSpec, make_episode: Callable[..., Episode], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no episode store"):
        EpisodeStore(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is not empty"):
        EpisodeStore.create(store.path, spec)
    with pytest.raises(IndexError, match="episode 4 of a store that holds 4"):
        store.episode(4)
    with pytest.raises(ValueError, match="cameras"):
        store.append(replace(make_episode(0, 3), frames={}))
    with pytest.raises(ValueError, match="5 actors, episode 0 2"):
        store.append(replace(make_episode(0, 3), actors=np.zeros((4, 5, 9), np.float32)))
    with pytest.raises(ValueError, match="can not name a file"):
        EpisodeStore.create(tmp_path / "bad", replace(spec, cameras={"a/b": (4, 4)}))


KILLED_AT_EACH_RENAME = """
import importlib.util, os, sys
conftest = importlib.util.module_from_spec(s := importlib.util.spec_from_file_location("conftest", sys.argv[1]))
s.loader.exec_module(conftest)
from simworld.data.store import EpisodeStore
for n in range(1, 26):
    pid = os.fork()
    if pid == 0:
        real, calls = os.replace, []
        def replace(*args):
            calls.append(1)
            if len(calls) == n:
                os._exit(9)
            real(*args)
        os.replace = replace
        store = EpisodeStore.create(f"{sys.argv[2]}/{n}", conftest.SPEC)
        for i in range(2):
            store.append(conftest._make_episode(i, 4))
        store.flush()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_kill_at_any_moment_leaves_whole_episodes(
    tmp_path: Path, spec: EpisodeSpec, make_episode: Callable[..., Episode], assert_same: Same
) -> None:
    conftest = Path(__file__).with_name("conftest.py")
    command = [sys.executable, "-c", KILLED_AT_EACH_RENAME, str(conftest), str(tmp_path)]
    codes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert codes[0] == "9" and codes[-1] == "0", "every rename of the recording is a moment to die at"
    seen, episodes = set(), [make_episode(i, 4) for i in range(2)]
    for n in range(1, 26):
        path = tmp_path / str(n)
        store = EpisodeStore(path) if (path / "meta").exists() else EpisodeStore.create(path, spec)
        seen.add(len(store))
        for i in range(len(store), 2):
            store.append(episodes[i])
        store.flush()
        for i in range(2):
            assert_same(episodes[i], EpisodeStore(path).episode(i))
    assert seen == {0, 1, 2}


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    store: EpisodeStore,
    make_episode: Callable[..., Episode],
    assert_same: Same,
    episodes: list[Episode],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = _contents(store.path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="the disk is full: .* free some space and run again"):
            store.append(make_episode(9, 5))
    assert _contents(store.path) == before
    assert_same(episodes[3], EpisodeStore(store.path).episode(3))
    if hasattr(os, "posix_fallocate"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "posix_fallocate", full)
            with pytest.raises(OSError, match="the disk is full"):
                store.cache()
        assert not list((store.path / "cache").glob("*.tmp"))
    store.append(make_episode(9, 5))
    assert len(EpisodeStore(store.path)) == 5


def test_a_copied_store_is_whole(
    store: EpisodeStore, episodes: list[Episode], assert_same: Same, tmp_path: Path
) -> None:
    shutil.copytree(store.path, tmp_path / "copy")
    assert_same(episodes[2], EpisodeStore(tmp_path / "copy").episode(2))


def _contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
