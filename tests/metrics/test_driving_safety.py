"""Time to collision, post-encroachment time and RSS distances against answers known by hand."""

import numpy as np
import pytest

from simworld.metrics.boxes import boxes_overlap
from simworld.metrics.rss import RssParameters, rss_unsafe, safe_lateral_m, safe_longitudinal_m, safe_oncoming_m
from simworld.metrics.safety import post_encroachment_s, time_to_collision_s

CAR = np.array([4.5, 1.8])


def ttc(ego_v, pose, v, ego_pose=(0.0, 0.0, 0.0)):
    return time_to_collision_s(ego_pose, ego_v, CAR, [pose], [v], [CAR])[0]


def test_ttc_of_a_rear_end_approach_is_gap_over_closing_speed():
    assert ttc((20, 0), (24.5, 0, 0), (10, 0)) == pytest.approx(2.0)  # 20 m at 10 m/s
    assert ttc((20, 0), (24.6, 0, 0), (10, 0)) == pytest.approx(2.1)  # the next tenth
    assert ttc((20, 0), (36, 0, 0), (10, 0)) == np.inf  # 3.15 s, beyond the horizon
    assert ttc((10, 0), (24.5, 0, 0), (20, 0)) == np.inf


def test_ttc_is_zero_in_contact_and_infinite_for_a_standing_ego():
    assert ttc((10, 0), (3, 0, 0), (0, 0)) == 0.0
    assert ttc((0, 0), (3, 0, 0), (0, 0)) == 0.0
    assert ttc((0, 0), (-10, 0, 0), (10, 0)) == np.inf


def test_ttc_of_a_crossing_needs_both_at_one_place_at_one_time():
    crossing = (10.0, -9.0, np.pi / 2)
    # Its nose has 5.85 m to the ego's strip, the ego's nose 6.85 m to its: both are in after 0.685 s.
    assert ttc((10, 0), crossing, (0, 10)) == pytest.approx(0.7)
    assert ttc((10, 0), crossing, (0, 2)) == np.inf


def test_ttc_is_the_same_in_any_frame():
    turn = 0.7

    def spin(x, y):
        return (np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y)

    pose = (*spin(10.0, -9.0), np.pi / 2 + turn)
    assert ttc(spin(10, 0), pose, spin(0, 10), ego_pose=(0, 0, turn)) == pytest.approx(0.7)


def test_absent_actors_have_no_ttc():
    got = time_to_collision_s(np.zeros(3), (10, 0), CAR, [[np.nan] * 3], [[np.nan] * 2], [[np.nan] * 2])
    assert got.tolist() == [np.inf]


def straight(start, velocity, heading, seconds=10.0, dt_s=0.1):
    t = np.arange(round(seconds / dt_s) + 1) * dt_s
    xy = np.array(start) + t[:, None] * np.array(velocity)
    return np.column_stack([xy, np.full(len(t), heading)])


def test_pet_of_a_crossing_by_hand():
    # The rear of a clears b's strip |x| <= 0.9 when its centre is at 3.15: at 10 m/s from -20 that is t = 2.315 s.
    a = straight((-20.0, 0.0), (10.0, 0.0), 0.0)
    # b's nose reaches y = -0.9 when its centre is at -3.15: at 5 m/s from -30 that is t = 5.37 s.
    b = straight((0.0, -30.0), (0.0, 5.0), np.pi / 2)
    assert post_encroachment_s(a, CAR, b, CAR, 0.1) == pytest.approx(5.37 - 2.315, abs=0.04)
    assert post_encroachment_s(b, CAR, a, CAR, 0.1) == post_encroachment_s(a, CAR, b, CAR, 0.1)


def test_pet_is_zero_in_a_collision_and_infinite_without_a_shared_place():
    a = straight((-20.0, 0.0), (10.0, 0.0), 0.0)
    assert post_encroachment_s(a, CAR, straight((0, -20), (0, 10), np.pi / 2), CAR, 0.1) == 0.0
    assert post_encroachment_s(a, CAR, straight((0, 30), (0, 5), np.pi / 2), CAR, 0.1) == np.inf
    assert post_encroachment_s(a, CAR, straight((0, -60), (0, 5), np.pi / 2, 20)[:101], CAR, 0.1) == np.inf


def test_rss_longitudinal_by_hand():
    # 20 m/s both: 20 + 3.5/2 + 23.5^2/8 - 20^2/16
    assert safe_longitudinal_m(20.0, 20.0) == pytest.approx(20 + 1.75 + 23.5**2 / 8 - 25)
    assert safe_longitudinal_m(0.0, 30.0) == 0.0
    slow = RssParameters(response_time_s=0.0)
    assert safe_longitudinal_m(20.0, 0.0, slow) == pytest.approx(50.0)  # v^2 / (2 * 4)


def test_rss_longitudinal_is_just_enough():
    """Simulated worst case: the rear car accelerates for rho, then brakes at b_min; the front one brakes at b_max."""
    p = RssParameters()
    rear, front, dt = 18.0, 14.0, 1e-4
    gap = float(safe_longitudinal_m(rear, front, p))
    t = np.arange(0, 12, dt)
    v_rear = np.maximum(np.where(t < 1.0, rear + 3.5 * t, rear + 3.5 - 4.0 * (t - 1.0)), 0)
    v_front = np.maximum(front - 8.0 * t, 0)
    least = (gap + np.cumsum(v_front - v_rear) * dt).min()
    assert abs(least) < 0.01


def test_rss_oncoming_by_hand():
    assert safe_oncoming_m(10.0, 10.0) == pytest.approx((11.75 + 13.5**2 / 6) + (11.75 + 13.5**2 / 8))


def test_rss_lateral_by_hand():
    # Both at rest sideways: each may drift 0.1 m and needs 0.2^2 / 1.6 to stop.
    assert safe_lateral_m(0.0, 0.0) == pytest.approx(2 * (0.1 + 0.04 / 1.6))
    assert safe_lateral_m(0.0, 0.0, RssParameters(lateral_margin_m=0.3)) == pytest.approx(0.55)
    assert safe_lateral_m(-2.0, 2.0) == 0.0
    assert safe_lateral_m(1.0, 0.0) == pytest.approx((1.1 + 1.2**2 / 1.6) + 0.125)


def test_rss_parameters_must_be_positive():
    with pytest.raises(ValueError, match="brake_min_mps2"):
        RssParameters(brake_min_mps2=0.0)


def unsafe(x, y, speed, heading=0.0, ego_speed=20.0):
    velocity = np.array([[[speed * np.cos(heading), speed * np.sin(heading)]]])
    got = rss_unsafe(
        np.array([[ego_speed, 0.0]]), np.zeros(1), CAR, np.array([[[x, y, heading]]]), velocity, CAR[None, None]
    )
    return bool(got[0, 0])


def test_rss_is_dangerous_only_when_both_distances_are_too_small():
    safe = float(safe_longitudinal_m(20.0, 15.0)) + 4.5
    assert unsafe(safe - 0.1, 0.0, 15.0) and not unsafe(safe + 0.1, 0.0, 15.0)
    assert not unsafe(safe - 0.1, 3.5, 15.0)  # the next lane
    assert unsafe(0.0, 2.0, 20.0) and not unsafe(0.0, 2.1, 20.0)  # alongside: 1.8 m wide, 0.25 m demanded
    assert not unsafe(-6.0, 0.0, 30.0)  # behind: the other's duty
    assert unsafe(100.0, 0.0, 20.0, heading=np.pi) and not unsafe(100.0, 0.0, 20.0)


def test_pet_looks_at_every_lag_that_matters():
    """Random curved drives against the definition, evaluated for all pairs of instants."""
    rng = np.random.default_rng(3)
    compared = 0
    for _ in range(20):
        t = np.arange(61) * 0.1
        heading = rng.uniform(-np.pi, np.pi, 2)[:, None] + rng.uniform(-0.3, 0.3, 2)[:, None] * t
        step = rng.uniform(2, 12, 2)[:, None, None] * 0.1 * np.stack([np.cos(heading), np.sin(heading)], -1)
        a, b = np.concatenate([np.cumsum(step, 1) - step.sum(1, keepdims=True) / 2, heading[..., None]], -1)
        hit = boxes_overlap(a[:, None], CAR, b[None], CAR)
        gaps = np.abs(np.subtract.outer(np.arange(61), np.arange(61)))[hit]
        if not gaps.size or gaps.min() > 45:  # nearly parallel paths
            continue
        compared += 1
        # The definition on the samples alone misses what happens between them, by up to a sample at either end.
        assert gaps.min() * 0.1 - 0.2 <= post_encroachment_s(a, CAR, b, CAR, 0.1) <= gaps.min() * 0.1 + 1e-9
    assert compared > 10
