"""Pushers, the plans that mix them, and plans for any env."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simworld.envs.push.env import PushEnv
from simworld.policies import any_mix, push_mix, push_scripted
from simworld.policies.plan import EpisodePlan, ForkPolicy
from simworld.policies.push_path import REACH_HIGH_M, REACH_LOW_M, Circles, is_clear, next_waypoint
from simworld.policies.push_scripted import STYLES, make_pusher

from simworld.episode import ActionSpec


def circles(*rows: tuple[float, float, float]) -> Circles:
    table = np.array(rows).reshape(-1, 3)
    return Circles(table[:, :2], table[:, 2])


def test_a_clear_way_is_straight_and_a_blocked_one_goes_around() -> None:
    start, end = np.array([0.3, 0.0]), np.array([0.7, 0.0])
    np.testing.assert_array_equal(next_waypoint(start, end, circles()), end)
    obstacle = circles((0.5, 0.01, 0.06))
    here, length = start, 0.0
    for _ in range(20):
        point = next_waypoint(here, end, obstacle)
        assert is_clear(here, point, obstacle)
        length += float(np.linalg.norm(point - here))
        here = point
        if (here == end).all():
            break
    assert (here == end).all()
    # The shortest way is two tangents and an arc; the grid may add a tenth.
    gap, centre = np.hypot(0.2, 0.01), 0.06
    tangent = np.sqrt(gap**2 - centre**2)
    arc = centre * 2 * (np.pi / 2 - np.arccos(centre / gap) - np.arcsin(0.01 / gap))
    assert length == pytest.approx(2 * tangent + max(arc, 0.0), rel=0.1)


def test_the_way_keeps_off_the_edge_of_the_reach() -> None:
    # On the short side the obstacle leaves no room to the edge.
    start, end, obstacle = np.array([0.35, -0.2]), np.array([0.65, -0.2]), circles((0.5, -0.24, 0.1))
    assert next_waypoint(start, end, obstacle, edge_m=0.1)[1] > -0.2


def test_what_pushers_read_is_what_the_env_says() -> None:
    names = PushEnv().episode_spec.state_names
    assert names[push_scripted.TIP] == ("tip_x", "tip_y")
    assert names[push_scripted.BLOCK] == ("block_x", "block_y")
    assert names[push_scripted.GOAL] == ("goal_x", "goal_y")
    from simworld.envs.push import env, layout

    np.testing.assert_array_equal([REACH_LOW_M, REACH_HIGH_M], [layout.REACH_LOW_M, layout.REACH_HIGH_M])
    assert push_scripted.SPEED_M == pytest.approx(env.MAX_SPEED_MPS * env.DT_S)
    assert push_scripted.TIP_RADIUS_M == layout.TIP_RADIUS_M


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> PushEnv:
    made = PushEnv()
    monkeypatch.setattr(made._cameras, "render", lambda data: {})
    return made


def play(env: PushEnv, plan: EpisodePlan) -> tuple[list[NDArray[np.float32]], list[dict[str, Any]]]:
    _, info = env.reset(seed=plan.reset_seed, options=plan.options)
    plan.policy.reset(np.array([plan.reset_seed]))
    actions, infos = [], [info]
    for _ in range(plan.max_steps):
        actions.append(plan.policy.act({}, [info])[0])
        *_, terminated, _, info = env.step(actions[-1])
        infos.append(info)
        if terminated:
            break
    return actions, infos


def share(env: PushEnv, style: str, event: str, num: int) -> float:
    plans = [EpisodePlan(100 + i, make_pusher(style), 120) for i in range(num)]
    return float(np.mean([max(i["outcomes"][event] for i in play(env, plan)[1][1:]) for plan in plans]))


def test_the_expert_is_careful_and_the_vandal_is_not(blind: PushEnv) -> None:
    assert share(blind, "expert", "success", 6) >= 0.8
    assert share(blind, "expert", "forbidden_contact", 6) <= 0.2
    assert share(blind, "vandal", "forbidden_contact", 4) >= 0.8


def test_twins_part_at_the_fork_and_not_before(blind: PushEnv) -> None:
    parted = 0
    for pair in range(5):
        plans = [push_mix.plan(2 * pair + twin, seed=3) for twin in (0, 1)]
        assert plans[0].reset_seed == plans[1].reset_seed and plans[0].options == plans[1].options
        fork = plans[1].policy
        assert isinstance(fork, ForkPolicy)
        step = int(fork.name.rsplit("@", 1)[1])
        (one, _), (other, _) = (play(blind, plan) for plan in plans)
        np.testing.assert_array_equal(one[:step], other[:step])
        parted += len(one) > step and len(other) > step and bool((one[step] != other[step]).any())
    assert parted >= 3


@pytest.mark.parametrize("plan", [push_mix.plan, push_mix.plan_expert, any_mix.plan], ids=["mix", "expert", "any"])
def test_plans_are_pure_and_differ(plan: Callable[[int, int], EpisodePlan]) -> None:
    def told(index: int, seed: int) -> tuple[Any, ...]:
        made = plan(index, seed)
        return made.reset_seed, made.policy.name, made.max_steps, made.options

    assert [told(i, 5) for i in range(8)] == [told(i, 5) for i in range(8)]
    assert told(0, 5) != told(2, 5) and told(0, 5) != told(0, 6)


def test_the_mix_names_pushers_and_adds_up() -> None:
    assert sum(push_mix.MIX.values()) == pytest.approx(1.0)
    assert set(push_mix.MIX) <= {*STYLES, "random", "idle"}
    with pytest.raises(ValueError, match="nearest: expert"):
        make_pusher("expret")


@pytest.mark.parametrize(
    "action",
    [ActionSpec("continuous", low=(-1.0, 0.0), high=(1.0, 3.0)), ActionSpec("discrete", n=5)],
    ids=["box", "discrete"],
)
def test_any_mix_fits_the_action_space_and_uses_all_of_it(action: ActionSpec) -> None:
    seen = []
    for index in range(24):
        policy = any_mix.plan_for(action)(index, 0).policy
        policy.reset(np.array([2 * index, 2 * index + 1]))
        seen += [policy.act({}, [{}, {}]) for _ in range(40)]
    actions = np.stack(seen).reshape(-1, action.size)
    assert actions.dtype == np.float32
    if action.kind == "discrete":
        assert set(actions[:, 0]) == set(range(5))
    else:
        assert (actions >= action.low).all() and (actions <= action.high).all()
        np.testing.assert_allclose(actions.mean(axis=0), [0.0, 1.5], atol=0.25)
        assert (actions.max(axis=0) > [0.9, 2.8]).all()


def test_any_mix_learns_the_action_space_from_info() -> None:
    policy = any_mix.plan(0, 0).policy
    policy.reset(np.array([1]))
    assert policy.act({}, [{"action_spec": ActionSpec("discrete", n=2)}]).shape == (1, 1)
    policy.reset(np.array([1]))
    with pytest.raises(ValueError, match="plan_for"):
        policy.act({}, [{}])
