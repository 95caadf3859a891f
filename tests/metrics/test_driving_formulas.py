"""Injury curves, delta-v, CARLA and nuPlan scores and comfort against numbers worked out by hand."""

import numpy as np
import pytest

from simworld.metrics import nuplan
from simworld.metrics.carla_score import Infractions, carla_score, infraction_penalty
from simworld.metrics.comfort import ComfortBounds, comfort
from simworld.metrics.crashes import Crash
from simworld.metrics.injury import closing_speed_mps, delta_v_mps, episode_injury, injury_risk

KMH = 1 / 3.6
MPH = 0.44704


def crash(partner="car", side="front", delta_v=5.0, ego=10.0, other=5.0, closing=None, step=0):
    return Crash(step, (step + 1) * 0.1, partner, side, delta_v, None, ego, other, closing)


def test_occupant_curve_by_hand():
    assert injury_risk(40 * MPH, "occupant_mais3") == pytest.approx(1 / (1 + np.exp(6.954 - 0.1637 * 40)))
    assert injury_risk(6.954 / 0.1637 * MPH, "occupant_mais3") == pytest.approx(0.5)
    assert injury_risk(40 * MPH, "occupant_mais3", age_years=80) == injury_risk(40 * MPH, "occupant_mais3")


def test_pedestrian_curves_by_hand():
    assert injury_risk(50 * KMH, "pedestrian_fatal") == pytest.approx(1 / (1 + np.exp(7.5 - 4.8)))
    assert injury_risk(50 * KMH, "pedestrian_mais3", age_years=30) == pytest.approx(1 / (1 + np.exp(6.19 - 3.9 - 1.14)))
    # The source's abstract: 10 % at 29 km/h, for its average pedestrian.
    assert injury_risk(29 * KMH, "pedestrian_mais3", age_years=45) == pytest.approx(0.10, abs=0.005)


def test_unknown_curve_lists_the_nearest():
    with pytest.raises(ValueError, match="pedestrian_fatal"):
        injury_risk(5.0, "pedestrain_fatal")


def test_delta_v_follows_the_masses():
    assert delta_v_mps(1500, 1500, 10) == 5.0
    assert delta_v_mps(1500, 1500, 10, restitution=1.0) == 10.0
    assert delta_v_mps(1500, 50000, 10) == pytest.approx(10 * 50 / 51.5)
    assert 1500 * delta_v_mps(1500, 50000, 10) == pytest.approx(50000 * delta_v_mps(50000, 1500, 10))
    assert closing_speed_mps(1500, 75, delta_v_mps(1500, 75, 13.0)) == pytest.approx(13.0)
    with pytest.raises(ValueError, match="restitution"):
        delta_v_mps(1500, 1500, 10, restitution=2)


def test_episode_injury_takes_the_worst_crash_and_says_where_the_speed_is_from():
    crashes = [crash(delta_v=3.0), crash(partner="pedestrian", delta_v=0.6, closing=12.0), crash(delta_v=9.0)]
    occupant = episode_injury(crashes, "occupant_mais3", ego_mass_kg=1500)
    assert (occupant.severity_mps, occupant.severity_from) == (9.0, "outcomes")
    assert occupant.risk == injury_risk(9.0, "occupant_mais3")
    pedestrian = episode_injury(crashes, "pedestrian_fatal", ego_mass_kg=1500)
    assert (pedestrian.severity_mps, pedestrian.severity_from) == (12.0, "state")
    blind = episode_injury([crash(partner="pedestrian", delta_v=0.5, ego=None)], "pedestrian_fatal", ego_mass_kg=1500)
    assert blind.severity_mps == pytest.approx(0.5 * 1575 / 75) and blind.severity_from == "two-body law"
    unknown = episode_injury([crash(delta_v=None)], "occupant_mais3", ego_mass_kg=1500)
    assert (unknown.risk, unknown.severity_mps, unknown.unknown) == (0.0, None, 1)


def test_carla_score_by_hand():
    broken = Infractions(pedestrian_collisions=1, vehicle_collisions=2, static_collisions=1, red_lights=1, stop_signs=1)
    penalty = 0.5 * 0.6**2 * 0.65 * 0.7 * 0.8
    assert infraction_penalty(broken) == pytest.approx(penalty)
    assert carla_score(80.0, broken).score == pytest.approx(80 * penalty)
    assert carla_score(100.0, Infractions()).score == 100.0
    assert carla_score(None, broken).score is None
    assert infraction_penalty(Infractions(scenario_timeouts=1, emergency_yields_missed=1)) == pytest.approx(0.49)
    assert infraction_penalty(Infractions(min_speed_share=(0.5, 1.4), off_route_share=0.1)) == pytest.approx(0.85 * 0.9)
    with pytest.raises(ValueError, match="percentage"):
        carla_score(101.0, Infractions())


PERFECT = {
    "no_at_fault_collision": 1.0,
    "drivable_area": 1.0,
    "direction": 1.0,
    "progress": 1.0,
    "time_to_collision": 1.0,
    "speed_limit": 1.0,
    "comfort": 1.0,
}


def test_nuplan_weights_and_factors():
    assert nuplan.nuplan_score(**PERFECT).score == 1.0
    assert nuplan.nuplan_score(**PERFECT | {"comfort": 0.0}).score == pytest.approx(14 / 16)
    assert nuplan.nuplan_score(**PERFECT | {"progress": 0.6}).score == pytest.approx((3 + 11) / 16)
    assert nuplan.nuplan_score(**PERFECT | {"no_at_fault_collision": 0.5, "speed_limit": 0.5}).score == pytest.approx(
        0.5 * 14 / 16
    )
    assert nuplan.nuplan_score(**PERFECT | {"progress": 0.19}).score == 0.0  # not making progress
    assert nuplan.nuplan_score(**PERFECT | {"comfort": None}).score is None


@pytest.mark.parametrize(
    ("what", "between", "blame"),
    [
        (crash(side="front"), False, True),
        (crash(side="rear"), False, False),
        (crash(side="left"), False, False),
        (crash(side="left"), True, True),
        (crash(side="left"), None, None),
        (crash(side="rear", other=0.0), False, True),
        (crash(side="front", ego=0.0), True, False),
        (crash(partner="static", side="left"), False, True),
        (crash(side="front", ego=None, other=None), None, True),
        (crash(side=None, ego=None, other=None), None, None),
    ],
)
def test_nuplan_fault(what, between, blame):
    assert nuplan.at_fault(what, between_lanes=between) is blame


def test_nuplan_collision_part():
    assert nuplan.collision_part([]) == 1.0
    assert nuplan.collision_part([crash(partner="static")]) == 0.5
    assert nuplan.collision_part([crash(partner="static")] * 2) == 0.0
    assert nuplan.collision_part([crash(partner="pedestrian")]) == 0.0
    assert nuplan.collision_part([crash(partner="tank")]) == 0.0


def test_nuplan_progress_part():
    assert nuplan.progress_part(50, 100) == 0.5
    assert nuplan.progress_part(150, 100) == 1.0
    assert nuplan.progress_part(0.5, 0.0) == 1.0  # an expert that waits
    assert nuplan.progress_part(-1.0, 100) == 0.02
    assert nuplan.progress_part(-3.0, 100) == 0.0


def test_nuplan_speed_limit_part():
    assert nuplan.speed_limit_part([10, 12], [11, 13]) == 1.0
    assert nuplan.speed_limit_part([12.0] * 10 + [13.0] * 10, 12.0) == pytest.approx(1 - 0.5 / 2.23)
    assert nuplan.speed_limit_part([20.0], 12.0) == 0.0


def test_nuplan_direction_part():
    forward = np.full(50, 1.0)
    assert nuplan.direction_part(forward, 0.1) == 1.0
    back = lambda metres: np.r_[forward, np.full(10, -metres / 10), forward]  # noqa: E731
    assert [nuplan.direction_part(back(m), 0.1) for m in (5.0, 6.5, 7.5)] == [0.5, 0.5, 0.0]
    assert nuplan.direction_part(np.full(5, -0.3), 0.1) == 1.0


def test_nuplan_relevant_actors():
    xy = np.array([[[20.0, 5.0], [0.0, 3.0], [-20.0, 0.0]]] * 2)
    got = nuplan.relevant_actors(xy, [False, True], rear_axle_m=1.26)
    assert got.tolist() == [[True, False, False], [True, True, False]]


def test_comfort_of_known_motions():
    t = np.arange(60) * 0.1
    calm = comfort(10 + 2.0 * t, np.zeros(60), 0.1)
    assert calm.comfortable and calm.lon_accel_max_mps2 == pytest.approx(2.0) and calm.jerk_mps3 < 1e-6
    hard = comfort(30 - 5.0 * t, np.zeros(60), 0.1)
    assert hard.broken == ("lon_accel_min_mps2",) and hard.lon_accel_min_mps2 == pytest.approx(-5.0)
    ramp = comfort(10 + 0.5 * 2.0 * (t - 3) ** 2, np.zeros(60), 0.1, ComfortBounds(-99, 99))
    # nuPlan's even window shifts all but the ends by half a sample, which its jerk then sees as a bend of up to 13 %.
    assert ramp.lon_jerk_mps3 == pytest.approx(2.0, rel=0.13)
    turn = comfort(np.full(60, 10.0), np.full(60, 0.6), 0.1)
    assert turn.lat_accel_mps2 == pytest.approx(6.0) and turn.broken == ("lat_accel_mps2",)
    spin = comfort(np.full(60, 1.0), 2.5 * t, 0.1)
    assert spin.yaw_accel_radps2 == pytest.approx(2.5) and set(spin.broken) >= {"yaw_rate_radps", "yaw_accel_radps2"}
    with pytest.raises(ValueError, match="from 4 up"):
        comfort([1.0] * 3, [0.0] * 3, 0.1)
