"""A scenario through the CARLA adapter, on the fake server."""

import numpy as np
import pytest
from simworld.envs.carla.config import CarlaConfig
from simworld.envs.carla.env import CarlaEnv

import simworld  # noqa: F401  registers the ids
from simworld.replay.carla import replay_in_carla
from simworld.replay.run import ReplayConfig
from simworld.scenario import BODIES, Road, Scenario, ScenarioActor, Track


def actor(ident, kind, x, v):
    t = np.array([0.0, 2.0])
    pose = np.array([[x, 0.0, 0.0], [x + 2 * v, 0.0, 0.0]])
    return ScenarioActor(ident, kind, BODIES[kind], tuple(pose[0]), v, Track(t, pose, np.full(2, v)))


def test_others_start_where_the_scenario_has_them(fake_server):
    env = CarlaEnv(config=CarlaConfig(timeout_s=5.0, settle_ticks=3))
    actors = (actor("ego", "car", 0.0, 5.0), actor("truck", "truck", 25.0, 4.0), actor("tank", "tank", 60.0, 3.0))
    scenario = Scenario("s", Road(), actors, "ego", 1.0)
    result = replay_in_carla(scenario, None, ReplayConfig(), env)
    assert result.world == "carla" and result.duration_s == pytest.approx(1.0) and len(result.films["front"]) == 11
    told = {n["element"]: n["instead"] for n in result.notes}
    assert "CARLA has no tank" in told["actor tank"] and "first heading" in told["tracks of the other actors"]
    assert fake_server.actors == []  # closed


def test_an_ego_without_a_log_needs_a_policy(fake_server):
    env = CarlaEnv(config=CarlaConfig(timeout_s=5.0, settle_ticks=3))
    waits = ScenarioActor("ego", "car", BODIES["car"], (0.0, 0.0, 0.0), behaviour={"kind": "start"})
    with pytest.raises(ValueError, match="ego=POLICY"):
        replay_in_carla(Scenario("s", Road(), (waits,), "ego", 1.0), None, ReplayConfig(), env)
