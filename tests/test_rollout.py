"""rollout(): known episodes out of a toy env, single and vectorised, in every autoreset mode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from simworld.rollout import rollout


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent / "data")
    import toyworld

    return toyworld


class Script:
    """Plays the given first action entries, one per step; remembers what it was shown."""

    def __init__(self, values: Sequence[float], size: int = 2, needs_state: bool = False) -> None:
        self.values, self.size, self.needs_state, self.name = values, size, needs_state, "script"
        self.seen: list[int] = []

    def reset(self, seeds: np.ndarray) -> None:
        self.seeds, self.num = seeds, 0

    def act(self, observation: Any, infos: list[dict[str, Any]]) -> np.ndarray:
        self.seen.append(int(observation["front"][0, 0, 0, 0]))
        action = np.zeros((len(self.seeds), self.size), np.float32)
        action[:, 0] = self.values[self.num]
        self.num += 1
        return action


def test_an_episode_holds_what_happened(toy: ModuleType) -> None:
    policy = Script([1.0] * 9)
    (episode,) = rollout(toy.ToyEnv(noisy=False), policy, seeds=[4], max_steps=9, options={"x_m": 0.5})
    # 0.5 -> 0.7 -> 0.9 -> 1.1: the third push hits the wall.
    assert episode.num_steps == 3
    np.testing.assert_allclose(episode.state[:, 0], [0.5, 0.7, 0.9, 1.1], atol=1e-6)
    assert episode.frames["front"][:, 5, 5, 0].tolist() == [178, 198, 218, 228]
    assert episode.frames["front"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert episode.frames["rear"].shape == (4, 8, 16, 3)
    assert episode.terminated.tolist() == [False, False, True]
    assert episode.outcomes["hit"].tolist() == [0, 0, 1]
    np.testing.assert_array_equal(episode.outcomes["force"], np.array([np.nan, np.nan, 1], np.float32))
    np.testing.assert_allclose(episode.reward, [-0.7, -0.9, -1.1], atol=1e-6)
    assert episode.actors.shape == (4, 2, 9) and np.isnan(episode.actors[:, 1]).all()
    assert episode.caption == "a dot at 0.50"
    assert episode.provenance == {"env_id": "toy", "seed": 4, "policy": "script", "prefix_steps": 0}
    assert policy.seen == [0, 1, 2]


def test_max_steps_ends_without_termination(toy: ModuleType) -> None:
    episodes = rollout(toy.ToyEnv(), Script([0.0] * 5), seeds=[1, 2], max_steps=5)
    assert [e.num_steps for e in episodes] == [5, 5]
    assert not any(e.terminated.any() for e in episodes)
    assert [e.provenance["seed"] for e in episodes] == [1, 2]


def test_prefix_is_forced_then_the_policy_starts(toy: ModuleType) -> None:
    policy = Script([0.5, -0.5])
    prefix = np.array([[0.1, 0.2], [0.3, 0.4], [0.0, 0.0]], np.float32)
    (episode,) = rollout(toy.ToyEnv(), policy, seeds=[1], max_steps=2, prefix_actions=prefix)
    np.testing.assert_allclose(episode.actions[:, 0], [0.1, 0.3, 0.0, 0.5, -0.5], atol=1e-6)
    assert policy.seen == [3, 4] and episode.provenance["prefix_steps"] == 3


def test_an_episode_that_ends_in_the_prefix_is_kept(toy: ModuleType) -> None:
    prefix = np.ones((6, 2), np.float32)
    (episode,) = rollout(toy.ToyEnv(), Script([]), seeds=[1], max_steps=2, options={"x_m": 0.5}, prefix_actions=prefix)
    assert episode.num_steps == 3 and episode.terminated[-1]


def test_actions_are_clipped_and_kept_as_applied(toy: ModuleType) -> None:
    (episode,) = rollout(toy.ToyEnv(), Script([7.0]), seeds=[1], max_steps=1, options={"x_m": 0.0})
    assert episode.actions[0, 0] == 1.0
    np.testing.assert_allclose(episode.state[1, 0], 0.2, atol=1e-6)


def test_discrete_actions(toy: ModuleType) -> None:
    env = toy.ToyEnv(discrete=True)
    (episode,) = rollout(env, Script([2, 0, 1], size=1), seeds=[1], max_steps=3, options={"x_m": 0.0})
    np.testing.assert_allclose(episode.state[:, 0], [0.0, 0.2, 0.0, 0.0], atol=1e-6)
    assert episode.actions[:, 0].tolist() == [2, 0, 1]
    for wrong in (3.0, 0.5, -1.0):
        with pytest.raises(ValueError, match="no index from 0 to 2"):
            rollout(env, Script([wrong], size=1), seeds=[1], max_steps=1)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_lanes_equal_single_envs(toy: ModuleType, mode: AutoresetMode) -> None:
    seeds, policy = [3, 5, 8, 13, 21], toy.RandomPolicy()
    starts = {"x_m": 0.6}
    single = rollout(toy.ToyEnv(), policy, seeds=seeds, max_steps=25, options=starts)
    env = SyncVectorEnv([toy.ToyEnv] * 3, autoreset_mode=mode)
    lanes = rollout(env, policy, seeds=seeds, max_steps=25, options=starts)
    assert len({e.num_steps for e in single}) > 1, "lanes end at different steps"
    for a, b in zip(single, lanes, strict=True):
        for name in ("actions", "reward", "terminated", "state", "actors"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for camera in a.frames:
            np.testing.assert_array_equal(a.frames[camera], b.frames[camera])
        for name in a.outcomes:
            np.testing.assert_array_equal(a.outcomes[name], b.outcomes[name])
        assert (a.caption, a.provenance) == (b.caption, b.provenance)


class BatchedStart(VectorEnv):
    """An imagined env in miniature: no ground truth, starts from batched frames."""

    def __init__(self, toy: ModuleType, num_envs: int) -> None:
        inner = toy.ToyEnv()
        self.num_envs, self.episode_spec = num_envs, inner.episode_spec
        self.single_action_space, self.single_observation_space = inner.action_space, inner.observation_space
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        assert isinstance(seed, list) and len(seed) == self.num_envs
        self.options = options
        self.frames = {c: options["frames"][c][:, -1].copy() for c in self.episode_spec.cameras}
        return self.frames, {}

    def step(self, actions: Any) -> Any:
        for frame in self.frames.values():
            frame += 1
        off, hit = np.zeros(self.num_envs, bool), np.zeros(self.num_envs, np.float32)
        return self.frames, hit, off, off, {"outcomes": {"hit": hit}}


def test_batched_options_are_stacked_and_buffers_copied(toy: ModuleType) -> None:
    env = BatchedStart(toy, 2)
    frames = [{c: np.full((3, *hw, 3), i, np.uint8) for c, hw in env.episode_spec.cameras.items()} for i in range(3)]
    options = [{"frames": f, "actions": np.zeros((2, 2), np.float32)} for f in frames]
    episodes = rollout(env, Script([0.0] * 4), seeds=[7, 8, 9], max_steps=4, options=options)
    assert env.options["frames"]["front"].shape == (2, 3, 16, 16, 3) and env.options["actions"].shape == (2, 2, 2)
    for i, episode in enumerate(episodes):
        assert episode.frames["rear"][:, 0, 0, 0].tolist() == [i, i + 1, i + 2, i + 3, i + 4]
        assert np.isnan(episode.state).all() and episode.state.shape == (5, 2) and episode.actors.shape == (5, 0, 9)
        assert np.isnan(episode.outcomes["force"]).all() and not episode.outcomes["hit"].any()


def test_refusals_are_one_sentence(toy: ModuleType) -> None:
    blind = toy.ToyEnv(truth=False)
    with pytest.raises(ValueError, match="policy 'script' needs ground truth that toy does not give"):
        rollout(blind, Script([0.0], needs_state=True), seeds=[1], max_steps=1)
    rollout(toy.ToyEnv(), Script([0.0], needs_state=True), seeds=[1], max_steps=1)
    with pytest.raises(ValueError, match="policy 'script' at step 1 holds NaN"):
        rollout(blind, Script([0.0, np.nan]), seeds=[1], max_steps=2)
    with pytest.raises(ValueError, match=r"policy 'script' at step 0 must have shape \(b a\) with a = 2"):
        rollout(blind, Script([0.0], size=3), seeds=[1], max_steps=1)
    with pytest.raises(ValueError, match="max_steps"):
        rollout(blind, Script([]), seeds=[1], max_steps=0)
    with pytest.raises(ValueError, match="2 options for 1 seeds"):
        rollout(blind, Script([]), seeds=[1], max_steps=1, options=[{}, {}])
    with pytest.raises(ValueError, match="prefix_actions"):
        rollout(blind, Script([]), seeds=[1], max_steps=1, prefix_actions=np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="declares no episode_spec"):
        rollout(gymnasium.make("CartPole-v1"), Script([]), seeds=[1], max_steps=1)
    pair = SyncVectorEnv([toy.ToyEnv] * 2)
    with pytest.raises(ValueError, match="one `options` to all its envs"):
        rollout(pair, Script([0.0]), seeds=[1, 2], max_steps=1, options=[{"x_m": 0.1}, {"x_m": 0.2}])
