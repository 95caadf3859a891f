"""Imagined envs: gymnasium's contract, time travel, and one film for one seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

import simworld  # noqa: F401  registers the ids
from simworld.episode import EpisodeSpec
from simworld.imagine import WorldModelEnv, WorldModelVectorEnv, action_space, side_by_side
from simworld.rollout import rollout
from simworld.start_films import StartFilms

from .tiny_world import CHOICE, OUTCOMES, SPEC, film_batch, lively_model, quiet_model, write_checkpoint

NUM = 4
Film = dict[str, NDArray[np.uint8]]


@dataclasses.dataclass
class Weave:
    """Actions as a function of the step alone."""

    name: str = "weave"
    needs_state: bool = False

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self.step = 0

    def act(self, observation: Any, infos: Any) -> NDArray[np.float32]:
        self.step += 1
        return np.tile(np.float32([np.sin(self.step), 0.5]), (len(observation["front"]), 1))


def vector(checkpoint: Path, **options: Any) -> WorldModelVectorEnv:
    return WorldModelVectorEnv(options.pop("num_envs", NUM), checkpoint=checkpoint, **options)


def actions_of(steps: int, num: int = NUM, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, num, 2)).astype(np.float32)


def play(env: Any, actions: NDArray[np.float32]) -> Film:
    films = [env.step(action)[0] for action in actions]
    return {c: np.stack([f[c] for f in films]) for c in films[0]}


def gap(a: Film, b: Film) -> int:
    return max(int(np.abs(a[c].astype(int) - b[c].astype(int)).max()) for c in a)


def given(k: int, b: int | None = NUM, seed: int = 50) -> dict[str, Any]:
    """Options of reset: a batch of films, or one."""
    frames, actions = film_batch(b or 1, k, seed=seed)
    cut: Any = slice(None) if b else 0
    return {"frames": {c: f.numpy()[cut] for c, f in frames.items()}, "actions": actions.numpy()[cut]}


def test_check_env_is_clean(tiny_checkpoint: Path, recwarn: pytest.WarningsRecorder) -> None:
    env = gymnasium.make("simworld/World-v0", checkpoint=tiny_checkpoint)
    check_env(env.unwrapped)
    assert [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)] == []
    assert env.unwrapped.episode_spec == SPEC  # type: ignore[attr-defined]


def test_make_vec_gives_one_batch(tiny_checkpoint: Path) -> None:
    env = gymnasium.make_vec(
        "simworld/World-v0",
        vectorization_mode="vector_entry_point",
        num_envs=NUM,
        checkpoint=tiny_checkpoint,
    )
    assert env.num_envs == NUM and env.unwrapped.episode_spec == SPEC  # type: ignore[attr-defined]
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert observation in env.observation_space
    assert reward.shape == terminated.shape == truncated.shape == (NUM,)
    assert set(info["outcomes"]) == {n for o in OUTCOMES for n in (o.name, f"_{o.name}")}
    assert info["p_within"]["collision"].shape == (NUM, 4)
    assert ((info["trust"] >= 0) & (info["trust"] <= 1)).all()
    shown = env.render()
    assert shown is not None and len(shown) == NUM and shown[0].shape == (16, 40, 3)
    env.close()


def test_same_seed_same_film_and_another_seed_another(tiny_checkpoint: Path) -> None:
    films = []
    for seed in (3, 3, 4):
        env = vector(tiny_checkpoint)
        env.reset(seed=seed, options=given(2))
        films.append(play(env, actions_of(6)))
    assert gap(films[0], films[1]) == 0 and gap(films[0], films[2]) > 1


def test_a_lane_shows_the_film_of_a_single_env(tiny_checkpoint: Path) -> None:
    many = vector(tiny_checkpoint, dtype="float32")
    first, _ = many.reset(seed=20)
    actions = actions_of(8)
    film = play(many, actions)
    for lane in range(NUM):
        env = WorldModelEnv(checkpoint=tiny_checkpoint, dtype="float32")
        alone, _ = env.reset(seed=20 + lane)
        assert all(np.array_equal(alone[c], first[c][lane]) for c in alone)
        assert gap(play(env, actions[:, lane]), {c: f[:, lane] for c, f in film.items()}) <= 1


def test_bad_actions_get_one_sentence(tiny_checkpoint: Path) -> None:
    env = vector(tiny_checkpoint)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(actions_of(1)[0])
    env.reset(seed=1)
    nan = actions_of(1)[0]
    nan[2] = np.inf
    for bad, said in (
        (nan, "lanes [2]"),
        (actions_of(1)[0].T, "actions must have shape"),
        (actions_of(1)[0][:3], "actions must have shape"),
        (np.zeros(2, np.float32), "actions must have shape"),
        (np.zeros((NUM, 3), np.float32), "actions must have shape"),
    ):
        with pytest.raises(ValueError) as error:
            env.step(bad)
        assert said in str(error.value) and "\n" not in str(error.value)


def test_bad_arguments_get_one_sentence(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ({"horizon": 0}, "at least 1"),
        ({"dtype": "float64"}, "bfloat16 or float32"),
        ({"checkpoint": tmp_path}, "no checkpoint"),
        ({"overrides": {"sample_stepz": 2}}, "sample_steps"),
    ):
        with pytest.raises(ValueError, match=said):
            WorldModelEnv(**({"checkpoint": tiny_checkpoint} | arguments))
    with pytest.raises(ValueError, match="no starts"):
        WorldModelEnv(checkpoint=lively_model()).reset(seed=1)


def test_horizon_truncates(model: Any, starts: StartFilms) -> None:
    env = WorldModelEnv(checkpoint=model, starts=starts, horizon=3)
    for _ in range(2):
        env.reset(seed=1)
        ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(3)]
        assert ends == [(False, False), (False, False), (False, True)]


def test_low_trust_truncates(model: Any, starts: StartFilms) -> None:
    model.heads.usual_error.fill_(-9.0)  # every expected error is above the usual ones
    env = WorldModelEnv(checkpoint=model, starts=starts, min_trust=0.1)
    env.reset(seed=1)
    *_, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    assert (terminated, truncated) == (False, True) and info["trust"] < 0.1


def test_an_event_that_ends_episodes_terminates(starts: StartFilms) -> None:
    env = WorldModelEnv(checkpoint=quiet_model(collision=30.0, terminated=30.0), starts=starts)
    env.reset(seed=1)
    _, _, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    assert (terminated, truncated) == (True, False)
    assert info["outcomes"]["collision"] == 1 and np.isfinite(info["outcomes"]["impulse"])
    assert info["outcomes"]["offroad"] == 0 and info["outcomes"]["side"] in (0, 1, 2)


def test_snapshot_comes_back_to_the_same_future(tiny_checkpoint: Path) -> None:
    """Through events, ends and the starts drawn after them."""
    env = vector(tiny_checkpoint, horizon=3)
    env.reset(seed=1)
    env.step(actions_of(1)[0])
    moment = env.snapshot()
    first = play(env, actions_of(7))
    env.reset(seed=99)
    play(env, actions_of(2, seed=5))
    for _ in range(2):
        env.restore(moment)
        assert gap(first, play(env, actions_of(7))) == 0


def test_a_fork_differs_by_its_actions_alone(model: Any, starts: StartFilms) -> None:
    env = WorldModelVectorEnv(NUM, checkpoint=model, starts=starts)
    env.reset(seed=1)
    play(env, actions_of(2))
    env.fork(2)
    actions = actions_of(4)
    actions[:, 1] = actions[:, 0]
    actions[0] = actions[0, :1]
    film = play(env, actions)
    assert gap({c: f[:, 0] for c, f in film.items()}, {c: f[:, 1] for c, f in film.items()}) <= 1
    assert gap({c: f[:1, 0] for c, f in film.items()}, {c: f[:1, 3] for c, f in film.items()}) <= 1
    assert gap({c: f[:, 0] for c, f in film.items()}, {c: f[:, 3] for c, f in film.items()}) > 1
    with pytest.raises(ValueError, match="no lane 4"):
        env.fork(4)


def test_observations_belong_to_the_caller(model: Any, starts: StartFilms) -> None:
    env = WorldModelEnv(checkpoint=model, starts=starts)
    films = []
    for spoil in (False, True):
        observation, _ = env.reset(seed=1)
        for _ in range(3):
            if spoil:
                observation["front"][:] = 0
            observation = env.step(np.zeros(2, np.float32))[0]
        films.append(observation)
    assert np.array_equal(films[0]["front"], films[1]["front"])


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_rollout_plays_in_imagination(mode: AutoresetMode, starts: StartFilms) -> None:
    """Vector and single give the same episodes, some of which end early."""
    model = quiet_model(collision=-1.5)
    model.heads.p_ends_given_event.fill_(1.0)
    many = WorldModelVectorEnv(NUM, checkpoint=model, starts=starts, horizon=6, autoreset_mode=mode)
    one = WorldModelEnv(checkpoint=model, starts=starts, horizon=6)
    seeds = [1, 2, 3, 4, 5, 6]
    together, alone = (rollout(env, Weave(), seeds=seeds, max_steps=9) for env in (many, one))
    lengths = [e.num_steps for e in together]
    assert lengths == [e.num_steps for e in alone] and max(lengths) == 6 and min(lengths) < 6
    for a, b in zip(together, alone, strict=True):
        a.validate(SPEC)
        assert gap(a.frames, b.frames) <= 1
        np.testing.assert_array_equal(a.terminated, b.terminated)
        for name in a.outcomes:
            np.testing.assert_allclose(a.outcomes[name], b.outcomes[name], atol=1e-3)


def test_discrete_actions(tmp_path: Path) -> None:
    spec = EpisodeSpec("tiny", {"front": (8, 8)}, CHOICE, OUTCOMES)
    checkpoint = write_checkpoint(tmp_path, spec=spec)
    env = WorldModelEnv(checkpoint=checkpoint)
    check_env(env)
    env.reset(seed=1)
    assert env.action_space == gymnasium.spaces.Discrete(3) == action_space(CHOICE)
    for bad in (3, -1):
        with pytest.raises(ValueError, match="0..2"):
            env.step(bad)
    many = WorldModelVectorEnv(2, checkpoint=checkpoint)
    many.reset(seed=1)
    observation, *_ = many.step(np.array([0, 2]))
    assert observation in many.observation_space


def test_600_steps_are_stable_and_memory_stays_flat(model: Any, starts: StartFilms) -> None:
    env = WorldModelEnv(checkpoint=model, starts=starts, horizon=600)
    env.reset(seed=1)
    sizes, actions = [], actions_of(600, 1)[:, 0]
    for i, action in enumerate(actions):
        observation, reward, terminated, truncated, _ = env.step(action)
        assert np.isfinite(reward) and not terminated and truncated == (i == 599)
        if i in (50, 599):
            state: Any = env.snapshot().state
            held = [x for pair in state.cache for x in pair] + list(state.past.values())
            sizes.append(sum(x.untyped_storage().nbytes() for x in held))
            assert all(torch.isfinite(x).all() for x in held)
    assert sizes[0] == sizes[1]
    assert 5 < observation["front"].std() < 125, "neither faded to one colour nor blown to black and white"


def test_cameras_stand_side_by_side() -> None:
    shown = side_by_side({"a": np.full((4, 2, 3), 9, np.uint8), "b": np.full((2, 3, 3), 7, np.uint8)})
    assert shown.shape == (4, 5, 3)
    assert (shown[:, :2] == 9).all() and (shown[:2, 2:] == 7).all() and (shown[2:, 2:] == 0).all()
