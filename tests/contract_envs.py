"""The envs that the contract test runs: add a line to ENVS and the whole contract is asked of it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from simworld.envs import gym_camera

import simworld  # noqa: F401  registers the ids
from simworld.episode import EpisodeSpec

from .tiny_world import CHOICE, OUTCOMES, SPEC, write_checkpoint

DISCRETE = EpisodeSpec("tiny", {"front": (16, 16)}, CHOICE, OUTCOMES)


@dataclass(frozen=True)
class ContractEnv:
    """make() as `gymnasium.make` returns it, so that ``make().spec`` can be made again with another time limit.

    make_vectors  names to functions (num_envs, max_episode_steps) that return a VectorEnv
    is_real       a simulator, which gives the ground truth in info; an imagined env gives none
    differs       whether two seeds start from different frames
    """

    name: str
    make: Callable[[], gymnasium.Env[Any, Any]]
    make_vectors: dict[str, Callable[[int, int], VectorEnv]]
    is_real: bool = True
    differs: bool = True


def _vectors_of(make: Callable[[], gymnasium.Env[Any, Any]]) -> dict[str, Callable[[int, int], VectorEnv]]:
    """gymnasium's own vector envs of a single env."""

    def limited(max_episode_steps: int) -> Callable[[], gymnasium.Env[Any, Any]]:
        def made() -> gymnasium.Env[Any, Any]:
            spec = make().spec
            assert spec is not None
            return gymnasium.make(spec, max_episode_steps=max_episode_steps)

        return made

    return {
        "sync": lambda num, limit: SyncVectorEnv([limited(limit)] * num),
        "async": lambda num, limit: AsyncVectorEnv([limited(limit)] * num),
    }


def _real(name: str, make: Callable[[], gymnasium.Env[Any, Any]], differs: bool = True) -> ContractEnv:
    return ContractEnv(name, make, _vectors_of(make), differs=differs)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where the imagined envs' models lie until the tests end."""
    return tempfile.TemporaryDirectory()


def _imagined(name: str, spec: EpisodeSpec) -> ContractEnv:
    @functools.cache
    def checkpoint() -> str:
        return str(write_checkpoint(Path(_folder().name) / name, spec=spec))

    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("simworld/World-v0", checkpoint=checkpoint(), dtype="float32")

    def batch(mode: AutoresetMode) -> Callable[[int, int], VectorEnv]:
        return lambda num, limit: gymnasium.make_vec(
            "simworld/World-v0",
            num_envs=num,
            vectorization_mode="vector_entry_point",
            checkpoint=checkpoint(),
            dtype="float32",
            horizon=limit,
            autoreset_mode=mode,
        )

    vectors = {mode.value: batch(mode) for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)}
    return ContractEnv(name, make, vectors | {"sync": _vectors_of(make)["sync"]}, is_real=False)


ENVS = (
    _real("driving", lambda: gymnasium.make("simworld/Driving-v0", cameras=("front", "overhead"), size=(48, 64))),
    _real("push", lambda: gymnasium.make("simworld/Push-v0", cameras=("front", "wrist"), size=(48, 64))),
    _real("car_racing", lambda: gym_camera.make("CarRacing-v3", size=(32, 48))),
    # The start of a cart and pole differs by less than a pixel.
    _real("cart_pole", lambda: gym_camera.make("gym:CartPole-v1", size=(32, 48)), differs=False),
    _imagined("imagined", SPEC),
    _imagined("imagined_discrete", DISCRETE),
)
