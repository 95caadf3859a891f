"""The one contract that every env keeps, real or imagined, ours or a third party's."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from simworld.policies.any_mix import plan_for

from simworld.episode import EpisodeSpec
from simworld.rollout import rollout

from .contract_envs import ENVS, ContractEnv

NUM_STEPS = 6
VECTORS = [pytest.param(c, kind, id=f"{c.name}-{kind}") for c in ENVS for kind in c.make_vectors]


@pytest.fixture(scope="module", params=ENVS, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> ContractEnv:
    return request.param


@pytest.fixture(scope="module")
def env(case: ContractEnv) -> Iterator[gymnasium.Env[Any, Any]]:
    made = case.make()
    yield made
    made.close()


def spec_of(env: gymnasium.Env[Any, Any]) -> EpisodeSpec:
    return env.unwrapped.episode_spec  # type: ignore[attr-defined]


def some_actions(env: gymnasium.Env[Any, Any], num: int = NUM_STEPS, seed: int = 0) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(num)]


def neutral(env: gymnasium.Env[Any, Any]) -> Any:
    return np.zeros(spec_of(env).action.size, np.float32) if spec_of(env).action.kind == "continuous" else 0


def film(env: gymnasium.Env[Any, Any], seed: int | None, actions: list[Any]) -> list[tuple[Any, ...]]:
    """(frames, reward, terminated, outcomes) of every step, up to the end; with `seed` None it goes on from now."""
    steps: list[tuple[Any, ...]] = []
    if seed is not None:
        steps.append((env.reset(seed=seed)[0], 0.0, False, {}))
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        steps.append((observation, reward, terminated, info["outcomes"]))
        if terminated or truncated:
            break
    return steps


def assert_same(a: list[tuple[Any, ...]], b: list[tuple[Any, ...]]) -> None:
    assert len(a) == len(b)
    for k, (one, two) in enumerate(zip(a, b, strict=True)):
        for camera in one[0]:
            np.testing.assert_array_equal(one[0][camera], two[0][camera], err_msg=f"{camera} at step {k}")
        assert one[1:3] == two[1:3]
        assert one[3].keys() == two[3].keys()
        np.testing.assert_array_equal(list(one[3].values()), list(two[3].values()))


def test_check_env_is_clean(env: gymnasium.Env[Any, Any]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    assert [str(w.message) for w in caught if issubclass(w.category, UserWarning)] == []


def test_spec_says_what_the_spaces_say(env: gymnasium.Env[Any, Any]) -> None:
    spec = spec_of(env)
    spaces = env.observation_space
    assert isinstance(spaces, gymnasium.spaces.Dict)
    assert {name: space.shape for name, space in spaces.items()} == {
        name: (h, w, 3) for name, (h, w) in spec.cameras.items()
    }
    assert all(space.dtype == np.uint8 for space in spaces.values())
    if isinstance(env.action_space, gymnasium.spaces.Box):
        assert spec.action.kind == "continuous" and env.action_space.dtype == np.float32
        np.testing.assert_array_equal(env.action_space.low, np.array(spec.action.low, np.float32))
        np.testing.assert_array_equal(env.action_space.high, np.array(spec.action.high, np.float32))
    else:
        assert isinstance(env.action_space, gymnasium.spaces.Discrete)
        assert (spec.action.kind, spec.action.n) == ("discrete", env.action_space.n)
    assert spec.dt_s > 0
    assert len(spec.state_names) == len(spec.state_units) == len(set(spec.state_names))
    names = [o.name for o in spec.outcomes]
    events = {o.name for o in spec.outcomes if o.kind == "event"}
    assert len(set(names)) == len(names) and all(o.given is None or o.given in events for o in spec.outcomes)
    assert EpisodeSpec.from_json(spec.to_json()) == spec


def test_same_seed_same_start(case: ContractEnv, env: gymnasium.Env[Any, Any]) -> None:
    first, again, other = (env.reset(seed=seed)[0] for seed in (3, 3, 4))
    for camera in first:
        np.testing.assert_array_equal(first[camera], again[camera])
        assert np.std(first[camera]) > 1, f"{camera} shows nothing"
    if case.differs:
        assert any((first[camera] != other[camera]).any() for camera in first)


def test_same_seed_and_actions_same_film(case: ContractEnv, env: gymnasium.Env[Any, Any]) -> None:
    actions = some_actions(env)
    first = film(env, 3, actions)
    film(env, 8, some_actions(env, 3, seed=1))  # what happened in between must leave no trace
    assert_same(first, film(env, 3, actions))
    fresh = case.make()
    assert_same(first, film(fresh, 3, actions))
    fresh.close()


def test_steps_return_what_the_contract_says(case: ContractEnv, env: gymnasium.Env[Any, Any]) -> None:
    spec = spec_of(env)
    observation, info = env.reset(seed=5)
    assert observation in env.observation_space
    assert "outcomes" not in info
    shapes = {check_ground_truth(case, spec, info)}
    for action in some_actions(env):
        observation, reward, terminated, truncated, info = env.step(action)
        assert observation in env.observation_space
        assert isinstance(reward, float) and np.isfinite(reward)
        assert isinstance(terminated, bool) and isinstance(truncated, bool)
        check_outcomes(spec, info["outcomes"])
        shapes.add(check_ground_truth(case, spec, info))
        if terminated or truncated:
            break
    assert len(shapes) == 1, "the number of rows of actors must stay the same"


def check_outcomes(spec: EpisodeSpec, outcomes: dict[str, float]) -> None:
    """Every declared name; a number where it applies, NaN (one that equals itself) where it does not."""
    assert outcomes.keys() == {o.name for o in spec.outcomes}
    for o in spec.outcomes:
        value = outcomes[o.name]
        applies = o.given is None or outcomes[o.given] == 1
        assert np.isfinite(value) == applies, f"{o.name} is {value}"
        if applies and o.kind == "event":
            assert value in (0.0, 1.0)
        if applies and o.kind == "category":
            assert value in range(len(o.categories))


def check_ground_truth(case: ContractEnv, spec: EpisodeSpec, info: dict[str, Any]) -> tuple[int, ...]:
    """Check state, actors and caption of a simulator; the shape of its actors."""
    if not case.is_real:
        assert "state" not in info and "actors" not in info
        return ()
    state, actors = info["state"], np.asarray(info["actors"])
    assert state.shape == (len(spec.state_names),) and state.dtype == np.float32 and np.isfinite(state).all()
    assert actors.ndim == 2 and actors.shape[1] == 9 and actors.dtype == np.float32
    absent = np.isnan(actors)
    assert (absent.all(axis=1) == absent.any(axis=1)).all(), "a row of actors is there or it is not"
    assert info["caption"].endswith(".")
    return actors.shape


def test_time_limit_truncates_and_does_not_terminate(env: gymnasium.Env[Any, Any]) -> None:
    assert env.spec is not None
    limited = gymnasium.make(env.spec, max_episode_steps=3)
    limited.reset(seed=3)
    ends = [limited.step(neutral(limited))[2:4] for _ in range(3)]
    limited.close()
    assert ends == [(False, False), (False, False), (False, True)]


def test_bad_actions_get_one_sentence(env: gymnasium.Env[Any, Any]) -> None:
    spec = spec_of(env)
    env.reset(seed=3)
    bad: list[Any] = [np.zeros(spec.action.size + 1, np.float32)]
    if spec.action.kind == "continuous":
        bad += [np.full(spec.action.size, value, np.float32) for value in (np.nan, np.inf)]
    else:
        bad += [spec.action.n, -1]
    for action in bad:
        with pytest.raises(ValueError) as error:
            env.unwrapped.step(action)
        assert 10 < len(str(error.value)) < 200 and "\n" not in str(error.value)


def test_snapshot_goes_back(case: ContractEnv, env: gymnasium.Env[Any, Any]) -> None:
    inner: Any = env.unwrapped
    if not hasattr(inner, "snapshot"):
        pytest.skip(f"{case.name} offers no snapshot")
    actions = some_actions(env, 8)
    film(inner, 3, actions[:3])
    moment = inner.snapshot()
    first = film(inner, None, actions[3:])
    inner.restore(moment)
    assert_same(first, film(inner, None, actions[3:]))
    film(inner, 9, actions[:2])  # another scene in between
    inner.restore(moment)
    assert_same(first, film(inner, None, actions[3:]))


def test_rollout_records_an_episode(env: gymnasium.Env[Any, Any]) -> None:
    spec = spec_of(env)
    (episode,) = rollout(env, plan_for(spec.action)(1, 0).policy, seeds=[3], max_steps=NUM_STEPS)
    episode.validate(spec)
    np.testing.assert_array_equal(
        next(iter(episode.frames.values()))[0], next(iter(env.reset(seed=3)[0].values())), err_msg="first frame"
    )


@pytest.mark.parametrize(("vectors", "kind"), VECTORS)
def test_vector_envs_step_and_reset_themselves(vectors: ContractEnv, kind: str) -> None:
    limit = 3
    single, many = vectors.make(), vectors.make_vectors[kind](2, limit)
    try:
        observation, _ = many.reset(seed=[3, 4])  # type: ignore[arg-type]
        for lane, seed in enumerate((3, 4)):
            alone = single.reset(seed=seed)[0]
            for camera in alone:  # an imagined frame may differ by a grey level at another batch size
                gap = np.abs(observation[camera][lane].astype(int) - alone[camera])
                assert gap.max() <= (0 if vectors.is_real else 1)
        ends = []
        for _ in range(2 * limit):
            actions: NDArray[Any] = np.stack([neutral(single)] * 2)
            observation, reward, _, truncated, _ = many.step(actions)
            assert observation in many.observation_space and reward.shape == (2,)
            ends.append(bool(truncated.any()))
        # Ends at the limit, and goes on by itself whatever the autoreset mode.
        runs = [len(list(group)) for ended, group in itertools.groupby(ends) if ended]
        assert ends.index(True) == limit - 1 and runs == [1] * len(runs)
    finally:
        many.close()
        single.close()
