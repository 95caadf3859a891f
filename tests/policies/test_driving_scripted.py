"""Scripted drivers keep to the road or leave it as their style says; the mix is a pure function with real forks."""

import numpy as np
import pytest
from simworld.envs.driving.env import DrivingEnv
from simworld.envs.driving.spec import STATE_NAMES
from simworld.policies.driving_mix import P_ENCOUNTER, P_FORK, plan, plan_expert
from simworld.policies.driving_scripted import STYLES, SwitchPolicy, make_driver


@pytest.fixture(scope="module")
def env():
    env = DrivingEnv(size=(8, 8))
    yield env
    env.close()


def drive(env, policy, seed, steps, options=None):
    """Actions, states and last outcomes of one episode."""
    _, info = env.reset(seed=seed, options=options)
    policy.reset(np.array([seed]))
    actions, states = [], [info["state"]]
    for _ in range(steps):
        action = policy.act({}, [info])[0]
        _, _, terminated, _, info = env.step(action)
        actions.append(action)
        states.append(info["state"])
        if terminated:
            break
    return np.array(actions), np.array(states), info["outcomes"]


def column(states, name):
    return states[:, STATE_NAMES.index(name)]


@pytest.mark.parametrize("curviness", ["straight", "curvy", "winding"])
def test_the_expert_keeps_its_lane_on_an_empty_road(env, curviness):
    _, states, outcomes = drive(env, make_driver("expert"), 3, 80, {"curviness": curviness, "actors": []})
    assert len(states) == 81 and outcomes["off_road"] == 0
    in_lane = np.abs(column(states, "lateral_m")) < 1.0
    changing = column(states, "lane_index") != column(states, "lane_index")[0]
    assert (in_lane | changing)[20:].mean() > 0.85
    limit = column(states, "speed_limit_mps")[0]
    assert 0.75 * limit < column(states, "speed_mps")[-1] < 1.1 * limit


def test_the_expert_stops_behind_a_standing_truck(env):
    options = {"curviness": "straight", "oncoming": True, "num_lanes": 1, "ego_speed_mps": 20.0}
    options["actors"] = [{"kind": "truck", "ahead_m": 75}]
    _, states, outcomes = drive(env, make_driver("expert"), 0, 90, options)
    assert outcomes["collision"] == 0
    assert column(states, "speed_mps")[-1] < 1.0 and 0.5 < column(states, "gap_m")[-1] < 12.0


def test_the_reckless_do_not(env):
    options = {"curviness": "straight", "oncoming": True, "num_lanes": 1, "ego_speed_mps": 25.0}
    options["actors"] = [{"kind": "truck", "ahead_m": 60}]
    assert drive(env, make_driver("reckless"), 0, 90, options)[2]["collision"] == 1


def test_the_ram_hits_its_neighbour(env):
    options = {"curviness": "straight", "num_lanes": 3, "lane": 1, "oncoming": False, "ego_speed_mps": 20.0}
    options["actors"] = [{"kind": "van", "ahead_m": 15, "left_m": 3.5, "speed_mps": 16}]
    assert drive(env, make_driver("ram"), 0, 90, options)[2]["collision"] == 1


def test_styles_differ_and_cover_the_actions(env):
    spread = {}
    for name in STYLES:
        actions, _, _ = drive(env, make_driver(name), 12, 40)
        assert np.abs(actions).max() <= 1.0
        spread[name] = actions.std(axis=0)
    assert spread["random"][0] > 0.1 > spread["cautious"][0]
    assert spread["explorer"][1] > 0.2


def test_a_batch_drives_like_its_members(env):
    _, info = env.reset(seed=1)
    batch = make_driver("weaver", noise=0.2)
    batch.reset(np.array([5, 6]))
    together = np.array([batch.act({}, [info, info]) for _ in range(5)])
    for k, seed in enumerate((5, 6)):
        single = make_driver("weaver", noise=0.2)
        single.reset(np.array([seed]))
        alone = np.array([single.act({}, [info])[0] for _ in range(5)])
        np.testing.assert_array_equal(together[:, k], alone)


def test_the_plan_is_a_function_of_seed_and_index():
    for k in range(20):
        a, b, other = plan(k, 4), plan(k, 4), plan(k, 5)
        assert (a.reset_seed, a.max_steps, a.options, a.policy.name) == (
            b.reset_seed,
            b.max_steps,
            b.options,
            b.policy.name,
        )
        assert a.reset_seed != other.reset_seed
        assert 30 <= a.max_steps <= 200
    assert plan_expert(3, 0).policy.name == "expert"


def test_forks_share_their_start_and_part_at_the_switch(env):
    pairs = [(plan(2 * j, 0), plan(2 * j + 1, 0)) for j in range(60)]
    forks = [(a, b) for a, b in pairs if a.reset_seed == b.reset_seed]
    twins = P_ENCOUNTER + (1 - P_ENCOUNTER) * P_FORK
    assert abs(len(forks) / len(pairs) - twins) < 0.2
    assert all(isinstance(b.policy, SwitchPolicy) and a.options == b.options for a, b in forks)
    a, b = next((a, b) for a, b in forks if b.policy.at_step < 25)
    k = b.policy.at_step
    left, _, _ = drive(env, a.policy, a.reset_seed, k + 15, a.options)
    right, _, _ = drive(env, b.policy, b.reset_seed, k + 15, b.options)
    shared = min(k, len(left), len(right))
    np.testing.assert_array_equal(left[:shared], right[:shared])
    assert len(left) <= k or len(right) <= k or not np.array_equal(left[k:], right[k:])


def test_unknown_driver_is_refused():
    with pytest.raises(ValueError, match="expert"):
        make_driver("exprt")
