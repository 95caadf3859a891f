"""What simworld/Carla-v0 does to a server and undoes again, and what it says when there is none."""

import gc
import sys
import threading

import fake_carla
import numpy as np
import pytest
from simworld.envs.carla.config import CarlaConfig
from simworld.envs.carla.env import CarlaEnv

import simworld  # noqa: F401  registers the ids

QUICK = {"timeout_s": 5.0, "settle_ticks": 3}
COAST, FULL, BRAKE = (np.array([0.0, p], np.float32) for p in (0.0, 1.0, -1.0))


def assert_restored(server):
    assert server.actors == [] and server.recording is None
    assert server.settings.synchronous_mode is False and server.settings.fixed_delta_seconds is None
    assert all(not m.synchronous for m in server.managers.values())
    assert server.weather is fake_carla.WeatherParameters.ClearNoon


def test_synchronous_seeded_and_recorded(fake_server):
    config = CarlaConfig(**QUICK, recorder="run_{seed}.log", tm_port=8123)
    env = CarlaEnv(config=config)
    env.reset(seed=7)
    assert fake_server.settings.synchronous_mode and fake_server.settings.fixed_delta_seconds == 0.05
    assert fake_server.managers[8123].synchronous and fake_server.managers[8123].seed is not None
    assert fake_server.recording == "run_7.log"
    frame = fake_server.frame
    env.step(COAST)
    assert fake_server.frame == frame + 2
    env.reset(seed=8)
    assert fake_server.recordings == ["run_7.log"] and fake_server.recording == "run_8.log"
    env.close()
    assert fake_server.recordings == ["run_7.log", "run_8.log"]
    assert_restored(fake_server)


def test_a_town_is_loaded_only_when_another_one_runs(fake_server):
    for town, loaded in (("Town01", None), ("Town04", "Town04")):
        fake_server.loaded = None
        with CarlaEnv(config=CarlaConfig(**QUICK, town=town)) as env:
            env.reset(seed=0)
        assert fake_server.loaded == loaded


def test_no_carla_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "carla", None)
    with pytest.raises(ImportError, match=r"pip install simworld\[carla\]"):
        CarlaEnv()


def test_no_server_says_how_to_start_one(fake_server):
    fake_server.down = True
    env = CarlaEnv(config=CarlaConfig(port=2042))
    with pytest.raises(ConnectionError, match=r"localhost:2042.*CarlaUE4\.sh.*-carla-rpc-port=2042") as raised:
        env.reset(seed=0)
    assert "\n" not in str(raised.value)


def test_a_server_that_dies_in_an_episode_is_given_up_at_once(fake_server):
    env = CarlaEnv(config=CarlaConfig(**QUICK))
    env.reset(seed=0)
    fake_server.down, before = True, fake_server.calls
    with pytest.raises(ConnectionError, match="no CARLA server answered"):
        env.step(COAST)
    assert fake_server.calls - before < 5  # every further call would wait for its own timeout


def test_other_versions_are_warned_about(fake_server, monkeypatch):
    monkeypatch.setattr(sys.modules["carla"].Client, "get_server_version", lambda self: "0.9.13")
    with CarlaEnv(config=CarlaConfig(**QUICK)) as env, pytest.warns(UserWarning, match="0.9.13"):
        frames, _ = env.reset(seed=0)
    assert frames in env.observation_space, "warned about, and played all the same"


@pytest.mark.parametrize("failure", [RuntimeError("boom"), KeyboardInterrupt()])
def test_whatever_request_fails_nothing_is_left_behind(fake_server, failure):
    """Every single request of a reset and two steps is made to fail once."""
    config = CarlaConfig(**QUICK, recorder="r.log", walker_share=0.5)
    fake_server.failure, done, tried = failure, False, 0
    while not done:
        tried += 1
        fake_server.fail_at = fake_server.calls + tried
        env = CarlaEnv(config=config)
        try:
            env.reset(seed=4)
            env.step(COAST)
            env.step(COAST)
            done = True
        except type(failure):
            assert_restored(fake_server)
        fake_server.fail_at = None
        env.close()
        assert_restored(fake_server)
    assert tried > 60


def test_a_failing_clean_up_goes_on_with_the_rest(fake_server):
    for k in range(1, 6):
        env = CarlaEnv(config=CarlaConfig(**QUICK, recorder="r.log", max_actors=0, min_actors=0))
        env.reset(seed=4)
        fake_server.fail_at = fake_server.calls + k  # recorder, camera, collision sensor, destruction, traffic manager
        env.close()
        assert fake_server.calls >= fake_server.fail_at and not fake_server.settings.synchronous_mode
        assert (fake_server.actors == []) == (k != 4)
        fake_server.fail_at, fake_server.actors = None, []


def test_an_env_that_is_dropped_restores_the_server(fake_server):
    env = CarlaEnv(config=CarlaConfig(**QUICK))
    env.reset(seed=0)
    assert env._undo.atexit
    del env
    gc.collect()
    assert_restored(fake_server)


def test_pictures_of_other_frames_are_never_shown(fake_server):
    """Pictures arrive from another thread, late, and each step still shows its own."""
    threads = []

    def later(callback, data):
        threads.append(threading.Timer(0.02, callback, (data,)))
        threads[-1].start()

    with CarlaEnv(config=CarlaConfig(**QUICK)) as env:
        env.reset(seed=2, options={"ego_speed_mps": 10.0, "num_actors": 0})
        fake_server.deliver = later
        for _ in range(3):
            frames, *_ = env.step(COAST)
            ego = next(a for a in fake_server.actors if a.attributes.get("role_name") == "hero")
            assert frames["front"][0, 0].tolist() == [200, int(ego.xy[1] * 10) % 256, int(ego.xy[0] * 10) % 256]
        for thread in threads:
            thread.join()


def test_a_server_that_does_not_render_is_named(fake_server):
    with CarlaEnv(config=CarlaConfig(settle_ticks=1, timeout_s=0.05)) as env:
        fake_server.deliver = lambda callback, data: None
        with pytest.raises(ConnectionError, match="front camera sent no picture"):
            env.reset(seed=0)
    assert_restored(fake_server)


def test_bad_arguments_get_one_sentence(fake_server):
    with pytest.raises(ValueError, match="nearest: front"):
        CarlaEnv(cameras=("fornt",))
    env = CarlaEnv(config=CarlaConfig(**QUICK))
    with pytest.raises(ValueError, match="does not apply to CARLA"):
        env.reset(options={"curviness": "mild"})
    with pytest.raises(ValueError, match="CARLA has no 'tank'"):
        env.reset(options={"actors": [{"kind": "tank", "ahead_m": 10}]})
    with pytest.raises(ValueError, match="daylight"):
        env.reset(options={"light": "daylite"})
    with pytest.raises(RuntimeError, match="reset"):
        env.step(COAST)
    with pytest.raises(ValueError, match="tick_s"):
        CarlaConfig(tick_s=0.2)
    assert fake_server.calls == 0
