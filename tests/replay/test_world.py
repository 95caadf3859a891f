"""The MuJoCo scenario world: tracks kept, contacts with mass, overlaps of the source that are no crashes, branches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from replay_fakes import moving, rear_end, scene
from simworld.envs.scenario.world import ScenarioWorld, WorldConfig

from simworld.replay.guides import TrackGuide
from simworld.replay.run import ReplayConfig, open_world, replay
from simworld.scenario import BODIES, Road, Scenario, ScenarioActor

BLIND = ReplayConfig(film=False)


def world_of(scenario: Scenario) -> ScenarioWorld:
    return ScenarioWorld(scenario, TrackGuide(scenario))


def go(world: ScenarioWorld, t_s: float, action: tuple[float, float] | None = None) -> None:
    while world.t_s < t_s - 1e-6:
        world.step(None if action is None else np.array(action))


def test_tracks_are_kept_until_the_bodies_meet_and_momentum_after() -> None:
    result = replay(rear_end(), None, BLIND)
    (crash,) = result.collisions
    assert crash.t_s == pytest.approx(3.0, abs=0.02) and {crash.a, crash.b} == {"ego", "Lead"}
    assert result.track_error_m is not None and result.track_error_m < 1e-3
    # Equal masses at 10 m/s, hardly any bounce: each changes by about half of it.
    assert crash.delta_v_a_mps == pytest.approx(5.0, abs=0.9) and crash.delta_v_b_mps == pytest.approx(5.0, abs=0.9)
    assert crash.closing_mps == pytest.approx(10.0, abs=0.1) and crash.side == "front"


def test_a_tank_hardly_moves() -> None:
    (crash,) = replay(rear_end(kind="tank"), None, BLIND).collisions
    assert crash.delta_v_a_mps > 8.5 and crash.delta_v_b_mps < 0.5


def test_the_bodies_part_with_what_the_contact_left_them() -> None:
    world = world_of(rear_end())
    go(world, 2.9)
    before = world.physics.velocity[:, 0].copy()
    go(world, 3.3)
    after = world.physics.velocity[:, 0]
    assert before == pytest.approx([20.0, 10.0]) and after[0] <= after[1] + 0.3
    mass = world.physics.mass_kg
    # Friction takes at most 4 and 6 m/s2 for 0.3 s.
    assert (mass * after).sum() == pytest.approx((mass * before).sum(), rel=0.12)


def test_actors_that_wait_for_a_policy_are_absent_and_named() -> None:
    waits = ScenarioActor("w", "car", BODIES["car"], (40.0, 0.0, 0.0), behaviour={"kind": "start"})
    result = replay(scene(moving("ego", (0, 0), (15, 0)), waits), None, BLIND)
    assert not result.collisions and result.absent == ["w"]
    assert any(n["element"] == "actor w" and "not there" in n["instead"] for n in result.to_json()["unsupported"])


def test_an_ego_that_waits_leaves_its_cameras_at_its_start() -> None:
    waits = ScenarioActor("ego", "car", BODIES["car"], (0.0, 0.0, 0.0), behaviour={"kind": "start"})
    scenario = scene(waits, moving("a", (30, 0), (5, 0)), duration_s=1.0)
    world = world_of(scenario)
    assert world.draw()["front"].shape == (64, 64, 3) and np.isnan(world.state()).all()
    world.take_wheel()
    go(world, 1.0, (0.0, 1.0))
    assert world.ego_present and world.state()[0] > 2.0
    world.close()


def test_overlaps_of_the_source_are_told_and_not_counted() -> None:
    slides = scene(moving("ego", (0, 0), (10, 0)), moving("b", (0, 2.0), (10, -0.06)))
    result = replay(slides, None, BLIND)
    assert not result.collisions and [o[:2] for o in result.overlaps] == [("ego", "b")]
    assert any("overlap" in n["instead"] for n in result.notes)
    inside = scene(moving("ego", (0, 0), (10, 0)), moving("b", (16, 0), (10, 0), t0=1.5))
    result = replay(inside, None, BLIND)  # it appears inside the ego
    assert not result.collisions and result.overlaps[0][2] == pytest.approx(1.5, abs=0.03)


def test_actors_come_and_go_with_their_tracks() -> None:
    world = world_of(scene(moving("ego", (0, 0), (10, 0)), moving("b", (50, 0), (1, 0), t0=1.0, t1=2.0)))
    seen = []
    for t_s in (0.5, 1.5, 2.5):
        go(world, t_s)
        seen.append("b" in world.poses())
    assert seen == [False, True, False]


def test_a_moment_comes_back_exactly() -> None:
    world = world_of(rear_end())
    go(world, 2.5)
    moment = world.snapshot()
    go(world, 4.0)
    first = (world.physics.pose.copy(), world.crashes())
    world.restore(moment)
    assert world.t_s == pytest.approx(2.5) and not world.crashes()
    go(world, 4.0)
    assert (world.physics.pose == first[0]).all() and world.crashes() == first[1]


def test_the_ego_is_driven_as_in_the_driving_env() -> None:
    world = world_of(scene(moving("ego", (0, 0), (20, 0))))
    world.take_wheel()
    go(world, 1.0, (0.0, -1.0))
    assert world.state()[0] == pytest.approx(12.0, abs=0.4)
    with pytest.raises(ValueError, match="give an action"):
        world.step()


def test_pictures_show_road_and_actors() -> None:
    scenario = scene(moving("ego", (0, 0), (10, 0)), moving("b", (14, 0), (10, 0), kind="bus"))
    world = ScenarioWorld(scenario, TrackGuide(scenario), config=WorldConfig(overhead_size=(96, 96)))
    front, above = world.draw()["front"], world.overhead()
    assert front.shape == (64, 64, 3) and above.shape == (96, 96, 3)
    empty = world_of(replace(scenario, actors=scenario.actors[:1])).draw()["front"]
    assert np.abs(front.astype(int) - empty).max() > 40
    assert world_of(replace(scenario, road=Road())).draw()["front"].std() > 1
    world.close()


def test_bodies_of_any_size_can_be_built() -> None:
    odd = [
        replace(moving(f"a{i}", (30.0 * i + 30, 8.0), (1, 0), kind=k), body=replace(b, length_m=b.length_m * 1.3))
        for i, (k, b) in enumerate(BODIES.items())
    ]
    flat = ScenarioActor("flat", "static", replace(BODIES["static"], height_m=0.0, mass_kg=0.0), (20.0, 9.0, 0.3))
    world = world_of(scene(moving("ego", (0, 0), (1, 0)), flat, *odd))
    assert world.physics.length_m[2] == pytest.approx(BODIES["car"].length_m * 1.3)
    world.step()


def test_far_from_the_origin_nothing_changes() -> None:
    here, far = rear_end(), rear_end()
    moved = [
        replace(
            a,
            start=(a.start[0] + 5e5, a.start[1] + 5e6, a.start[2]),
            track=replace(a.track, pose=a.track.pose + [5e5, 5e6, 0]),
        )
        for a in far.actors
        if a.track is not None
    ]
    crashes = [replay(s, None, BLIND).collisions[0] for s in (here, replace(far, actors=tuple(moved)))]
    assert crashes[0].t_s == pytest.approx(crashes[1].t_s, abs=0.003)
    assert crashes[0].impulse_Ns == pytest.approx(crashes[1].impulse_Ns, rel=1e-3)


def test_no_actors_is_refused() -> None:
    with pytest.raises(ValueError, match="no actors"):
        replay(scene(ego=""), None, BLIND)
    with pytest.raises(ValueError, match="no actors"):
        open_world(scene(ego=""), BLIND, live=False)
