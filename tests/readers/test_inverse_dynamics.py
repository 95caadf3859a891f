"""Inverse dynamics: known actions come back from the track they make, and real logs give sane ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simworld.readers.inverse_dynamics import (
    CarModel,
    InverseConfig,
    actions_from_motion,
    actions_from_track,
    drive_model,
)
from simworld.scenario import Track


def track_of(actions: np.ndarray, speed_mps: float, dt_s: float) -> Track:
    states = drive_model(actions, np.zeros(3), speed_mps, dt_s)
    return Track(np.arange(len(states)) * dt_s, states[:, :3], states[:, 3])


def test_actions_come_back_from_their_track() -> None:
    rng = np.random.default_rng(1)
    actions = np.column_stack([np.cumsum(rng.normal(0, 0.05, 80)).clip(-0.8, 0.8), rng.uniform(-0.4, 0.9, 80)])
    found = actions_from_track(track_of(actions, 12.0, 0.1), 0.1, config=InverseConfig(smooth_s=0))
    np.testing.assert_allclose(found[:, 0], actions[:, 0], atol=1e-6)
    np.testing.assert_allclose(found[:, 1], actions[:, 1], atol=0.03)  # drag is taken at the mean speed of a step


def test_driving_what_was_found_stays_on_the_track() -> None:
    t = np.arange(0, 10.05, 0.1)
    pose = np.column_stack([8 * t, 2 * np.sin(0.4 * t), np.arctan2(0.8 * np.cos(0.4 * t), 8)])
    speed = np.hypot(8, 0.8 * np.cos(0.4 * t))
    actions = actions_from_track(Track(t, pose, speed), 0.1, config=InverseConfig(smooth_s=0))
    driven = drive_model(actions, pose[0], speed[0], 0.1)
    assert np.linalg.norm(driven[:, :2] - pose[:, :2], axis=1).max() < 0.15


def test_noise_is_smoothed_and_clipped() -> None:
    rng = np.random.default_rng(2)
    t = np.arange(0, 10.05, 0.1)
    pose = np.column_stack([10 * t, np.zeros_like(t), rng.normal(0, 0.01, len(t))])
    noisy = Track(t, pose, 10 + rng.normal(0, 0.05, len(t)))
    rough = actions_from_track(noisy, 0.1, config=InverseConfig(smooth_s=0))
    smooth = actions_from_track(noisy, 0.1)
    assert smooth[:, 0].std() < 0.7 * rough[:, 0].std()
    assert np.abs(rough).max() <= 1
    still = actions_from_track(Track(t, pose * 0, np.zeros_like(t)), 0.1)
    np.testing.assert_array_equal(still, 0)


def test_the_model_is_the_ego_of_driving() -> None:
    car = CarModel()
    assert float(car.push_mps2(np.array(5.0))) == 4.0 and float(car.push_mps2(np.array(30.0))) == 2.0
    assert float(car.lock_1pm(np.array(1.0))) == 0.16 and float(car.lock_1pm(np.array(20.0))) == pytest.approx(7 / 400)


def test_tracks_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="no step"):
        actions_from_track(Track(np.zeros(1), np.zeros((1, 3)), np.zeros(1)), 0.1)


def test_a_real_log_gives_the_actions_of_a_calm_driver(shared: Path) -> None:
    folder = shared / "ego_log"
    t = np.load(folder / "c2k_processed_log_CAN_speed_t.npy")
    speed = np.load(folder / "c2k_processed_log_CAN_speed_value.npy")[:, 0]
    velocity = np.load(folder / "c2k_global_pose_frame_velocities.npy")  # 20 Hz, earth-centred
    angle = np.load(folder / "c2k_processed_log_CAN_steering_angle_value.npy")
    assert np.abs(np.interp(np.linspace(t[0], t[-1], 1200), t, speed) - np.linalg.norm(velocity, axis=1)).max() < 2.5
    at = np.arange(t[0], t[-1], 0.1)
    # A steering wheel of ratio 15 before a wheelbase of 2.7 m turns the heading; the truth is only needed roughly.
    wheel = np.deg2rad(np.interp(at, np.linspace(t[0], t[-1], len(angle)), angle)) / 15
    v = np.interp(at, t, speed)
    heading = np.cumsum(v * np.tan(wheel) / 2.7) * 0.1
    xy = np.cumsum(np.column_stack([v * np.cos(heading), v * np.sin(heading)]), axis=0) * 0.1
    actions = actions_from_track(Track(at - t[0], np.column_stack([xy, heading]), v), 0.1)
    assert actions.shape == (len(at) - 1, 2) and np.abs(actions[:, 1]).max() < 0.9
    curvature = actions[:, 0] * CarModel().lock_1pm((v[1:] + v[:-1]) / 2)
    moving = v[1:] > 3
    np.testing.assert_allclose(curvature[moving], (np.tan(wheel) / 2.7)[1:][moving], atol=0.01)


def test_the_forward_direction_from_motion() -> None:
    speeds = np.array([10.0, 10.0, 10.8])
    headings = np.array([0.0, 0.02, 0.04])
    steer, pedal = actions_from_motion(speeds, headings, 0.1, car=CarModel())[0]
    assert steer == pytest.approx(0.02 / 1.0 / 0.07) and pedal == pytest.approx((0.05 + 0.035) / 4, abs=1e-6)
