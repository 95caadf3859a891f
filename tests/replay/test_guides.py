"""Guides: tracks, the live storyboard, and what changes make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from replay_fakes import moving, rear_end, scene

from simworld.readers import read_scenario
from simworld.replay.changes import Change, changed, find_actor, grid, parse_change, parse_sweep
from simworld.replay.guides import ChangedGuide, StoryboardGuide, TrackGuide, live_guide


def test_the_live_storyboard_moves_as_its_recorded_tracks(examples: Path) -> None:
    scenario = read_scenario(examples / "hard_braking_lead.xosc")
    guide = live_guide(scenario)
    assert isinstance(guide, StoryboardGuide)
    for _ in range(400):
        guide.advance({})
    want = np.stack([a.track.at(4.0) for a in scenario.actors if a.track is not None])
    assert np.abs(guide.now[:, :2] - want[:, :2]).max() < 0.05
    moment = guide.snapshot()
    here = guide.now.copy()
    guide.advance({})
    assert np.abs(guide.now - here).max() > 0.01
    guide.restore(moment)
    assert (guide.now == here).all()


def test_braking_follows_the_path_and_the_formula() -> None:
    scenario = rear_end(lead_mps=12.0)
    future = changed(scenario, [Change("lead", "brake", "6")], 1.0, 4.0)
    track = future.actor("Lead").track
    assert track is not None
    start = scenario.actor("Lead").track.at(1.0)[0]  # type: ignore[union-attr]
    assert track.at(0.5)[3] == pytest.approx(12.0)
    assert track.at(2.0)[[0, 3]] == pytest.approx([start + 12 - 3, 6.0], abs=0.05)
    assert track.at(4.0)[[0, 3]] == pytest.approx([start + 12.0, 0.0], abs=0.1)  # v² / 2a
    changed(scenario, [Change("Lead", "brake", "6")], 0.15, 4.0)  # whose grid does not hold it exactly
    faster = changed(scenario, [Change("Lead", "speed", "15")], 1.0, 4.0).actor("Lead").track
    assert faster is not None and faster.at(4.0)[3] == pytest.approx(15.0)


def test_a_changed_guide_leaves_the_others_alone() -> None:
    scenario = rear_end()
    future = changed(scenario, [Change("Lead", "brake", "8")], 1.0, 4.0)
    guide = ChangedGuide(TrackGuide(scenario), future, ["Lead"])
    for _ in range(200):
        guide.advance({})
    assert guide.t_s == pytest.approx(2.0)
    assert guide.now[0, 3] == 20.0 and guide.now[1, 3] == pytest.approx(2.0, abs=0.05)


def test_changes_are_read_and_refused_in_words() -> None:
    change = parse_change("actor.Car.1.brake=6")
    assert (change.actor, change.what, change.number) == ("Car.1", "brake", 6.0)
    assert [c.number for c in parse_sweep("actor.a.brake=[2, 4]")] == [2.0, 4.0]
    assert len(grid([parse_sweep("actor.a.brake=[2,4]"), parse_sweep("actor.a.class=[car,tank]")])) == 4
    for text, match in (
        ("actor.a.brake", "no change"),
        ("actor.a.brakes=1", "can not be changed"),
        ("actor.a.brake=fast", "needs a number"),
        ("actor.a.brake=-1", "from 0"),
        ("actor.a.class=tanc", "tank"),
    ):
        with pytest.raises(ValueError, match=match):
            parse_change(text)
    with pytest.raises(ValueError, match="no sweep"):
        parse_sweep("actor.a.brake=2")
    scenario = scene(moving("ego", (0, 0), (1, 0)), moving("Lead", (9, 0), (1, 0)))
    assert find_actor(scenario, "LEAD").id == "Lead"
    with pytest.raises(ValueError, match="did you mean"):
        find_actor(scenario, "leed")
    with pytest.raises(ValueError, match="is the ego"):
        changed(scenario, [Change("ego", "brake", "3")], 1.0, 4.0)
