"""The command: what it writes, and one sentence for what it can not do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simworld.cli import main, parse


def test_words_become_options() -> None:
    words = ["scenario=a b/[x],1.xosc", "ego=constant:0,0.3", "actor.lead.brake=6", "sweep.actor.lead.brake=[2,4]"]
    options = parse("replay", words)
    assert options["scenario_file"] == "a b/[x],1.xosc" and options["ego"] == "constant:0,0.3"
    assert options["changes"] == ["actor.lead.brake=6"] and options["sweep"] == ["actor.lead.brake=[2,4]"]
    assert options["world"] == "mujoco" and options["branch_at"] is None


def test_a_replay_leaves_report_film_and_page(
    examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["replay", f"scenario={examples / 'tank_crossing.xosc'}", "duration_s=7.0", f"out={tmp_path}"])
    report = json.loads((tmp_path / "report.json").read_text())["replay"]
    assert report["first_collision_s"] == pytest.approx(6.64, abs=0.05) and report["actors"] == 2
    assert report["collisions"][0]["delta_v_mps"]["Ego"] > 10 and report["unsupported"] == []
    assert (tmp_path / "film.mp4").stat().st_size > 1000
    assert "data:video/mp4" in (tmp_path / "replay.html").read_text()
    assert "collide at 6.6" in capsys.readouterr().out


def test_a_sweep_leaves_a_table(examples: Path, tmp_path: Path) -> None:
    scenario = f"scenario={examples / 'hard_braking_lead.xosc'}"
    sweep = "sweep.actor.lead.brake=[1,9]"
    main(["replay", scenario, "branch_at=2.0", "action=coast", sweep, "film=false", "duration_s=9", f"out={tmp_path}"])
    found = json.loads((tmp_path / "report.json").read_text())["what_if"]
    assert [f["mujoco"]["collision"] for f in found["futures"]] == [False, False, True]
    assert found["tips"][0]["from"] == 1.0 and "tips" in (tmp_path / "replay.html").read_text()


def test_a_recorder_log_becomes_json(shared: Path, tmp_path: Path) -> None:
    log = shared / "carla_recorder/DistanceToLaneCenter.log"
    main(["replay", f"scenario={log}", "export=json", "film=false", "duration_s=0.5", f"out={tmp_path}"])
    found = json.loads((tmp_path / "DistanceToLaneCenter.json").read_text())
    assert len(found["frames"]) == 432
    car = next(a for a in found["frames"][100]["actors"].values() if "control" in a)
    assert {"location_m", "velocity_mps", "control"} <= set(car)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scenario=nothing.xosc"], "nothing.xosc"),
        (["scenario={bad}"], "none of"),
        (["scenario={road}"], "no actors"),
        (["scenario={cut_in}", "world=unreal"], "mujoco"),
        (["scenario={cut_in}", "ego=constant:0,5"], "5"),
        (["scenario={cut_in}", "ego=driving:expert"], "own state"),
        (["scenario={cut_in}", "export=json"], "recorder logs"),
        (["scenario={cut_in}", "action=brake"], "branch_at"),
        (["scenario={cut_in}", "branch_at=2"], "something to be different"),
        (["scenario={cut_in}", "branch_at=2", "action=jump"], "unknown action"),
        (["scenario={cut_in}", "branch_at=2", "actor.nobody.brake=3"], "did you mean"),
        (["scenario={cut_in}", "branch_at=99", "action=brake"], "branch_at"),
        (["scenario={cut_in}", "duration_s=-1"], "duration_s"),
        (["scenario=generated:x"], "generated:0:3"),
        ([], "scenario"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], said: str, examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.txt").write_text("hello")
    names = {"bad": tmp_path / "bad.txt", "road": examples / "street.xodr", "cut_in": examples / "cut_in.xosc"}
    with pytest.raises(SystemExit) as stop:
        main(["replay", *(w.format(**names) for w in words), "film=false", f"out={tmp_path / 'out'}"])
    assert stop.value.code == 2
    text = capsys.readouterr().err.strip()
    assert said in text and len(text.splitlines()) == 1
