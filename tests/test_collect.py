"""collect(): the same bytes however it ran, whatever died on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from simworld.collect import Collected, collect, resolve
from simworld.data.files import locked
from simworld.data.store import EpisodeStore

TOY = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def toy_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TOY)


def run(out: Path, episodes: int = 8, workers: int = 2, **changes: Any) -> Collected:
    options = {"make_env": "toyworld:make", "plan": "toyworld:plan", "seed": 3, "env_options": {"size": 16}} | changes
    return collect(out=out, episodes=episodes, workers=workers, progress=lambda line: None, **options)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes that one worker writes when nothing disturbs it."""
    sys.path.insert(0, str(TOY))
    try:
        out = tmp_path_factory.mktemp("whole") / "store"
        result = run(out, workers=1)
    finally:
        sys.path.remove(str(TOY))
    assert (result.num_episodes, result.num_new) == (8, 8)
    assert result.num_steps == sum(EpisodeStore(out).num_steps(i) for i in range(8))
    return contents(out)


def test_bytes_do_not_depend_on_workers_or_stops(tmp_path: Path, whole: dict[str, bytes]) -> None:
    first = run(tmp_path / "s", episodes=3)
    assert first.num_new == 3 and set(first.p_event) == {"hit"}
    assert run(tmp_path / "s").num_new == 5
    assert contents(tmp_path / "s") == whole
    assert run(tmp_path / "s").num_new == 0
    assert contents(tmp_path / "s") == whole


def test_another_recipe_is_refused(tmp_path: Path, whole: dict[str, bytes]) -> None:
    for name, data in whole.items():
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).write_bytes(data)
    with pytest.raises(ValueError, match="recorded with seed = 3, not 4; choose another folder"):
        run(tmp_path / "s", seed=4)
    with pytest.raises(ValueError, match="env_options"):
        run(tmp_path / "s", env_options={"size": 32})
    with pytest.raises(ValueError, match="plan"):
        run(tmp_path / "s", plan="toyworld:bad_plan")
    assert contents(tmp_path / "s") == whole


def test_a_deadly_episode_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    monkeypatch.delenv("TOY_ONCE", raising=False)
    with pytest.raises(RuntimeError, match="episode 2 killed its worker 2 times .* run the same command again"):
        run(tmp_path / "s", plan="toyworld:deadly_plan")
    store = EpisodeStore(tmp_path / "s")
    assert len(store) == 2 and [i for i in range(8) if store.is_staged(i)] == [3, 4, 5, 6, 7]
    # Now it kills its worker once more, and lets the worker's successor live.
    monkeypatch.setenv("TOY_ONCE", str(tmp_path / "once"))
    assert run(tmp_path / "s", plan="toyworld:deadly_plan").num_new == 6
    mine = contents(tmp_path / "s")
    assert {n: d for n, d in mine.items() if "simworld.json" not in n} == {
        n: d for n, d in whole.items() if "simworld.json" not in n
    }


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="episode 3 can not be recorded: the action of policy 'random' at step 0"):
        run(tmp_path / "s", plan="toyworld:bad_plan", workers=1)
    assert len(EpisodeStore(tmp_path / "s")) == 3
    with pytest.raises(ValueError, match="no function 'plam'; nearest: plan"):
        run(tmp_path / "t", plan="toyworld:plam", workers=1)
    assert not (tmp_path / "t" / "meta").exists()
    with pytest.raises(ValueError, match="env_options must be"):
        run(tmp_path / "t", env_options={"size": {1, 2}})
    with pytest.raises(ValueError, match="at least 1"):
        run(tmp_path / "t", episodes=0)
    with locked(tmp_path / "u/.lock"), pytest.raises(ValueError, match="being recorded by another process"):
        run(tmp_path / "u")


def test_resolve_names() -> None:
    assert resolve("toyworld:make") is sys.modules["toyworld"].make
    with pytest.raises(ValueError, match="not of the form"):
        resolve("toyworld")
    with pytest.raises(ValueError, match="can not be imported: No module named 'nowhere'"):
        resolve("nowhere:make")


SCRIPT = """
import sys
from pathlib import Path
from simworld.collect import collect
if __name__ == "__main__":
    collect(make_env="toyworld:make", plan="toyworld:plan", out=Path(sys.argv[1]), episodes=int(sys.argv[2]),
            seed=3, workers=2, env_options={"size": 16})
"""


def test_kill_9_then_the_same_command_finishes(tmp_path: Path, whole: dict[str, bytes]) -> None:
    script, out = tmp_path / "go.py", tmp_path / "s"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script, out, "2000"], env=os.environ | {"PYTHONPATH": str(TOY)}, stdout=subprocess.DEVNULL
    )
    last = out / "meta/episodes/chunk-000/file-003.parquet"
    deadline = time.monotonic() + 60
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.3)  # its workers finish the episode at hand and leave
    num = len(EpisodeStore(out))
    assert num >= 4
    run(out, episodes=max(num, 8) + 6)
    mine = contents(out)
    assert not [name for name in mine if "staging" in name or ".tmp" in name]
    same = [name for name in whole if name.startswith(("data", "videos", "meta/episodes"))]
    assert {name: mine[name] for name in same} == {name: whole[name] for name in same}
