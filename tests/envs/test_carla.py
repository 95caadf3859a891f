"""simworld/Carla-v0 against a fake of the client's documented behaviour and, with `-m carla`, against a live server.

A live server is named by SIMWORLD_CARLA=host:port; without it those runs are skipped.
"""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from simworld.envs.carla.env import CarlaEnv
from simworld.envs.driving.spec import CAMERAS, OUTCOMES, SIDES, STATE_NAMES

import simworld  # noqa: F401  registers the ids
from simworld.metrics.driving import score_episode
from simworld.rollout import rollout
from simworld.scenario import ACTOR_CLASSES

QUICK = {"timeout_s": 5.0, "settle_ticks": 3}
COAST, FULL, BRAKE = (np.array([0.0, p], np.float32) for p in (0.0, 1.0, -1.0))


@pytest.fixture
def env(carla_config):
    with CarlaEnv(config=carla_config) as made:
        yield made


def world_of(config):
    import carla

    return carla.Client(config.host, config.port).get_world()


def in_state(env, info, name):
    return float(info["state"][STATE_NAMES.index(name)])


def test_the_gymnasium_contract(carla_config):
    env = gymnasium.make("simworld/Carla-v0", config=carla_config)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped.render().shape == (64, 64, 3)
    env.close()


def test_spaces_outcomes_and_info(carla_config):
    with CarlaEnv(cameras=CAMERAS, size=(24, 40), config=carla_config) as env:
        frames, info = env.reset(seed=1)
        assert list(frames) == list(CAMERAS) and all(f.shape == (24, 40, 3) for f in frames.values())
        assert env.observation_space.contains(frames)
        frames, reward, terminated, truncated, info = env.step(COAST)
        assert env.observation_space.contains(frames) and -1 <= reward <= 1
        assert set(info["outcomes"]) == {o.name for o in OUTCOMES}
        assert info["state"].shape == (len(STATE_NAMES),) and info["state"].dtype == np.float32
        assert info["actors"].shape == (16, 9) and info["caption"].endswith(".")
        assert np.isfinite(info["state"]).all()


def test_the_same_seed_gives_the_same_film(carla_config):
    films = []
    for seed in (5, 5, 6):
        with CarlaEnv(config=carla_config) as env:
            frames, info = env.reset(seed=seed)
            film, states = [frames["front"]], [info["state"]]
            for k in range(5):
                frames, *_, info = env.step(np.array([0.2 * (-1) ** k, 0.5], np.float32))
                film.append(frames["front"])
                states.append(info["state"])
            films.append((np.stack(film), np.stack(states)))
    assert np.array_equal(films[0][0], films[1][0]) and np.array_equal(films[0][1], films[1][1])
    assert not np.array_equal(films[0][1], films[2][1])


def test_pedals_and_steering_act_the_way_they_should(env):
    for action, moves in ((FULL, 1), (BRAKE, -1)):
        _, info = env.reset(seed=2, options={"ego_speed_mps": 8.0, "num_actors": 0})
        before = in_state(env, info, "speed_mps")
        for _ in range(5):
            *_, info = env.step(action)
        assert np.sign(in_state(env, info, "speed_mps") - before) == moves
    for steer in (0.5, -0.5):
        env.reset(seed=2, options={"ego_speed_mps": 8.0, "num_actors": 0})
        for _ in range(3):
            *_, info = env.step(np.array([steer, 0.0], np.float32))
        assert np.sign(in_state(env, info, "yaw_rate_radps")) == np.sign(steer)
        assert np.sign(in_state(env, info, "heading_error_rad")) == np.sign(steer)


def test_running_into_a_standing_car_ends_the_episode_with_its_outcomes(env):
    car = {"kind": "car", "ahead_m": 25.0, "speed_mps": 0.0}
    _, info = env.reset(seed=2, options={"ego_speed_mps": 12.0, "actors": [car]})
    gap = in_state(env, info, "gap_m")
    assert 15.0 < gap < 21.5 and in_state(env, info, "closing_mps") == pytest.approx(12.0, abs=1.0)
    for _ in range(40):
        *_, reward, terminated, truncated, info = env.step(COAST)
        if terminated:
            break
    outcomes = info["outcomes"]
    assert terminated and not truncated and reward == -1.0 and outcomes["collision"] == 1.0
    assert ACTOR_CLASSES[int(outcomes["partner"])] == "car" and SIDES[int(outcomes["side"])] == "front"
    assert 0.5 < outcomes["delta_v"] < 15.0


def test_close_leaves_the_server_as_it_was(carla_config):
    world = world_of(carla_config)
    before = world.get_settings()
    num_vehicles = len(world.get_actors().filter("vehicle.*"))
    with CarlaEnv(config=carla_config) as env:
        env.reset(seed=0)
        assert world_of(carla_config).get_settings().synchronous_mode
    world = world_of(carla_config)
    after = world.get_settings()
    assert after.synchronous_mode == before.synchronous_mode
    assert after.fixed_delta_seconds == before.fixed_delta_seconds
    for kind in ("sensor.*", "walker.*", "controller.*"):
        assert len(world.get_actors().filter(kind)) == 0
    assert len(world.get_actors().filter("vehicle.*")) <= num_vehicles
    env.close()
    env.reset(seed=0)  # connects anew
    env.close()


def test_episodes_roll_out_and_are_scored(carla_config):
    class Straight:
        name, needs_state = "straight", False

        def reset(self, seeds):
            pass

        def act(self, observation, infos):
            return np.array([[0.0, 0.1]], np.float32)

    with CarlaEnv(size=(16, 16), config=carla_config) as env:
        (episode,) = rollout(env, Straight(), seeds=[3], max_steps=8)
        scores = score_episode(episode, env.episode_spec)
    assert {e.name for e in scores.left_out} <= {"carla.route_completion", "nuplan.progress"}
