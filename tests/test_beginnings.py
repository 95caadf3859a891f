"""Where imagined episodes begin: given films are checked and seen, others are drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simworld.imagine import WorldModelEnv

from .test_imagine import NUM, actions_of, gap, given, play, vector
from .tiny_world import SPEC, lively_model


def test_given_films_are_what_it_starts_from(tiny_checkpoint: Path) -> None:
    env = WorldModelEnv(checkpoint=tiny_checkpoint)
    options = given(3, None)
    observation, info = env.reset(seed=1, options=options)
    assert info == {} and all(np.array_equal(observation[c], options["frames"][c][-1]) for c in observation)
    film = play(env, actions_of(3, 1)[:, 0])
    env.reset(seed=1, options={"frames": options["frames"], "actions": -options["actions"]})
    assert gap(film, play(env, actions_of(3, 1)[:, 0])) > 0, "the actions of the start are seen too"
    env.reset(seed=1, options={"frames": {c: f[-1:] for c, f in options["frames"].items()}})
    assert gap(film, play(env, actions_of(3, 1)[:, 0])) > 0


def bad_options() -> list[tuple[dict[str, Any], str]]:
    good = given(2)
    frames, actions = good["frames"], good["actions"]
    nan = actions.copy()
    nan[1, 1, 0] = np.nan
    return [
        (good | {"frames": {"front": frames["front"]}}, "cameras"),
        (good | {"frames": frames | {"top": frames["front"]}}, "cameras"),
        (good | {"frames": {c: f.astype(np.float32) for c, f in frames.items()}}, "uint8"),
        (good | {"frames": {c: f[:2] for c, f in frames.items()}}, "b = 4"),
        (good | {"frames": {c: f[:, :2] for c, f in frames.items()}}, "t = 3"),
        (good | {"frames": {c: f[..., :1] for c, f in frames.items()}}, "shape"),
        (good | {"frames": {c: f[:, :, :8] for c, f in frames.items()}}, "shape"),
        (good | {"frames": frames["front"]}, "mapping"),
        (good | {"actions": actions[..., :1]}, "options['actions']"),
        (good | {"actions": actions[0]}, "options['actions']"),
        (good | {"actions": nan}, "NaN"),
        ({"frames": frames}, "t = 1"),
        ({"actions": actions}, "give options['frames']"),
        ({"frame": frames}, "no option 'frame'"),
        ({"reset_mask": np.ones(3, bool)}, "reset_mask"),
        ({"reset_mask": np.zeros(NUM, bool)}, "at least one lane"),
        ({"reset_mask": np.arange(NUM)}, "bool"),
    ]


def test_bad_starts_get_one_sentence_and_leave_no_trace(tiny_checkpoint: Path) -> None:
    env = vector(tiny_checkpoint)
    env.reset(seed=1)
    moment = env.snapshot()
    film = play(env, actions_of(2))
    env.restore(moment)
    for options, said in bad_options():
        with pytest.raises(ValueError) as error:
            env.reset(options=options)
        assert said in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 200
    assert gap(film, play(env, actions_of(2))) == 0


def test_starts_may_come_from_a_store_of_more_cameras(tiny_store: Path) -> None:
    front = dataclasses.replace(SPEC, cameras={"front": SPEC.cameras["front"]})
    env = WorldModelEnv(checkpoint=lively_model(spec=front), starts=tiny_store)
    assert set(env.reset(seed=1)[0]) == {"front"} < set(SPEC.cameras)


def test_starts_may_come_from_a_store(tiny_checkpoint: Path, tiny_store: Path) -> None:
    env = WorldModelEnv(checkpoint=tiny_checkpoint, starts=tiny_store)
    observation, _ = env.reset(seed=1)
    assert observation in env.observation_space
    with pytest.raises(ValueError, match="starts"):
        WorldModelEnv(checkpoint=tiny_checkpoint, starts=tiny_store / "nowhere").reset(seed=1)
