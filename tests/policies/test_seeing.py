"""Experts that are told what a world model sees: which frames it is shown, and that a block is brought home by them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from simworld.envs.push.env import PushEnv
from simworld.policies.registry import make_policy
from simworld.policies.seeing import CONTEXT, SeeingExpert

from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import load_world_model, save_world_model
from simworld.commands import fitting
from simworld.episode import ActionSpec
from simworld.model.lookout import LookoutConfig
from simworld.rollout import rollout

from ..test_canvas import driven_spec
from ..tiny_world import CANVAS, lively_canvas

SPEC = driven_spec()
SEEING = dataclasses.replace(CANVAS, lookout=LookoutConfig(ago=(1, 0), width=4, most=3))


class Noting:
    """Acts by its own clock, and notes what it is told."""

    name, needs_state = "noting", True

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self.num, self.told = len(seeds), []

    def act(self, observation: Any, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        self.told.append(infos)
        return np.full((self.num, 2), 0.1 * len(self.told), np.float32)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    save_world_model(lively_canvas(SEEING, SPEC), tmp_path / "seeing")
    return str(tmp_path / "seeing")


def observed(step: int) -> dict[str, NDArray[np.uint8]]:
    return {"front": np.random.default_rng(step).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)}


def test_the_expert_is_told_what_is_seen_in_the_last_frames(checkpoint: str) -> None:
    expert = Noting()
    policy, model = SeeingExpert(expert, checkpoint, name="seeing"), load_world_model(checkpoint)
    assert isinstance(model, CanvasWorldModel) and not policy.needs_state and len(policy.fingerprint) == 16
    policy.reset(np.array([3, 4]))
    actions = [policy.act(observed(step), [{}, {}]) for step in range(3)]
    assert np.allclose([a[0, 0] for a in actions], [0.1, 0.2, 0.3])

    film = [observed(0)["front"]] * (CONTEXT - 1) + [observed(step)["front"] for step in (1, 2)]
    done = [np.zeros((2, 2), np.float32)] * (CONTEXT - 2) + actions[:2]
    state, actors = model.seen(
        {"front": torch.from_numpy(np.stack(film, 1))}, torch.from_numpy(np.stack(done, 1).astype(np.float32))
    )
    for lane, info in enumerate(expert.told[-1]):
        np.testing.assert_array_equal(info["state"], state[lane].numpy())
        np.testing.assert_array_equal(info["actors"], actors[lane].numpy())
    assert state.shape == (2, len(SPEC.state_names)) and actors.shape == (2, 3, 9)

    policy.reset(np.array([3, 4]))
    np.testing.assert_array_equal(policy.act(observed(0), [{}, {}]), actions[0])


def test_what_can_not_see_is_refused(checkpoint: str, tmp_path: Path) -> None:
    save_world_model(lively_canvas(CANVAS, SPEC), tmp_path / "blind")
    with pytest.raises(ValueError, match="does not see who is there"):
        SeeingExpert(Noting(), str(tmp_path / "blind"), name="blind")
    policy = SeeingExpert(Noting(), checkpoint, name="seeing")
    policy.reset(np.array([3, 4]))
    with pytest.raises(ValueError, match="sees by the camera 'front'; the env offers"):
        policy.act({"rear": observed(0)["front"]}, [{}, {}])
    with pytest.raises(ValueError, match="sees by frames of"):
        policy.act({"front": observed(0)["front"][:, :16]}, [{}, {}])


def test_who_sees_other_frames_is_left_out(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    seeing, idle = SeeingExpert(Noting(), checkpoint, name="seeing"), make_policy("constant:0,0", SPEC.action)
    assert fitting([seeing, idle], SPEC) == [seeing, idle]
    assert fitting([seeing, idle], dataclasses.replace(SPEC, cameras={"front": (64, 64)})) == [idle]
    assert "seeing is left out: it sees by {'front': (32, 32)}" in capsys.readouterr().out


def test_names_are_explained(checkpoint: str) -> None:
    action = ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="needs a scripted one"):
        make_policy("seen:weave", action)
    with pytest.raises(ValueError, match="unknown pusher 'exprt'; nearest: expert"):
        make_policy("seen:push:exprt", action)
    with pytest.raises(ValueError, match="no checkpoint at 'nowhere'"):
        make_policy("seen:push:expert@nowhere", action)
    with pytest.raises(ValueError, match="sees by a world model of"):
        make_policy("seen:push:expert", ActionSpec("discrete", n=3))
    assert make_policy(f"seen:push:expert@{checkpoint}", SPEC.action).name.startswith("seen:push:expert@")


def test_a_block_is_brought_home_by_frames_alone() -> None:
    """Of the shipped weights; what the env's info holds is not looked at."""
    env = PushEnv(cameras=("front",), size=(64, 64))
    policy = make_policy("seen:push:expert", ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)))
    played = rollout(env, policy, seeds=range(3_000_000, 3_000_006), max_steps=70)
    env.close()
    assert sum(bool(e.outcomes["success"].any()) for e in played) >= 2
