"""Small OpenSCENARIO files for tests: a straight road, entities with a start, and one maneuver."""

from __future__ import annotations

from pathlib import Path

from simworld.readers.openscenario import open_storyboard
from simworld.readers.openscenario.runner import Runner

WIDTH = '<width sOffset="0" a="3.5" b="0" c="0" d="0"/>'
ROAD = (
    '<OpenDRIVE><header/><road id="1" length="1000" junction="-1"><link/>'
    '<planView><geometry s="0" x="0" y="0" hdg="0" length="1000"><line/></geometry></planView><lanes>'
    f'<laneSection s="0"><left><lane id="1" type="driving">{WIDTH}</lane></left><center><lane id="0"/></center>'
    f'<right><lane id="-1" type="driving">{WIDTH}</lane><lane id="-2" type="driving">{WIDTH}</lane></right>'
    "</laneSection></lanes></road></OpenDRIVE>"
)
BOX = '<BoundingBox><Center x="0" y="0" z="0.75"/><Dimensions length="4" width="2" height="1.5"/></BoundingBox>'
AT_ONCE = '<SimulationTimeCondition value="0" rule="greaterThan"/>'


def speed_action(
    value: object, shape: str = "step", dimension: str = "time", extent: float = 0, target: str = ""
) -> str:
    target = target or f'<AbsoluteTargetSpeed value="{value}"/>'
    return (
        f'<PrivateAction><LongitudinalAction><SpeedAction><SpeedActionDynamics dynamicsShape="{shape}" '
        f'dynamicsDimension="{dimension}" value="{extent}"/><SpeedActionTarget>{target}</SpeedActionTarget>'
        "</SpeedAction></LongitudinalAction></PrivateAction>"
    )


def lane_change(lane: str, shape: str = "sinusoidal", dimension: str = "time", extent: float = 2) -> str:
    return (
        f'<PrivateAction><LateralAction><LaneChangeAction><LaneChangeActionDynamics dynamicsShape="{shape}" '
        f'dynamicsDimension="{dimension}" value="{extent}"/><LaneChangeTarget>{lane}</LaneChangeTarget>'
        "</LaneChangeAction></LateralAction></PrivateAction>"
    )


def teleport(position: str) -> str:
    return f"<PrivateAction><TeleportAction><Position>{position}</Position></TeleportAction></PrivateAction>"


def lane_position(s: object, lane: int = -1, inside: str = "") -> str:
    return f'<LanePosition roadId="1" laneId="{lane}" s="{s}">{inside}</LanePosition>'


def value_condition(body: str, *, edge: str = "none", delay: float = 0, name: str = "c") -> str:
    return (
        f'<Condition name="{name}" delay="{delay}" conditionEdge="{edge}"><ByValueCondition>{body}</ByValueCondition>'
        "</Condition>"
    )


def entity_condition(who: str, body: str, *, edge: str = "none", rule: str = "any") -> str:
    return (
        f'<Condition name="c" delay="0" conditionEdge="{edge}"><ByEntityCondition><TriggeringEntities '
        f'triggeringEntitiesRule="{rule}"><EntityRef entityRef="{who}"/></TriggeringEntities>'
        f"<EntityCondition>{body}</EntityCondition></ByEntityCondition></Condition>"
    )


def trigger(*conditions: str, tag: str = "StartTrigger") -> str:
    return f"<{tag}><ConditionGroup>{''.join(conditions)}</ConditionGroup></{tag}>"


def event(name: str, *actions: str, start: str = "", priority: str = "parallel", most: int = 1) -> str:
    start = start or trigger(value_condition(AT_ONCE))
    body = "".join(f'<Action name="{name}-{i}">{a}</Action>' for i, a in enumerate(actions))
    return f'<Event name="{name}" priority="{priority}" maximumExecutionCount="{most}">{body}{start}</Event>'


def scenario(
    *events: str,
    starts: dict[str, str] | None = None,
    actor: str = "A",
    stop: str = "",
    before: str = "",
    description: str = "",
    road: str = "road.xodr",
    extra_init: str = "",
) -> str:
    """A file with entities A and B (unless `starts` says otherwise: their init actions), and events on `actor`."""
    starts = starts or {"A": teleport(lane_position(10)), "B": teleport(lane_position(60))}
    objects = "".join(
        f'<ScenarioObject name="{n}"><Vehicle name="v" vehicleCategory="car">{BOX}</Vehicle></ScenarioObject>'
        for n in starts
    )
    init = "".join(f'<Private entityRef="{n}">{a}</Private>' for n, a in starts.items() if a)
    maneuver = f'<Maneuver name="maneuver">{"".join(events)}</Maneuver>'
    actors = f'<Actors selectTriggeringEntities="false"><EntityRef entityRef="{actor}"/></Actors>'
    group = f'<ManeuverGroup name="group" maximumExecutionCount="1">{actors}{maneuver}</ManeuverGroup>'
    act = f'<Act name="act">{group}{trigger(value_condition(AT_ONCE))}</Act>'
    return (
        f'<OpenSCENARIO><FileHeader revMajor="1" revMinor="2" date="2025-01-01T00:00:00" author="" '
        f'description="{description}"/>{before}<RoadNetwork><LogicFile filepath="{road}"/></RoadNetwork>'
        f"<Entities>{objects}</Entities><Storyboard><Init><Actions>{extra_init}{init}</Actions></Init>"
        f'<Story name="story">{act}</Story>{stop or "<StopTrigger/>"}</Storyboard></OpenSCENARIO>'
    )


def put(folder: Path, text: str, name: str = "test.xosc") -> Path:
    """Write a scenario and its road into a folder."""
    (folder / "road.xodr").write_text(ROAD)
    path = folder / name
    path.write_text(text)
    return path


def opened(folder: Path, *events: str, **options: object) -> Runner:
    """The storyboard of a small scenario at time 0."""
    return open_storyboard(put(folder, scenario(*events, **options)))  # type: ignore[arg-type]


def run_to(runner: Runner, t_s: float) -> Runner:
    """Step until a time."""
    while runner.world.t_s < t_s - 1e-9:
        runner.step()
    return runner


def started(runner: Runner, name: str) -> list[float]:
    """Times at which an event started."""
    return [e.t_s for e in runner.events() if e.t_s is not None and e.name == f"event {name}: start"]
