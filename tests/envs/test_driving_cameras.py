"""Driving cameras: any of them, at one size for all or at one for each."""

from __future__ import annotations

import numpy as np
import pytest
from simworld.envs.driving.env import DrivingEnv
from simworld.envs.driving.spec import CAMERAS, sizes_of

SIZES = {"front": (64, 64), "left": (32, 64)}


@pytest.mark.parametrize("size", [(48, 80), (64, 64), (17, 31)])
def test_all_cameras_at_any_size(size: tuple[int, int]) -> None:
    env = DrivingEnv(cameras=CAMERAS, size=size)
    observation, _ = env.reset(seed=5)
    assert set(observation) == set(CAMERAS)
    for frame in observation.values():
        assert frame.shape == (*size, 3) and frame.std() > 3
    assert len({frame.tobytes() for frame in observation.values()}) == len(CAMERAS)
    np.testing.assert_array_equal(env.render(), observation["front"])
    env.close()


def test_a_subset_of_cameras_shows_the_same_pictures() -> None:
    few, all_of_them = DrivingEnv(cameras=("rear",), size=(32, 32)), DrivingEnv(cameras=CAMERAS, size=(32, 32))
    a, b = few.reset(seed=9)[0]["rear"], all_of_them.reset(seed=9)[0]["rear"]
    np.testing.assert_array_equal(a, b)
    few.close()
    all_of_them.close()


def test_a_camera_shows_the_same_beside_one_of_another_size() -> None:
    both, alone = DrivingEnv(cameras=list(SIZES), size=SIZES), DrivingEnv(cameras=["left"], size=SIZES["left"])
    try:
        seen, alone_seen = both.reset(seed=3)[0], alone.reset(seed=3)[0]
        assert {c: x.shape for c, x in seen.items()} == {c: (*hw, 3) for c, hw in SIZES.items()}
        assert both.observation_space.contains(seen)
        assert both.episode_spec.cameras == SIZES
        np.testing.assert_array_equal(seen["left"], alone_seen["left"])
    finally:
        both.close()
        alone.close()


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ({"front": (64, 64)}, "size names front, but the cameras are front, left"),
        ({"front": (64, 64), "left": (4, 64)}, "between 8 and 2048 pixels, got \\(4, 64\\)"),
        ((64, 64, 3), "between 8 and 2048 pixels"),
    ],
)
def test_sizes_that_do_not_fit_the_cameras_are_refused(size: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sizes_of(["front", "left"], size, "rgb_array")  # type: ignore[arg-type]
