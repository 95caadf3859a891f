"""score_episode on episodes built by hand: every score from state, and what is left without it."""

import json

import numpy as np
import pytest

from simworld.episode import ActionSpec, Episode, EpisodeSpec, OutcomeSpec
from simworld.metrics.driving import DrivingReference, score_episode
from simworld.metrics.injury import injury_risk
from simworld.metrics.ride import Ride
from simworld.metrics.tracks import actor_tracks, ego_path
from simworld.scenario import ACTOR_CLASSES, BODIES

SIDES = ("front", "rear", "left", "right")
STATE = {
    "speed_mps": 20.0,
    "yaw_rate_radps": 0.0,
    "lateral_m": 0.0,
    "lane_index": 0.0,
    "num_lanes": 2.0,
    "num_oncoming": 0.0,
    "lane_width_m": 3.5,
    "heading_error_rad": 0.0,
    "to_right_edge_m": 3.0,
    "to_left_edge_m": 6.0,
    "speed_limit_mps": 25.0,
}
SPEC = EpisodeSpec(
    env_id="simworld/Driving-v0",
    cameras={"front": (4, 4)},
    action=ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
    outcomes=(
        OutcomeSpec("collision", "event"),
        OutcomeSpec("impulse", "scalar", unit="N s", given="collision"),
        OutcomeSpec("delta_v", "scalar", unit="m/s", given="collision"),
        OutcomeSpec("side", "category", categories=SIDES, given="collision"),
        OutcomeSpec("partner", "category", categories=ACTOR_CLASSES, given="collision"),
        OutcomeSpec("off_road", "event"),
    ),
    state_names=tuple(STATE),
    state_units=("",) * len(STATE),
)


def actor(kind, x, y, heading, vx, vy):
    body = BODIES[kind]
    return [ACTOR_CLASSES.index(kind), x, y, heading, vx, vy, body.length_m, body.width_m, body.mass_kg]


def episode(num_steps=50, actors=None, imagined=False, **columns):
    """A drive at 20 m/s; `columns` replace state entries, `actors` is a function of time in s."""
    nan = np.full(num_steps, np.nan, np.float32)
    state = np.column_stack([np.broadcast_to(columns.get(n, v), num_steps + 1) for n, v in STATE.items()])
    seen = np.full((num_steps + 1, 3, 9), np.nan, np.float32)
    for k in range(num_steps + 1):
        for row, values in enumerate(actors(k * 0.1) if actors else []):
            seen[k, row] = values
    found = Episode(
        frames={"front": np.zeros((num_steps + 1, 4, 4, 3), np.uint8)},
        actions=np.zeros((num_steps, 2), np.float32),
        reward=np.zeros(num_steps, np.float32),
        terminated=np.zeros(num_steps, bool),
        outcomes={o.name: nan.copy() for o in SPEC.outcomes},
        state=np.full_like(state, np.nan, dtype=np.float32) if imagined else state.astype(np.float32),
        actors=np.zeros((num_steps + 1, 0, 9), np.float32) if imagined else seen,
    )
    found.outcomes["collision"][:] = 0.0
    found.outcomes["off_road"][:] = 0.0
    found.validate(SPEC)
    return found


def crash_at(found, step, partner, side, delta_v):
    found.outcomes["collision"][step] = 1.0
    found.outcomes["delta_v"][step] = delta_v
    found.outcomes["impulse"][step] = delta_v * 1500
    found.outcomes["side"][step] = SIDES.index(side)
    found.outcomes["partner"][step] = ACTOR_CLASSES.index(partner)
    return found


def test_a_free_calm_drive_is_perfect():
    scores = score_episode(episode(), SPEC, reference=DrivingReference(expert_progress_m=100.0, route_length_m=100.0))
    assert scores.nuplan.score == 1.0
    assert scores.carla.score == pytest.approx(100.0)
    assert scores.min_ttc_s == scores.min_pet_s == np.inf
    assert scores.rss_unsafe_share == 0.0
    assert scores.injury.risk == 0.0 and scores.crashes == () and scores.left_out == ()


def test_without_a_reference_only_what_needs_it_is_left_out():
    scores = score_episode(episode(), SPEC)
    assert {entry.name for entry in scores.left_out} == {"carla.route_completion", "nuplan.progress"}
    assert scores.carla.score is None and scores.carla.penalty == 1.0
    assert scores.nuplan.score is None and scores.nuplan.comfort == 1.0


def test_ttc_and_rss_see_a_slow_lead():
    def lead(t):
        return [actor("car", 44.5 - 10 * t, 0.0, 0.0, 10.0, 0.0)]

    scores = score_episode(episode(31, lead), SPEC)  # 40 m at 10 m/s closing, watched for 3.1 s
    assert scores.min_ttc_s == pytest.approx(0.9)
    assert scores.nuplan.time_to_collision == 0.0
    assert score_episode(episode(30, lead), SPEC).nuplan.time_to_collision == 1.0  # 1.0 s left: above 0.95
    assert scores.rss_unsafe_share == 1.0
    assert score_episode(episode(31, lambda t: [actor("car", 60, 3.5, 0, 20, 0)]), SPEC).rss_unsafe_share == 0.0


def test_pet_of_a_pedestrian_that_crosses_before_the_ego():
    def walker(t):
        return [actor("pedestrian", 60 - 20 * t, 1.8 - 2 * t, -np.pi / 2, 0.0, -2.0)]

    # It leaves the ego's strip (|y| < 0.9) with its own half length 0.25 at t = 1.475 s; the ego's nose reaches its
    # strip (x > 59.7) at (59.7 - 2.25) / 20 = 2.87 s.
    scores = score_episode(episode(50, walker), SPEC)
    assert scores.min_pet_s == pytest.approx(2.8725 - 1.475, abs=0.04)
    assert scores.min_ttc_s == np.inf


def test_tracks_survive_reordered_rows_and_gaps():
    path = ego_path(np.full(31, 10.0), np.full(31, 0.2), 0.1)
    assert path[-1, 2] == pytest.approx(0.6)
    assert np.allclose(path[-1, :2], [50 * np.sin(0.6), 50 * (1 - np.cos(0.6))], atol=0.01)
    rng = np.random.default_rng(0)
    ground = {"car": (30.0, 2.0, 8.0), "truck": (40.0, -3.0, 12.0)}
    rows = np.full((31, 3, 9), np.nan)
    for k in range(31):
        cos, sin = np.cos(path[k, 2]), np.sin(path[k, 2])
        seen = []
        for kind, (x0, y0, v) in ground.items():
            if kind == "car" and 10 <= k < 15:
                continue
            dx, dy = x0 + v * k * 0.1 - path[k, 0], y0 - path[k, 1]
            place = (cos * dx + sin * dy, cos * dy - sin * dx)
            seen.append(actor(kind, *place, -path[k, 2], cos * v, -sin * v))
        for slot, row in zip(rng.permutation(3), seen, strict=False):
            rows[k, slot] = row
    tracks = actor_tracks(rows, path, 0.1)
    assert sorted((ACTOR_CLASSES[t.kind], t.first, len(t.pose)) for t in tracks) == [
        ("car", 0, 10),
        ("car", 15, 16),
        ("truck", 0, 31),
    ]
    truck = next(t for t in tracks if ACTOR_CLASSES[t.kind] == "truck")
    assert np.allclose(truck.pose, [[40 + 1.2 * k, -3.0, 0.0] for k in range(31)])


def test_a_crash_from_state_knows_speeds_and_fault():
    found = episode(20, lambda t: [actor("pedestrian", 25 - 20 * t, 0.0, np.pi / 2, 0.0, 1.5)])
    crash_at(found, 11, "pedestrian", "front", 0.9)
    scores = score_episode(found, SPEC, curve="pedestrian_fatal")
    (crash,) = scores.crashes
    assert (crash.partner, crash.side, crash.t_s) == ("pedestrian", "front", pytest.approx(1.2))
    assert crash.ego_speed_mps == 20.0 and crash.closing_speed_mps == pytest.approx(np.hypot(20, 1.5))
    assert scores.injury.severity_from == "state"
    assert scores.injury.risk == pytest.approx(injury_risk(float(np.hypot(20, 1.5)), "pedestrian_fatal"))
    assert scores.nuplan.no_at_fault_collision == 0.0 and scores.min_ttc_s == 0.0
    assert scores.carla.penalty == 0.5


def test_being_hit_from_behind_is_not_the_egos_fault():
    found = crash_at(episode(20, lambda t: [actor("car", -6.0, 0.0, 0.0, 25.0, 0.0)]), 10, "car", "rear", 3.0)
    scores = score_episode(found, SPEC)
    assert scores.nuplan.no_at_fault_collision == 1.0 and scores.nuplan.time_to_collision == 1.0
    assert scores.carla.penalty == 0.6  # CARLA's score asks for no fault


def test_neighbouring_steps_with_one_partner_are_one_crash():
    found = episode(20)
    for step in (5, 6, 7):
        crash_at(found, step, "car", "front", 2.0)
    crash_at(found, 8, "truck", "front", 2.0)
    crash_at(found, 15, "car", "front", 2.0)
    assert [(c.step, c.partner) for c in score_episode(found, SPEC).crashes] == [(5, "car"), (8, "truck"), (15, "car")]


def test_an_imagined_episode_is_scored_from_its_outcomes():
    found = crash_at(episode(20, imagined=True), 10, "pedestrian", "front", 0.9)
    crash_at(found, 15, "static", "left", 4.0)
    scores = score_episode(found, SPEC, curve="pedestrian_fatal", reference=DrivingReference(100.0, 100.0))
    left_out = {entry.name: entry.reason for entry in scores.left_out}
    assert set(left_out) == {
        "min_ttc_s",
        "comfort",
        "carla.off_route_share",
        "carla.route_completion",
        "nuplan.direction",
        "nuplan.progress",
        "nuplan.speed_limit",
        "min_pet_s",
        "rss_unsafe_share",
    }
    assert all("imagined" in reason for reason in left_out.values())
    assert scores.carla.penalty == pytest.approx(0.5 * 0.65) and scores.carla.score is None
    assert scores.nuplan.no_at_fault_collision == 0.0 and scores.nuplan.drivable_area == 1.0
    assert scores.injury.severity_from == "two-body law"
    assert scores.injury.severity_mps == pytest.approx(0.9 * (1500 + 75) / 75)


def test_blame_that_hangs_on_the_lane_is_left_out_when_imagined():
    found = crash_at(episode(20, imagined=True), 10, "car", "left", 2.0)
    scores = score_episode(found, SPEC)
    assert scores.nuplan.no_at_fault_collision is None
    assert "1.1 s" in next(e.reason for e in scores.left_out if e.name == "nuplan.no_at_fault_collision")


def test_off_road_and_wrong_way():
    found = episode(30, to_right_edge_m=np.where(np.arange(31) < 16, 1.0, -0.5))
    found.outcomes["off_road"][15] = 1.0
    scores = score_episode(found, SPEC)
    assert scores.nuplan.drivable_area == 0.0 and scores.carla.penalty == pytest.approx(0.5)
    wrong = episode(30, lane_index=1.0, num_oncoming=1.0, lateral_m=3.5)
    assert score_episode(wrong, SPEC).nuplan.direction == 0.0
    assert score_episode(episode(30, lane_index=1.0, lateral_m=3.5), SPEC).nuplan.direction == 1.0


def test_the_forced_prefix_is_not_scored():
    found = crash_at(episode(20), 3, "car", "front", 2.0)
    found.provenance["prefix_steps"] = 5
    assert score_episode(found, SPEC).crashes == ()
    assert len(score_episode(found, SPEC, start_step=0).crashes) == 1
    ride = Ride(found, SPEC, 5, BODIES["car"])
    assert ride.progress_m() == pytest.approx(30.0) and ride.speed_limit_progress_m() == pytest.approx(37.5)
    with pytest.raises(ValueError, match="start_step 20"):
        score_episode(found, SPEC, start_step=20)


def test_scores_are_plain_json():
    text = json.dumps(score_episode(episode(), SPEC).to_json(), allow_nan=False)
    assert json.loads(text)["min_ttc_s"] == "inf"


def test_unknown_curve_is_refused_before_any_work():
    with pytest.raises(ValueError, match="no injury curve"):
        score_episode(episode(), SPEC, curve="nonsense")
