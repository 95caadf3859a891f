"""Imagined envs begin anew: in gymnasium's three modes of autoreset, and lane by lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from simworld.imagine import WorldModelEnv, WorldModelVectorEnv
from simworld.start_films import StartFilms

from .test_imagine import NUM, OUTCOMES, actions_of, gap, given, play


def shifted(env: WorldModelVectorEnv) -> None:
    """Two steps on in lanes 0 and 2, at a start of their own in the others."""
    env.reset(seed=1)
    for action in actions_of(2):
        env.step(action)
    env.reset(options={"reset_mask": np.array([False, True, False, True])})


def test_next_step_autoreset(model: Any, starts: StartFilms) -> None:
    env = WorldModelVectorEnv(NUM, checkpoint=model, starts=starts, horizon=4, dtype="float32")
    shifted(env)
    actions = actions_of(4)
    for action in actions[:2]:
        *_, truncated, info = env.step(action)
    assert truncated.tolist() == [True, False, True, False] and info["_outcomes"].all()
    observation, reward, _, truncated, info = env.step(actions[2])
    assert not truncated.any() and reward[0] == reward[2] == 0
    assert info["_outcomes"].tolist() == info["outcomes"]["_collision"].tolist() == [False, True, False, True]
    first = [
        any(np.array_equal(observation["front"][lane], f[-1]) for f in starts.frames["front"]) for lane in range(4)
    ]
    assert first == [True, False, True, False]
    *_, truncated, _ = env.step(actions[3])
    assert truncated.tolist() == [False, True, False, True]


def test_same_step_autoreset(model: Any, starts: StartFilms) -> None:
    env = WorldModelVectorEnv(NUM, checkpoint=model, starts=starts, horizon=4, autoreset_mode=AutoresetMode.SAME_STEP)
    shifted(env)
    twin = WorldModelVectorEnv(NUM, checkpoint=model, starts=starts, horizon=9)
    shifted(twin)
    for action in actions_of(2):
        observation, _, _, truncated, info = env.step(action)
        going_on, *_ = twin.step(action)
    assert truncated.tolist() == info["_final_obs"].tolist() == [True, False, True, False]
    for lane in range(NUM):
        if truncated[lane]:
            assert np.array_equal(info["final_obs"][lane]["front"], going_on["front"][lane])
            assert any(np.array_equal(observation["front"][lane], f[-1]) for f in starts.frames["front"])
        else:
            assert info["final_obs"][lane] is None
            assert np.array_equal(observation["front"][lane], going_on["front"][lane])
    assert set(info["final_info"]["outcomes"]) >= {o.name for o in OUTCOMES}


def test_disabled_autoreset_asks_for_a_reset(model: Any, starts: StartFilms) -> None:
    env = WorldModelVectorEnv(NUM, checkpoint=model, starts=starts, horizon=1, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=1)
    assert env.step(actions_of(1)[0])[3].all()
    with pytest.raises(ValueError, match="lanes \\[0, 1, 2, 3\\] are done"):
        env.step(actions_of(1)[0])
    env.reset(options={"reset_mask": np.array([True, False, True, True])})
    with pytest.raises(ValueError, match="lanes \\[1\\] are done"):
        env.step(actions_of(1)[0])
    env.reset(options={"reset_mask": np.array([False, True, False, False])})
    env.step(actions_of(1)[0])


def test_a_lane_reset_alone_shows_the_film_of_a_fresh_env(model: Any, starts: StartFilms) -> None:
    options = given(6)
    env = WorldModelVectorEnv(NUM, checkpoint=model, starts=starts)
    shifted(env)
    mask = np.array([False, False, True, False])
    env.reset(seed=[None, None, 77, None], options=options | {"reset_mask": mask})
    actions = actions_of(8)
    film = play(env, actions)
    alone = WorldModelEnv(checkpoint=model)
    alone.reset(
        seed=77, options={"frames": {c: f[2] for c, f in options["frames"].items()}, "actions": options["actions"][2]}
    )
    assert gap(play(alone, actions[:, 2]), {c: f[:, 2] for c, f in film.items()}) <= 1
