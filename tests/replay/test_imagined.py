"""A scenario in a world model: what the model is told, whose pose is reckoned how, and what is reported."""

from __future__ import annotations

import numpy as np
import pytest
from replay_fakes import FakeModel, moving, rear_end, scene

from simworld.policy import Policy
from simworld.replay.command import both
from simworld.replay.drivers import make_action
from simworld.replay.imagined import Branch, imagine
from simworld.replay.result import Replay
from simworld.replay.run import ReplayConfig, Run, log_actions, open_world
from simworld.scenario import ACTOR_CLASSES, Scenario

CONFIG = ReplayConfig(film=False, frames=True)


def dream(
    scenario: Scenario, model: FakeModel, driver: Policy | None = None, step: int = 8, duration_s: float = 4.0
) -> Replay:
    world = open_world(scenario, CONFIG, live=False)
    try:
        run = Run(world, scenario, driver, CONFIG)
        run.to(step * 0.1)
        branches = [Branch("b", scenario, driver)]
        (found,) = imagine(model, run, branches, duration_s, from_step=step, context=step, seed=3)
        return found
    finally:
        world.close()


def brake(model: FakeModel) -> Policy:
    return make_action("brake", model.spec.action, model.spec.dt_s)


def test_the_model_is_told_where_the_others_are_in_the_frame_to_come() -> None:
    model = FakeModel()
    found = dream(rear_end(), model)
    assert model.started["frames"]["front"].shape == (1, 9, 64, 64, 3)
    assert model.started["actors"].shape == (1, 8, 4, 9)
    told = model.told[0]
    assert told is not None and told.shape == (1, 4, 9)
    gap = 34.5 - 10.0 * 0.9  # at 0.9 s, the first imagined frame
    assert told[0, 0].numpy()[:6] == pytest.approx([0, gap, 0, 0, 10.0, 0], abs=1e-4)
    assert np.isnan(told[0, 1].numpy()).all()
    (crash,) = found.collisions
    assert crash.t_s == pytest.approx(3.0, abs=0.11) and crash.b == "Lead" and crash.delta_v_a_mps == 5.0


def test_a_driven_ego_is_reckoned_by_the_models_own_estimate() -> None:
    for model in (FakeModel(), FakeModel(estimates=False)):
        found = dream(rear_end(gap_m=35.0), model, brake(model), step=1)
        assert not found.collisions
        speeds = [row[3] for row in found.extra["imagined"]["ego"]]
        assert speeds[0] > 18 and speeds[-1] < 0.5
        stopped_m = 20.0**2 / 16
        assert found.extra["imagined"]["ego"][-1][0] == pytest.approx(stopped_m, rel=0.12)


def test_a_model_without_actors_is_not_told_and_that_is_said() -> None:
    model = FakeModel(actors=0)
    found = dream(rear_end(), model)
    assert model.started["actors"] is None and set(model.told) == {None}
    assert any("not told to the model" in n["instead"] for n in found.notes)


def test_the_class_is_told() -> None:
    model = FakeModel()
    found = dream(rear_end(kind="tank"), model)
    assert model.told[0] is not None and int(model.told[0][0, 0, 0]) == ACTOR_CLASSES.index("tank")
    assert found.to_json()["imagined"]["p_collision_within_1s"]


def test_the_log_becomes_actions() -> None:
    actions = log_actions(scene(moving("ego", (0, 0), (20, 0), t0=0.5)), 0.1)
    assert (actions[:5] == 0).all() and (actions[6:, 1] > 0).all() and np.abs(actions[:, 0]).max() < 1e-6


def test_both_worlds_one_above_the_other() -> None:
    output = both(rear_end(), None, ReplayConfig(), FakeModel(), 8)
    real, imagined = output.replays
    assert len(real.films["front"]) == len(imagined.films["front"]) == 41
    assert (real.films["front"][:9] == imagined.films["front"][:9]).all()
    assert output.report["replay"]["world"] == "mujoco" and output.report["imagined"]["world"] == "imagined"


def test_the_world_looks_through_the_cameras_of_the_model() -> None:
    model = FakeModel()
    model.spec.cameras["rear"] = (32, 64)
    output = both(rear_end(), None, ReplayConfig(), model, 8)
    assert {c: f.shape[1:] for c, f in model.started["frames"].items()} == {
        "front": (9, 64, 64, 3),
        "rear": (9, 32, 64, 3),
    }
    assert output.replays[0].films["rear"][0].shape == (32, 64, 3)


def test_foreign_models_and_absent_egos_are_refused() -> None:
    model = FakeModel()
    model.spec.cameras["rear"] = (64, 64)
    with pytest.raises(ValueError, match="choose a driving checkpoint"):
        dream(rear_end(), model)
    late = scene(moving("ego", (0, 0), (20, 0), t0=2.0), moving("b", (50, 0), (1, 0)))
    with pytest.raises(ValueError, match="no ego on the road"):
        dream(late, FakeModel())
