"""Driving-v0: contract, determinism, collisions against the two-body formula, ground truth in built scenes."""

import hashlib
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from simworld.envs.driving.env import DrivingConfig, DrivingEnv
from simworld.envs.driving.outcomes import side_hit
from simworld.envs.driving.spec import OUTCOMES, SIDES, STATE_NAMES

import simworld  # noqa: F401  (registers the env ids)
from simworld.scenario import ACTOR_CLASSES, BODIES

COAST = np.zeros(2, np.float32)
STRAIGHT = {"curviness": "straight", "num_lanes": 3, "oncoming": False, "lane": 1, "light": "daylight"}


@pytest.fixture(scope="module")
def env():
    env = DrivingEnv(size=(32, 32), aftermath_s=1.0)
    yield env
    env.close()


def state_of(info):
    return dict(zip(STATE_NAMES, info["state"].tolist(), strict=True))


def scene(env, actors, ego_speed_mps, seed=0, **options):
    return env.reset(seed=seed, options=STRAIGHT | {"actors": actors, "ego_speed_mps": ego_speed_mps} | options)


def film_hash(env, seed, steps=6):
    """Hash of frames, state and outcomes under fixed actions."""
    digest = hashlib.sha256()
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    for _ in range(steps):
        digest.update(observation["front"].tobytes() + info["state"].tobytes())
        observation, *_, info = env.step(rng.uniform(-0.5, 0.5, 2).astype(np.float32))
    return digest.hexdigest()


def test_check_env_finds_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("simworld/Driving-v0", size=(16, 16)).unwrapped
        check_env(env, skip_render_check=False)
        env.close()


def test_spec_describes_what_comes_out(env):
    observation, info = env.reset(seed=1)
    spec = env.episode_spec
    assert observation["front"].shape == (*spec.cameras["front"], 3)
    assert info["state"].shape == (len(spec.state_names),) == (len(spec.state_units),)
    _, reward, _, _, info = env.step(COAST)
    assert set(info["outcomes"]) == {o.name for o in OUTCOMES}
    assert -1.0 <= reward <= 1.0
    assert np.isnan(float(info["outcomes"]["impulse"])) and info["outcomes"]["collision"] == 0.0


def test_same_seed_same_film_also_in_another_process(env):
    here = film_hash(env, seed=7)
    film_hash(env, seed=8)
    assert film_hash(env, seed=7) == here
    code = (
        "import importlib.util as u, sys; s = u.spec_from_file_location('t', sys.argv[1]); m = u.module_from_spec(s);"
        "s.loader.exec_module(m); print(m.film_hash(m.DrivingEnv(size=(32, 32), aftermath_s=1.0), 7))"
    )
    out = subprocess.run([sys.executable, "-c", code, __file__], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == here


def test_restore_continues_the_same_film_in_another_env(env):
    env.reset(seed=3)
    for _ in range(5):
        env.step(COAST)
    saved = env.snapshot()
    first = [env.step(np.array([0.1, 0.3])) for _ in range(8)]
    other = DrivingEnv(size=(32, 32), aftermath_s=1.0)
    for target in (env, other):
        target.reset(seed=4)
        target.restore(saved)
        for a, b in zip(first, [target.step(np.array([0.1, 0.3])) for _ in range(8)], strict=True):
            np.testing.assert_array_equal(a[0]["front"], b[0]["front"])
            np.testing.assert_array_equal(a[4]["state"], b[4]["state"])
            assert a[1:4] == b[1:4]
    other.close()


@pytest.mark.parametrize(
    ("ego", "partner", "ego_mps", "partner_mps", "oncoming"),
    [
        ("car", "tank", 15.0, 15.0, True),
        ("car", "car", 20.0, 0.0, False),
        ("car", "truck", 25.0, 5.0, False),
        ("car", "pedestrian", 15.0, 0.0, False),
        ("car", "motorcycle", 20.0, 5.0, False),
        ("tank", "car", 12.0, 12.0, True),
    ],
)
def test_delta_v_follows_the_two_body_formula(ego, partner, ego_mps, partner_mps, oncoming):
    env = DrivingEnv(size=(8, 8), config=DrivingConfig(ego_kind=ego))
    heading = np.pi if oncoming else 0.0
    scene(env, [{"kind": partner, "ahead_m": 20, "speed_mps": partner_mps, "heading_rad": heading}], ego_mps)
    outcomes, before = hit(env)
    closing = before + (partner_mps if oncoming else -partner_mps)
    m1, m2 = BODIES[ego].mass_kg, BODIES[partner].mass_kg
    expected = m2 / (m1 + m2) * closing  # perfectly plastic
    assert outcomes["delta_v"] == pytest.approx(expected, rel=0.2)
    assert outcomes["impulse"] == pytest.approx(outcomes["delta_v"] * m1)
    assert SIDES[int(outcomes["side"])] == "front"
    assert ACTOR_CLASSES[int(outcomes["partner"])] == partner
    env.close()


def hit(env, action=COAST):
    """Step until the ego collides: the outcomes and its speed just before."""
    for _ in range(60):
        before = float(env._physics.forward_speed()[0])
        *_, info = env.step(action)
        if info["outcomes"]["collision"]:
            return info["outcomes"], before
    raise AssertionError("no collision within 60 steps")


def test_a_tank_crushes_a_car_and_never_the_other_way_round(env):
    oncoming = [{"kind": "tank", "ahead_m": 25, "speed_mps": 12, "heading_rad": np.pi}]
    scene(env, oncoming, 12.0)
    hit(env)
    for _ in range(2):
        env.step(COAST)
    tank = env._rig.kinds.index("tank", 1)
    assert env._physics.forward_speed()[0] < -8.0  # the car is carried backwards
    assert env._physics.forward_speed()[tank] > 9.0  # the tank hardly slows


def test_hit_from_behind_is_told_apart(env):
    scene(env, [{"kind": "van", "ahead_m": -20, "speed_mps": 20}], 5.0)
    outcomes, _ = hit(env)
    assert SIDES[int(outcomes["side"])] == "rear"
    assert ACTOR_CLASSES[int(outcomes["partner"])] == "van"


@pytest.mark.parametrize(
    ("point", "impulse", "side"),
    [
        ((2.25, 0.2), (-1, 0), "front"),
        ((-2.25, 0.2), (1, 0), "rear"),
        ((0.3, 0.9), (0, -1), "left"),
        ((0.3, -0.9), (0, 1), "right"),
        ((2.25, 0.9), (-3, 1), "front"),
        ((2.25, 0.9), (-1, -3), "left"),
    ],
)
def test_side_of_impact(point, impulse, side):
    assert side_hit(BODIES["car"], np.array(point), np.array(impulse, float)) == side


def test_collision_fires_once_and_ends_the_episode_after_its_aftermath(env):
    scene(env, [{"kind": "truck", "ahead_m": 22, "speed_mps": 0}], 15.0)
    fired, steps_after = 0, -1
    for _ in range(40):
        _, reward, terminated, truncated, info = env.step(np.array([0.0, 0.5]))
        fired += int(info["outcomes"]["collision"])
        steps_after += 1 if fired else 0
        assert not truncated
        if info["outcomes"]["collision"]:
            assert reward == -1.0
        if terminated:
            break
    assert fired == 1 and terminated and steps_after == 10


def test_episode_ends_at_the_impact_without_aftermath():
    env = DrivingEnv(size=(8, 8))
    scene(env, [{"kind": "car", "ahead_m": 15}], 15.0)
    for _ in range(30):
        _, _, terminated, _, info = env.step(COAST)
        assert terminated == bool(info["outcomes"]["collision"])
        if terminated:
            break
    assert terminated
    env.close()


def test_leaving_the_road(env):
    seed = next(s for s in range(20) if scene(env, [], 15.0, s) and not env._scene.layout.right_barrier)
    scene(env, [], 15.0, seed)
    for _ in range(40):
        _, reward, terminated, _, info = env.step(np.array([-0.3, 0.0]))
        if terminated:
            break
    assert info["outcomes"]["off_road"] == 1.0 and info["outcomes"]["collision"] == 0.0 and reward == -1.0
    assert state_of(info)["to_right_edge_m"] < 0.0


def test_a_barrier_is_a_static_partner(env):
    seed = next(s for s in range(20) if scene(env, [], 15.0, s) and env._scene.layout.right_barrier)
    scene(env, [], 15.0, seed)
    outcomes, _ = hit(env, np.array([-0.3, 0.0]))
    assert ACTOR_CLASSES[int(outcomes["partner"])] == "static"
    assert 0.2 < outcomes["delta_v"] < 12.0


def test_ground_truth_of_a_built_scene(env):
    actors = [
        {"kind": "car", "ahead_m": 30, "speed_mps": 8},
        {"kind": "pedestrian", "ahead_m": 12, "left_m": 6, "heading_rad": -np.pi / 2, "speed_mps": 1},
    ]
    _, info = scene(env, actors, 10.0)
    state = state_of(info)
    assert state["gap_m"] == pytest.approx(30 - 4.5, abs=0.05)
    assert state["closing_mps"] == pytest.approx(2.0, abs=0.05)
    assert state["lateral_m"] == pytest.approx(0.0, abs=1e-3)
    assert (state["lane_index"], state["num_lanes"]) == (1, 3)
    assert state["speed_mps"] == pytest.approx(10.0, abs=0.01)
    rows = np.asarray(info["actors"])
    assert np.isnan(rows[2:]).all()
    kind, x, y, heading, vx, vy, length, width, mass = rows[0]
    assert ACTOR_CLASSES[int(kind)] == "pedestrian"
    assert (x, y, heading) == pytest.approx((12, 6, -np.pi / 2), abs=0.1)
    assert (vx, vy) == pytest.approx((0, -1), abs=0.05)
    assert (length, width, mass) == (0.5, pytest.approx(0.6), 75)
    assert info["caption"] == "Daylight, 3 lanes straight; a car 26 m ahead, moving."


def test_lateral_offset_is_positive_to_the_left(env):
    scene(env, [], 15.0)
    for _ in range(6):
        *_, info = env.step(np.array([0.2, 0.0]))
    state = state_of(info)
    assert state["lateral_m"] > 0.1 and state["heading_error_rad"] > 0.0 and state["yaw_rate_radps"] > 0.0


def test_pedals_and_neutral(env):
    speeds = {}
    for pedal in (-1.0, 0.0, 1.0):
        scene(env, [], 15.0)
        for _ in range(10):
            *_, info = env.step(np.array([0.0, pedal]))
        speeds[pedal] = state_of(info)["speed_mps"]
    assert speeds[-1.0] == pytest.approx(15 - 8, abs=0.3)
    assert 14.5 < speeds[0.0] < 15.0
    assert speeds[1.0] == pytest.approx(18.5, abs=0.3)  # 4 m/s2, less above 15 m/s where power runs out


def test_every_class_appears_and_somebody_is_near():
    env = DrivingEnv(size=(8, 8))
    seen, near = set(), 0
    for seed in range(25):
        _, info = env.reset(seed=seed)
        rows = np.asarray(info["actors"])
        rows = rows[np.isfinite(rows[:, 0])]
        seen |= {ACTOR_CLASSES[int(k)] for k in rows[:, 0]}
        near += int((np.hypot(rows[:, 1], rows[:, 2]) < 60).any())
    assert seen == set(ACTOR_CLASSES) - {"static"}
    assert near >= 20
    env.close()


def test_brake_lights_and_the_sky_line(env):
    red = {}
    for speed in (10.0, 0.0):  # a puppet brakes down to the speed it is given as its wish
        observation, _ = scene(env, [{"kind": "car", "ahead_m": 12, "speed_mps": 10.0}], 10.0)
        env._traffic.drivers[next(iter(env._traffic.drivers))].wanted_mps = speed
        observation, *_ = env.step(COAST)
        pixels = observation["front"].astype(int)
        red[speed] = int((pixels[..., 0] - pixels[..., 1:].max(axis=-1)).max())
    assert red[0.0] > red[10.0] + 40
    column = observation["front"][:, 2].astype(int)
    horizon = int(np.argmax(column[:, 2] < 170))  # blue falls off where the sky ends
    assert 0.3 < horizon / 32 < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cameras": ("frnt",)}, "front"),
        ({"cameras": ()}, "at least one camera"),
        ({"size": (4, 4)}, "between 8 and 2048"),
        ({"render_mode": "human"}, "rgb_array"),
        ({"config": DrivingConfig(ego_kind="pedestrian")}, "ego_kind"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DrivingEnv(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lights": "dusk"}, "light"),
        ({"light": "dusky"}, "dusk"),
        ({"num_lanes": 7}, "1 to 4"),
        ({"actors": [{"kind": "tnk", "ahead_m": 1}]}, "tank"),
        ({"actors": [{"kind": "tank"}]}, "ahead_m"),
        ({"actors": [{"kind": "bus", "ahead_m": 20}, {"kind": "bus", "ahead_m": 50}]}, "no more than 1"),
    ],
)
def test_bad_options_are_refused(env, options, message):
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize("action", [[0.0], [np.nan, 0.0], [0.0, 0.0, 0.0]])
def test_bad_actions_are_refused(env, action):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="two finite numbers"):
        env.step(np.array(action))
