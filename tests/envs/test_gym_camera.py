"""Third-party envs seen through one camera."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from simworld.envs.gym_camera import GymCameraEnv, make, resize

from simworld.episode import ActionSpec


class Toy(gymnasium.Env[Any, Any]):
    """Renders its step count as a grey level; its first action is number 3."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space: gymnasium.Space[Any] = gymnasium.spaces.Box(-1, 1, (2, 2), np.float64)
    action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(4, start=3)

    def __init__(self, render_mode: str | None = None, shade: int = 0) -> None:
        self.render_mode, self.shade, self.last = render_mode, shade, -1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.array([[0.1, 0.2], [0.3, self.np_random.random()]]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.last, self.shade = action, self.shade + 1
        return np.zeros((2, 2)), 1.0, False, False, {}

    def render(self) -> Any:
        return np.full((20, 30, 3), self.shade, np.uint8)


class Wide(Toy):
    action_space = gymnasium.spaces.Box(np.array([[-2, 0]], np.float32), np.array([[2, 5]], np.float32))


class Unbounded(Toy):
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)


class Many(Toy):
    action_space = gymnasium.spaces.MultiDiscrete([2, 2])


class Textual(Toy):
    metadata = {"render_modes": ["ansi"]}


class Picture(Toy):
    observation_space = gymnasium.spaces.Box(0, 255, (40, 40, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return np.full((40, 40, 3), 77, np.uint8), {}


for toy in (Toy, Wide, Unbounded, Many, Textual, Picture):
    gymnasium.register(
        f"toy/{toy.__name__}-v0", entry_point=lambda toy=toy, **kwargs: toy(**kwargs), max_episode_steps=5
    )


def test_spec_is_read_off_the_wrapped_env() -> None:
    env = GymCameraEnv("toy/Toy-v0", size=(10, 15), env_kwargs={"shade": 9})
    spec = env.episode_spec
    assert spec.env_id == "gym:toy/Toy-v0" and spec.cameras == {"camera": (10, 15)} and spec.dt_s == 0.05
    assert spec.action == ActionSpec("discrete", n=4) and spec.outcomes == ()
    assert spec.state_names == ("obs_0", "obs_1", "obs_2", "obs_3")
    frames, info = env.reset(seed=1)
    assert (frames["camera"] == 9).all()
    np.testing.assert_allclose(info["state"][:3], [0.1, 0.2, 0.3])
    assert info["actors"].shape == (0, 9) and info["action_spec"] == spec.action


def test_discrete_actions_count_from_nought() -> None:
    env = GymCameraEnv("toy/Toy-v0")
    env.reset(seed=1)
    env.step(2)
    inner: Any = env.env.unwrapped
    assert inner.last == 5


def test_box_actions_are_flat_and_clipped_to_their_bounds() -> None:
    env = GymCameraEnv("toy/Wide-v0")
    assert env.episode_spec.action == ActionSpec("continuous", low=(-2.0, 0.0), high=(2.0, 5.0))
    env.reset(seed=1)
    env.step(np.array([9.0, 1.5], np.float32))
    inner: Any = env.env.unwrapped
    np.testing.assert_array_equal(inner.last, [[2.0, 1.5]])


def test_a_picture_that_is_observed_is_the_camera_and_not_the_state() -> None:
    env = GymCameraEnv("toy/Picture-v0", size=(16, 16))
    frames, info = env.reset(seed=0)
    assert (frames["camera"] == 77).all() and info["state"].shape == (0,)
    assert (env.render() == 77).all()


def test_the_time_limit_of_the_wrapped_env_stays() -> None:
    env = make("gym:toy/Toy-v0")
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(5)] == [False] * 4 + [True]


def test_a_run_of_resets_repeats() -> None:
    env = GymCameraEnv("toy/Toy-v0")
    runs = [[env.reset(seed=7)[1]["state"][3], env.reset()[1]["state"][3]] for _ in range(2)]
    assert runs[0] == runs[1] and runs[0][0] != runs[0][1]


def test_resize_averages_areas() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:2, :3] = 100
    picture[0, 0] = 160
    small = resize(picture, (2, 2))
    np.testing.assert_array_equal(small[..., 0], [[110, 0], [0, 0]])
    assert resize(picture, (4, 6)) is not picture


@pytest.mark.parametrize(
    ("env_id", "says"),
    [
        ("CarRacng-v3", "unknown env 'CarRacng-v3'; nearest: CarRacing-v3"),
        ("toy/Textual-v0", "does not render rgb_array"),
        ("toy/Many-v0", "only Discrete and bounded Box actions"),
        ("toy/Unbounded-v0", "only Discrete and bounded Box actions"),
    ],
)
def test_what_can_not_be_wrapped_is_refused_in_a_sentence(env_id: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        make(env_id)
    assert "\n" not in str(error.value)


def test_bad_arguments_of_the_wrapped_env_are_refused() -> None:
    with pytest.raises(ValueError, match="can not be made"):
        make("toy/Toy-v0", env_kwargs={"shadow": 1})
