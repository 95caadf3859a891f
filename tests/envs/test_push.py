"""The tabletop: real masses, true words, outcomes and ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from simworld.envs.push import env as push
from simworld.envs.push.env import PushEnv
from simworld.envs.push.layout import MATERIALS, LayoutOptions, describe, sample_layout
from simworld.envs.push.stage import arm_angles
from simworld.policies.push_scripted import make_pusher

AWAY = np.array([1.0, 0.0], np.float32)
STILL = np.zeros(2, np.float32)


@pytest.fixture(scope="module")
def env() -> Iterator[PushEnv]:
    made = PushEnv(cameras=("overhead",), size=(64, 64))
    yield made
    made.close()


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> PushEnv:
    """An env whose frames are black: for tests of physics alone, twice as fast."""
    made = PushEnv()
    black = {"front": np.zeros((64, 64, 3), np.uint8)}
    monkeypatch.setattr(made._cameras, "render", lambda data: dict(black))
    return made


def named(env: PushEnv, info: dict[str, Any]) -> dict[str, float]:
    return dict(zip(env.episode_spec.state_names, info["state"].tolist(), strict=True))


def start_at(env: PushEnv, **changes: Any) -> None:
    """Put the last reset's scene up again with some of it changed."""
    moment = env.snapshot()
    layout = replace(moment.layout, **changes)
    push.apply_layout(env._model, env._data, layout)
    env.restore(replace(env.snapshot(), layout=layout))
    env._goal_distance_m = env._distance_to_goal()


def push_straight(env: PushEnv, material: str) -> tuple[float, float]:
    """How far (m) the block goes in 1.5 s of full command against it, and its mass (kg)."""
    env.reset(seed=0, options={"material": material, "shape": "puck", "num_vessels": 0})
    block = replace(env.snapshot().layout.block, position_m=(0.4, 0.0), heading_rad=0.0)
    # The tip starts in touch with the block.
    start_at(env, block=block, goal_m=(0.3, 0.3), tip_m=(0.4 - block.half_m - 0.024, 0.0))
    for _ in range(15):
        *_, info = env.step(AWAY)
    return named(env, info)["block_x"] - 0.4, named(env, info)["block_mass"]


def test_a_heavier_block_moves_slower_under_the_same_command(blind: PushEnv) -> None:
    foam, wood, steel = (push_straight(blind, material) for material in ("foam", "wood", "steel"))
    assert foam[1] < 0.15 < wood[1] < 0.8 < 1.5 < steel[1]
    assert foam[0] > wood[0] + 0.01 > steel[0] + 0.05
    # Friction mu m g slows the servo down by mu m g / kv: 0.35 * 9.81 / 80 m/s per kg.
    for distance_m, mass_kg in (foam, wood, steel):
        assert distance_m == pytest.approx(1.5 * (0.2 - 0.35 * 9.81 / 80 * mass_kg), abs=0.035)


def test_mass_follows_from_volume_and_reaches_the_physics(env: PushEnv) -> None:
    _, info = env.reset(seed=1, options={"material": "steel", "shape": "block"})
    half_m = env.snapshot().layout.block.half_m
    mass_kg = MATERIALS["steel"].density_kgpm3 * (2 * half_m) ** 3
    assert env._model.body("block").mass[0] == pytest.approx(mass_kg)
    assert info["actors"][0, 8] == pytest.approx(mass_kg) and named(env, info)["block_mass"] == pytest.approx(mass_kg)
    # at rest the block weighs on the table with m g
    env.step(STILL)
    table, block = env._model.geom("table").id, env._model.geom("block").id
    down = 0.0
    for i, pair in enumerate(env._data.contact.geom):
        if {table, block} == set(pair.tolist()):
            wrench = np.zeros(6)
            push.mujoco.mj_contactForce(env._model, env._data, i, wrench)
            down += wrench[0]
    assert down == pytest.approx(9.81 * mass_kg, rel=0.02)


def test_no_command_holds_still(env: PushEnv) -> None:
    first, before = env.reset(seed=2)
    for _ in range(10):
        last, *_, after = env.step(STILL)
    np.testing.assert_allclose(after["state"], before["state"], atol=2e-3)
    assert np.abs(last["overhead"].astype(int) - first["overhead"]).max() <= 8
    assert after["outcomes"]["forbidden_contact"] == 0


def test_the_tip_goes_where_it_is_told_and_not_out_of_reach(blind: PushEnv) -> None:
    blind.reset(seed=0, options={"num_vessels": 0})
    block = replace(blind.snapshot().layout.block, position_m=(0.6, 0.25))
    start_at(blind, block=block, tip_m=(0.4, -0.2), goal_m=(0.6, -0.1))
    for _ in range(5):
        *_, info = blind.step(np.array([0.5, -0.5], np.float32))
    state = named(blind, info)
    assert state["tip_x"] == pytest.approx(0.45, abs=0.005) and state["tip_y"] == pytest.approx(-0.25, abs=0.005)
    assert state["tip_vx"] == pytest.approx(0.1, abs=0.01)
    for _ in range(40):
        *_, info = blind.step(np.array([-1.0, -1.0], np.float32))
    state = named(blind, info)
    assert state["tip_x"] == pytest.approx(0.24, abs=0.01) and state["tip_y"] == pytest.approx(-0.36, abs=0.01)


def test_arm_angles_put_the_tip_at_the_point(blind: PushEnv) -> None:
    blind.reset(seed=0)
    for point in ((0.3, 0.2), (0.7, -0.35), (0.5, 0.0)):
        start_at(blind, tip_m=point)
        np.testing.assert_allclose(blind._data.site("tip").xpos, (*point, 0.0), atol=1e-9)
        assert arm_angles(point)[1] > 0


def play(env: PushEnv, pusher: str, seed: int, max_steps: int = 120, **options: Any) -> list[tuple[Any, ...]]:
    policy = make_pusher(pusher)
    _, info = env.reset(seed=seed, options=options)
    policy.reset(np.array([seed]))
    steps: list[tuple[Any, ...]] = []
    while len(steps) < max_steps and not (steps and steps[-1][2]):
        steps.append(env.step(policy.act({}, [info])[0]))
        info = steps[-1][4]
    return steps


def test_success_ends_the_episode_on_the_goal(blind: PushEnv) -> None:
    steps = play(blind, "expert", seed=2)
    *_, reward, terminated, _, info = steps[-1]
    assert terminated and reward > 0.8
    assert info["outcomes"]["success"] == 1 and info["outcomes"]["forbidden_contact"] == 0
    assert named(blind, info)["goal_distance"] < 0.055
    assert all(step[4]["outcomes"]["success"] == 0 and not step[2] for step in steps[:-1])
    # The reward's shaping adds up to the way that the block came nearer, half a unit per full step.
    assert 5 < sum(step[1] for step in steps) < 20


def test_a_broken_vessel_ends_the_episode_or_not(blind: PushEnv) -> None:
    steps = play(blind, "vandal", seed=3)
    *_, reward, terminated, _, info = steps[-1]
    assert terminated and reward < -0.7
    assert info["outcomes"]["forbidden_contact"] == 1
    tilted = named(blind, info)["max_tilt"] > push.TOPPLE_RAD
    assert info["outcomes"]["contact_force"] > push.BREAK_FORCE_N or tilted
    lasting = PushEnv(end_on_break=False)
    lasting._cameras = blind._cameras
    more = play(lasting, "vandal", seed=3, max_steps=30)
    assert len(more) == 30 and not any(step[2] for step in more)
    np.testing.assert_array_equal(more[len(steps) - 1][4]["state"], info["state"])


def test_toppling_counts(blind: PushEnv) -> None:
    blind.reset(seed=3, options={"num_vessels": 1})
    address = blind._model.jnt_qposadr[blind._model.body("vessel0").jntadr[0]]
    blind._data.qpos[address + 3 : address + 7] = (np.cos(0.4), np.sin(0.4), 0, 0)  # 0.8 rad: it falls by itself
    *_, terminated, _, info = blind.step(STILL)
    assert terminated and named(blind, info)["max_tilt"] > push.TOPPLE_RAD
    assert info["outcomes"]["forbidden_contact"] == 0, "nothing but the table touched it"


def test_ground_truth_is_one_truth(env: PushEnv) -> None:
    _, info = env.reset(seed=4, options={"num_vessels": 3})
    for _ in range(3):
        *_, info = env.step(AWAY)
    state, actors, layout = named(env, info), np.asarray(info["actors"]), env.snapshot().layout
    assert np.isfinite(actors[:4]).all() and np.isnan(actors[4:]).all()
    np.testing.assert_allclose(actors[0, 1:3], (state["block_x"], state["block_y"]))
    np.testing.assert_allclose(actors[1:4, 1:3], [v.position_m for v in layout.vessels], atol=2e-3)
    np.testing.assert_allclose(actors[1:4, 8], [v.mass_kg for v in layout.vessels])
    assert state["goal_distance"] == pytest.approx(
        np.hypot(state["block_x"] - state["goal_x"], state["block_y"] - state["goal_y"]), abs=1e-6
    )


def test_caption_is_true() -> None:
    for seed in range(20):
        layout = sample_layout(np.random.default_rng(seed), LayoutOptions())
        words = describe(layout)
        assert f"{layout.block.material} {layout.block.shape}" in words and words.endswith(".")
        numbers = dict(one=1, two=2, three=3, four=4)
        said = sum(numbers.get(word, 0) for word in words.replace(".", "").split())
        assert said == len(layout.vessels)
    no_vessels = describe(replace(layout, vessels=()))
    assert "past" not in no_vessels


def test_seeds_vary_everything() -> None:
    layouts = [sample_layout(np.random.default_rng(seed), LayoutOptions()) for seed in range(120)]
    assert {lay.block.material for lay in layouts} == {"foam", "wood", "steel"}
    assert {lay.block.shape for lay in layouts} == {"block", "puck"}
    assert {len(lay.vessels) for lay in layouts} == {1, 2, 3, 4}
    assert {v.kind for lay in layouts for v in lay.vessels} == {"glass", "vase"}
    assert len({lay.light.table for lay in layouts}) == 120
    for lay in layouts:
        points = [lay.block.position_m, lay.tip_m, *(v.position_m for v in lay.vessels)]
        gaps = [np.hypot(*np.subtract(a, b)) for i, a in enumerate(points) for b in points[:i]]
        assert min(gaps) > 0.05, "nothing starts inside of something else"


def test_the_goal_is_seen_where_it_is(env: PushEnv) -> None:
    greenest = 0
    for seed in range(6):
        frames, _ = env.reset(seed=seed)
        x, y = env.snapshot().layout.goal_m
        # overhead camera: 1.9 m above (0.47, 0), 24 degrees over 64 pixels, x up and y to the left
        per_m = 32 / (1.9 * np.tan(np.radians(12)))
        row, column = int(32 - (x - 0.47) * per_m), int(32 - y * per_m)
        red, green, blue = frames["overhead"][row, column].astype(int)
        greenest += green > red + 40 and green > blue + 40
    assert greenest >= 4, "the arm may hide it now and then"


@pytest.mark.parametrize("size", [(24, 40), (50, 33)])
def test_any_cameras_at_any_size(size: tuple[int, int]) -> None:
    env = PushEnv(cameras=("wrist", "side"), size=size)
    frames, _ = env.reset(seed=0)
    assert {name: frame.shape for name, frame in frames.items()} == dict.fromkeys(("wrist", "side"), (*size, 3))
    assert (frames["wrist"] != frames["side"]).any()
    assert env.render().shape == (size[0], 2 * size[1], 3)
    env.close()


def test_a_snapshot_restores_into_another_env(env: PushEnv) -> None:
    env.reset(seed=5)
    for _ in range(4):
        env.step(AWAY)
    moment, other = env.snapshot(), PushEnv(cameras=("overhead",))
    frames = other.restore(moment)
    here, there = env.step(AWAY), other.step(AWAY)
    np.testing.assert_array_equal(frames["overhead"], env.restore(moment)["overhead"])
    np.testing.assert_array_equal(here[0]["overhead"], there[0]["overhead"])
    np.testing.assert_array_equal(here[4]["state"], there[4]["state"])
    other.close()


def bad_size() -> PushEnv:
    return PushEnv(size=(0, 64))


def bad_camera() -> PushEnv:
    return PushEnv(cameras=("frnt",))


@pytest.mark.parametrize(("make", "says"), [(bad_size, "8 to 1024"), (bad_camera, "did you mean 'front'")])
def test_bad_construction_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"materail": "foam"}, "did you mean 'material'"),
        ({"material": "stel"}, "did you mean 'steel'"),
        ({"num_vessels": 9}, "from 0 to 4"),
    ],
)
def test_bad_options_are_refused(env: PushEnv, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        env.reset(seed=0, options=options)


def test_rewards_stay_in_bounds(blind: PushEnv) -> None:
    rewards: list[float] = []
    for seed, pusher in enumerate(("random", "clumsy", "astray")):
        rewards += [step[1] for step in play(blind, pusher, seed, max_steps=40)]
    values: NDArray[np.float64] = np.array(rewards)
    assert np.abs(values).max() <= 1.0 and values.std() > 0.01
