"""OpenSCENARIO actions against closed forms: transition shapes, lane changes, trajectories, synchronisation."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from .osc_build import event, lane_change, lane_position, opened, run_to, speed_action, teleport

MOVING = {"A": teleport(lane_position(10)) + speed_action(10), "B": teleport(lane_position(60)) + speed_action(4)}


@pytest.mark.parametrize(
    ("shape", "dimension", "extent", "at_s", "speed"),
    [
        ("linear", "time", 4, 1.0, 10 + 2.5),
        ("linear", "rate", 5, 1.0, 15),
        ("cubic", "time", 4, 1.0, 10 + 10 * (3 / 16 - 2 / 64)),
        ("sinusoidal", "time", 4, 1.0, 10 + 5 * (1 - math.cos(math.pi / 4))),
        ("sinusoidal", "rate", 5 * math.pi, 0.5, 15),  # peak rate: pi/2 * 10 / T
        ("cubic", "rate", 15, 0.5, 15),
        ("linear", "distance", 30, 1.0, 15),  # mean speed 15 over 30 m: 2 s
        ("step", "time", 0, 0.01, 20),
    ],
)
def test_speed_follows_its_shape(
    tmp_path: Path, shape: str, dimension: str, extent: float, at_s: float, speed: float
) -> None:
    runner = opened(tmp_path, event("go", speed_action(20, shape, dimension, extent)), starts=MOVING)
    run_to(runner, 0.01 + at_s)  # the event starts at the second step, 0.01 s
    assert runner.world.entities["A"].speed_mps == pytest.approx(speed, abs=1e-6)


def test_speed_relative_to_another_follows_it_while_continuous(tmp_path: Path) -> None:
    factor = '<RelativeTargetSpeed entityRef="B" value="2" speedTargetValueType="factor" continuous="true"/>'
    runner = opened(tmp_path, event("go", speed_action(0, target=factor)), starts=MOVING)
    run_to(runner, 0.1)
    assert runner.world.entities["A"].speed_mps == 8
    runner.world.entities["B"].speed_mps = 6.0
    run_to(runner, 0.2)
    assert runner.world.entities["A"].speed_mps == 12


@pytest.mark.parametrize(
    ("target", "y"),
    [
        ('<AbsoluteTargetLane value="-2"/>', -5.25),
        ('<AbsoluteTargetLane value="1"/>', 1.75),
        ('<RelativeTargetLane entityRef="A" value="-1"/>', -5.25),
        ('<RelativeTargetLane entityRef="A" value="1"/>', 1.75),  # to the left, over the centre line
        ('<RelativeTargetLane entityRef="B" value="0"/>', -1.75),
    ],
)
def test_lane_changes_end_in_the_middle_of_the_lane(tmp_path: Path, target: str, y: float) -> None:
    runner = opened(tmp_path, event("change", lane_change(target)), starts=MOVING)
    run_to(runner, 1.01)
    halfway = runner.world.entities["A"].pose
    assert halfway.y_m == pytest.approx((y - 1.75) / 2, abs=0.05)
    # Halfway along the sine the sideways speed is at its peak, pi/2 of the mean.
    assert halfway.heading_rad == pytest.approx(math.atan2(math.pi / 2 * (y + 1.75) / 2, 10), abs=0.01)
    run_to(runner, 3)
    pose = runner.world.entities["A"].pose
    assert (pose.y_m, pose.heading_rad) == (pytest.approx(y), pytest.approx(0))


def test_a_lane_change_over_a_distance(tmp_path: Path) -> None:
    change = lane_change('<AbsoluteTargetLane value="-2"/>', "linear", "distance", 40)
    runner = run_to(opened(tmp_path, event("change", change), starts=MOVING), 2.01)
    assert runner.world.entities["A"].pose.y_m == pytest.approx(-3.5, abs=0.03)


def test_shift_within_the_lane(tmp_path: Path) -> None:
    shift = (
        '<PrivateAction><LateralAction><LaneOffsetAction continuous="false"><LaneOffsetActionDynamics '
        'dynamicsShape="sinusoidal" maxLateralAcc="2"/><LaneOffsetTarget><AbsoluteTargetLaneOffset value="1"/>'
        "</LaneOffsetTarget></LaneOffsetAction></LateralAction></PrivateAction>"
    )
    runner = run_to(opened(tmp_path, event("shift", shift), starts=MOVING), 4)
    assert runner.world.entities["A"].pose.y_m == pytest.approx(-0.75)


def follow(vertices: str, timing: str = "<None/>") -> str:
    return (
        '<PrivateAction><RoutingAction><FollowTrajectoryAction><Trajectory name="t" closed="false"><Shape>'
        f"{vertices}</Shape></Trajectory><TimeReference>{timing}</TimeReference>"
        '<TrajectoryFollowingMode followingMode="position"/></FollowTrajectoryAction></RoutingAction></PrivateAction>'
    )


def vertex(t: float, x: float, y: float) -> str:
    return f'<Vertex time="{t}"><Position><WorldPosition x="{x}" y="{y}"/></Position></Vertex>'


def test_trajectory_by_speed_and_by_its_own_clock(tmp_path: Path) -> None:
    path = f"<Polyline>{vertex(0, 10, -1.75)}{vertex(2, 30, -1.75)}{vertex(6, 30, 18.25)}</Polyline>"
    runner = run_to(opened(tmp_path, event("t", follow(path)), starts=MOVING), 3.01)
    assert runner.world.entities["A"].pose == pytest.approx((30, 8.25, math.pi / 2), abs=0.15)
    clock = '<Timing domainAbsoluteRelative="relative" scale="1" offset="0"/>'
    runner = run_to(opened(tmp_path, event("t", follow(path, clock)), starts=MOVING), 4.01)
    assert runner.world.entities["A"].pose == pytest.approx((30, 8.25, math.pi / 2), abs=0.1)
    assert runner.world.entities["A"].speed_mps == pytest.approx(5, abs=0.01)


def test_clothoid_and_nurbs(tmp_path: Path) -> None:
    start = '<Position><WorldPosition x="0" y="0" h="0"/></Position>'
    arc = f'<Clothoid curvature="0.1" curvatureDot="0" length="{5 * math.pi}">{start}</Clothoid>'
    runner = run_to(opened(tmp_path, event("t", follow(arc)), starts=MOVING), 1.55)
    assert runner.world.entities["A"].pose[:2] == pytest.approx((10, 10), abs=0.4)
    points = "".join(
        f'<ControlPoint weight="{w}"><Position><WorldPosition x="{x}" y="{y}"/></Position></ControlPoint>'
        for x, y, w in ((10, 0, 1), (10, 10, math.sqrt(0.5)), (0, 10, 1))
    )
    knots = "".join(f'<Knot value="{k}"/>' for k in (0, 0, 0, 1, 1, 1))
    circle = f'<Nurbs order="3">{points}{knots}</Nurbs>'  # a quarter circle of radius 10, exactly
    runner = run_to(opened(tmp_path, event("t", follow(circle)), starts=MOVING), 0.8)
    assert math.hypot(*runner.world.entities["A"].pose[:2]) == pytest.approx(10, abs=0.02)


def test_synchronised_arrival_with_final_speed(tmp_path: Path) -> None:
    sync = (
        '<PrivateAction><SynchronizeAction masterEntityRef="B"><TargetPositionMaster><LanePosition roadId="1" '
        'laneId="-1" s="100"/></TargetPositionMaster><TargetPosition><LanePosition roadId="1" laneId="-1" s="90"/>'
        '</TargetPosition><FinalSpeed><AbsoluteSpeed value="6"/></FinalSpeed></SynchronizeAction></PrivateAction>'
    )
    runner = run_to(opened(tmp_path, event("sync", sync), starts=MOVING), 10.0)  # B needs 40 m at 4 m/s
    a = runner.world.entities["A"]
    assert a.pose.x_m == pytest.approx(90, abs=0.2) and a.speed_mps == pytest.approx(6, abs=0.05)


def test_keeping_a_distance(tmp_path: Path) -> None:
    keep = (
        '<PrivateAction><LongitudinalAction><LongitudinalDistanceAction entityRef="B" distance="15" freespace="true" '
        'continuous="true"/></LongitudinalAction></PrivateAction>'
    )
    runner = run_to(opened(tmp_path, event("keep", keep), starts=MOVING), 20)
    a, b = runner.world.entities["A"], runner.world.entities["B"]
    assert b.pose.x_m - a.pose.x_m == pytest.approx(15 + 4, abs=0.2) and a.speed_mps == pytest.approx(4, abs=0.05)


def test_teleport_relative_positions_and_reverse_direction(tmp_path: Path) -> None:
    turned = '<Orientation type="relative" h="3.14159265"/>'
    starts = {
        "A": teleport(lane_position(100, 1)),
        "B": teleport('<RelativeLanePosition entityRef="A" dLane="1" ds="20" offset="0"/>'),
        "C": teleport('<RelativeObjectPosition entityRef="A" dx="5" dy="1"/>'),
        "D": teleport(lane_position(50, -1, turned)),
    }
    world = opened(tmp_path, starts=starts).world
    assert world.entities["A"].pose == pytest.approx((100, 1.75, math.pi))  # lane 1 runs against s
    # To the left of a car that drives against s, 20 m further on: over the centre line.
    assert world.entities["B"].pose == pytest.approx((80, -1.75, math.pi))
    assert world.entities["C"].pose[:2] == pytest.approx((95, 0.75))
    assert math.cos(world.entities["D"].pose.heading_rad) == pytest.approx(-1)
