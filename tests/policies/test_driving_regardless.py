"""Episodes that go on regardless of others: pure plans, and actions that nothing seen can change."""

from __future__ import annotations

from typing import Any

import numpy as np
from simworld.envs.driving.options import ResetOptions
from simworld.envs.driving.spec import STATE_NAMES
from simworld.policies import driving_mix
from simworld.policies.driving_regardless import FIRST_STEP, STEPS, draw_piece, plan

from simworld.bench.foresight import OutcomesConfig
from simworld.policy import Policy


def actions(policy: Policy, steps: int, actors: list[list[float]]) -> np.ndarray:
    state = dict.fromkeys(STATE_NAMES, 0.0) | {"speed_mps": 12.0, "num_lanes": 2.0, "lane_width_m": 3.5}
    info: dict[str, Any] = {
        "state": np.array([state[n] for n in STATE_NAMES], np.float32),
        "actors": np.array(actors, np.float32).reshape(-1, 9),
    }
    policy.reset(np.array([5]))
    return np.concatenate([policy.act({}, [info]) for _ in range(steps)])


def test_plans_are_pure_and_begin_as_the_mix_or_with_nothing_done() -> None:
    begun = set()
    for i in range(40):
        one, again, mixed = plan(i, 3), plan(i, 3), driving_mix.plan(i, 3)
        assert (one.reset_seed, one.policy.name, one.about) == (again.reset_seed, again.policy.name, again.about)
        assert one.options == mixed.options and one.max_steps == one.about["present"] + STEPS
        ResetOptions.parse(one.options)
        begun.add(one.policy.name.startswith("constant:0,0>"))
    assert begun == {True, False} and OutcomesConfig().context < FIRST_STEP


def test_what_is_done_does_not_hang_on_who_is_there() -> None:
    in_the_way = [[0.0, 8.0, 0.0, 0.0, 2.0, 0.0, 4.5, 1.8, 1500.0]]
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(30):
        piece = draw_piece(rng)
        alone, behind = actions(piece, 12, []), actions(piece, 12, in_the_way)
        assert np.array_equal(alone, behind) and np.abs(alone).max() <= 1.0
        seen.append(alone[0])
    assert np.std(seen, axis=0).min() > 0.05
