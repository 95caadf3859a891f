"""OpenSCENARIO triggers and the storyboard's states: edges, delays, priorities, counts, conditions by entity."""

from __future__ import annotations

from pathlib import Path

import pytest

from simworld.readers.opendrive import Pose
from simworld.readers.openscenario import ExternalState, open_storyboard, read_openscenario

from .osc_build import (
    entity_condition,
    event,
    lane_position,
    opened,
    put,
    run_to,
    scenario,
    speed_action,
    started,
    teleport,
    trigger,
    value_condition,
)

MOVING = {"A": teleport(lane_position(10)) + speed_action(10), "B": teleport(lane_position(60)) + speed_action(4)}


def at(t: float, edge: str = "rising", delay: float = 0) -> str:
    body = f'<SimulationTimeCondition value="{t}" rule="greaterThan"/>'
    return trigger(value_condition(body, edge=edge, delay=delay))


def when_state(name: str, state: str, kind: str = "event", edge: str = "none", delay: float = 0) -> str:
    body = (
        f'<StoryboardElementStateCondition storyboardElementType="{kind}" storyboardElementRef="{name}" '
        f'state="{state}"/>'
    )
    return trigger(value_condition(body, edge=edge, delay=delay))


def test_edges_and_delays(tmp_path: Path) -> None:
    runner = opened(
        tmp_path,
        event("none", speed_action(1), start=at(1, "none")),
        event("rising", speed_action(1), start=at(1)),
        event("delayed", speed_action(1), start=at(1, delay=0.5)),
        event("falling", speed_action(1), start=at(1, "falling")),
        event("true from the start", speed_action(1), start=at(-1)),
        starts=MOVING,
    )
    run_to(runner, 3)
    assert started(runner, "none") == started(runner, "rising") == [pytest.approx(1.01)]
    assert started(runner, "delayed") == [pytest.approx(1.51)]
    assert started(runner, "falling") == started(runner, "true from the start") == []


def test_all_conditions_of_a_group_or_any_group(tmp_path: Path) -> None:
    early = value_condition('<SimulationTimeCondition value="1" rule="greaterThan"/>')
    late = value_condition('<SimulationTimeCondition value="2" rule="greaterThan"/>')
    groups = (
        f"<StartTrigger><ConditionGroup>{late}</ConditionGroup><ConditionGroup>{early}</ConditionGroup></StartTrigger>"
    )
    runner = opened(
        tmp_path,
        event("and", speed_action(1), start=trigger(early, late)),
        event("or", speed_action(1), start=groups),
        starts=MOVING,
    )
    run_to(runner, 3)
    assert started(runner, "and") == [pytest.approx(2.01)] and started(runner, "or") == [pytest.approx(1.01)]


@pytest.mark.parametrize(("priority", "speeds"), [("overwrite", (15, 20)), ("override", (15, 20)), ("skip", (20, 20))])
def test_priorities(tmp_path: Path, priority: str, speeds: tuple[float, float]) -> None:
    """The first event goes from 10 to 20 m/s in 2 s; the second, 1 s later, would hold the speed there is."""
    hold = event("hold", "<UserDefinedAction/>", start=at(1.01), priority=priority)
    runner = opened(tmp_path, event("go", speed_action(20, "linear", "time", 2)), hold, starts=MOVING)
    run_to(runner, 3)
    assert runner.world.entities["A"].speed_mps == pytest.approx(speeds[0], abs=0.2)


def test_a_later_action_of_the_same_kind_takes_over(tmp_path: Path) -> None:
    other = event("other", speed_action(5), start=at(1))
    runner = opened(tmp_path, event("go", speed_action(20, "linear", "time", 2)), other, starts=MOVING)
    run_to(runner, 3)
    assert runner.world.entities["A"].speed_mps == 5
    ends = {e.name: e.t_s for e in runner.events()}
    assert ends["event go: end"] == pytest.approx(1.02, abs=0.011)


def test_chains_of_events_and_counts(tmp_path: Path) -> None:
    runner = opened(
        tmp_path,
        event("first", speed_action(20, "linear", "time", 1)),
        event("second", speed_action(0), start=when_state("first", "endTransition", delay=0.5)),
        event("third", speed_action(3), start=when_state("second", "completeState")),
        event("often", speed_action(3), start=at(2, "none"), most=3),
        starts=MOVING,
    )
    run_to(runner, 4)
    assert started(runner, "second") == [pytest.approx(1.5, abs=0.03)]
    assert started(runner, "third") == [pytest.approx(1.5, abs=0.05)]
    assert len(started(runner, "often")) == 3


@pytest.mark.parametrize(
    ("condition", "expected_s"),
    [
        # A at 10 m going 10 m/s, B at 60 m going 4 m/s; boxes are 4 m long.
        ('<TimeHeadwayCondition entityRef="B" value="2" freespace="false" rule="lessThan"/>', 5.0),
        ('<TimeHeadwayCondition entityRef="B" value="2" freespace="true" rule="lessThan"/>', 26 / 6),
        (
            '<TimeToCollisionCondition value="2" freespace="false" rule="lessThan"><TimeToCollisionConditionTarget>'
            '<EntityRef entityRef="B"/></TimeToCollisionConditionTarget></TimeToCollisionCondition>',
            38 / 6,
        ),
        (
            '<RelativeDistanceCondition entityRef="B" relativeDistanceType="longitudinal" value="20" freespace="false" '
            'rule="lessThan" coordinateSystem="road"/>',
            5.0,
        ),
        (
            '<RelativeDistanceCondition entityRef="B" relativeDistanceType="cartesianDistance" value="20" '
            'freespace="true" rule="lessThan"/>',
            26 / 6,
        ),
        ('<TraveledDistanceCondition value="30"/>', 3.0),
        (
            f'<ReachPositionCondition tolerance="2"><Position>{lane_position(50)}</Position></ReachPositionCondition>',
            3.8,
        ),
        ('<CollisionCondition><EntityRef entityRef="B"/></CollisionCondition>', 46 / 6),
        ('<CollisionCondition><ByType type="vehicle"/></CollisionCondition>', 46 / 6),
        ('<SpeedCondition value="9.5" rule="greaterThan"/>', 0.01),
        ('<RelativeSpeedCondition entityRef="B" value="5" rule="greaterThan"/>', 0.01),
        ('<SpeedCondition value="11" rule="greaterThan"/>', None),
        ('<CollisionCondition><ByType type="pedestrian"/></CollisionCondition>', None),
        ('<EndOfRoadCondition duration="0"/>', None),
    ],
)
def test_conditions_by_entity(tmp_path: Path, condition: str, expected_s: float | None) -> None:
    runner = opened(
        tmp_path, event("e", speed_action(10), start=trigger(entity_condition("A", condition))), starts=MOVING
    )
    run_to(runner, 9)
    if expected_s is None:
        assert started(runner, "e") == []
    else:
        assert started(runner, "e") == [pytest.approx(expected_s, abs=0.02)]


def test_stand_still_and_acceleration(tmp_path: Path) -> None:
    stands = trigger(entity_condition("A", '<StandStillCondition duration="1"/>'))
    brakes = trigger(entity_condition("A", '<AccelerationCondition value="-4" rule="lessThan"/>'))
    runner = opened(
        tmp_path,
        event("brake", speed_action(0, "linear", "rate", 5), start=at(1)),
        event("braking seen", speed_action(0, "linear", "rate", 5), start=brakes),
        event("standing seen", speed_action(1), start=stands),
        starts=MOVING,
    )
    run_to(runner, 6)
    assert started(runner, "braking seen") == [pytest.approx(1.02, abs=0.011)]
    assert started(runner, "standing seen") == [pytest.approx(4.0, abs=0.05)]


def test_parameters_and_variables_at_run_time(tmp_path: Path) -> None:
    before = (
        '<ParameterDeclarations><ParameterDeclaration name="p" parameterType="double" value="1"/>'
        "</ParameterDeclarations>"
        '<VariableDeclarations><VariableDeclaration name="v" variableType="double" value="0"/></VariableDeclarations>'
    )
    change = (
        '<GlobalAction><VariableAction variableRef="v"><ModifyAction><Rule><AddValue value="2"/></Rule></ModifyAction>'
        "</VariableAction></GlobalAction>"
    )
    seen = trigger(
        value_condition('<VariableCondition variableRef="v" value="1" rule="greaterThan"/>'),
        value_condition('<ParameterCondition parameterRef="p" value="1" rule="equalTo"/>'),
    )
    runner = opened(
        tmp_path, event("add", change, start=at(1)), event("seen", speed_action(2), start=seen), before=before
    )
    run_to(runner, 2)
    assert started(runner, "seen") == [pytest.approx(1.01, abs=0.011)]


def test_the_stop_trigger_ends_the_run_and_a_missing_one_is_noted(tmp_path: Path) -> None:
    stop = trigger(value_condition('<SimulationTimeCondition value="2" rule="greaterThan"/>'), tag="StopTrigger")
    forever = event("never", speed_action(1), start=at(1e6))
    path = put(tmp_path, scenario(forever, starts=MOVING, stop=stop))
    assert read_openscenario(path).duration_s == pytest.approx(2.02, abs=0.011)
    endless = read_openscenario(put(tmp_path, scenario(forever, starts=MOVING)), max_duration_s=3)
    assert endless.duration_s == pytest.approx(3.0)
    assert any(u.element == "StopTrigger" for u in endless.unsupported)


def test_what_moves_from_outside_is_seen_by_triggers(tmp_path: Path) -> None:
    near = trigger(entity_condition("A", '<CollisionCondition><EntityRef entityRef="B"/></CollisionCondition>'))
    runner = opened(tmp_path, event("hit", speed_action(0), start=near), starts=MOVING)
    for _ in range(5):
        runner.step(external={"A": ExternalState(Pose(58.0, -1.75, 0.0), 3.0)})
    assert started(runner, "hit") and runner.world.entities["A"].pose.x_m == 58


def test_entities_appear_and_vanish(tmp_path: Path) -> None:
    add = (
        '<GlobalAction><EntityAction entityRef="B"><AddEntityAction><Position><WorldPosition x="5" y="9"/></Position>'
        "</AddEntityAction></EntityAction></GlobalAction>"
    )
    delete = '<GlobalAction><EntityAction entityRef="A"><DeleteEntityAction/></EntityAction></GlobalAction>'
    starts = {"A": teleport(lane_position(10)) + speed_action(10), "B": ""}
    text = scenario(event("add", add, start=at(1)), event("del", delete, start=at(2)), starts=starts)
    result = read_openscenario(put(tmp_path, text), max_duration_s=4)
    a, b = result.actor("A"), result.actor("B")
    assert a.track is not None and a.track.t_s[-1] == pytest.approx(2.0, abs=0.06)
    assert b.track is not None and b.track.t_s[0] == pytest.approx(1.05, abs=0.06)
    assert not a.present(3.0) and b.present(3.0)


def test_behaviour_lists_what_an_actor_was_made_to_do(tmp_path: Path) -> None:
    text = scenario(event("go", speed_action(20, "linear", "time", 2), start=at(1)), starts=MOVING)
    actions = read_openscenario(put(tmp_path, text), max_duration_s=5).actor("A").behaviour["actions"]
    last = actions[-1]
    assert (last["action"], last["target_mps"]) == ("SpeedAction", 20)
    assert (last["t_s"], last["end_s"]) == (pytest.approx(1.01), pytest.approx(3.0, abs=0.02))


def test_files_for_carla_are_mirrored_and_latch(tmp_path: Path) -> None:
    held = event("hold", speed_action(5, "step", "distance", 20), start=at(1, "none"))
    then = event("then", speed_action(0), start=when_state("hold", "completeState"))
    starts = {
        "A": teleport('<WorldPosition x="10" y="1.75" h="0.0"/>'),
        "B": teleport('<RoadPosition roadId="1" s="60" t="5"/>'),
    }
    runner = open_storyboard(put(tmp_path, scenario(held, then, starts=starts, description="CARLA:Test")))
    assert runner.world.entities["A"].pose.y_m == -1.75 and runner.world.entities["B"].pose.y_m == -5
    run_to(runner, 6)
    assert started(runner, "then") == [pytest.approx(1.01 + 4.0, abs=0.03)]


def test_an_ego_left_to_a_controller_keeps_its_lane_and_stops_in_time(tmp_path: Path) -> None:
    control = "<PrivateAction><ControllerAction/></PrivateAction>"
    starts = {"Ego": teleport(lane_position(10)) + control, "B": teleport(lane_position(60))}
    result = read_openscenario(
        put(tmp_path, scenario(event("e", speed_action(0), start=at(30)), starts=starts, actor="B"))
    )
    ego = result.actor("Ego").track
    assert ego is not None and 45 < ego.at(30)[0] < 56 and ego.at(30)[3] < 0.1
    assert any(u.element == "external controller" for u in result.unsupported)


def test_the_ego_is_found_by_its_name(tmp_path: Path) -> None:
    starts = {"A": teleport(lane_position(10)), "hero": teleport(lane_position(60))}
    assert open_storyboard(put(tmp_path, scenario(starts=starts))).ego == "hero"
