"""Reads CommonRoad XML (2018b and 2020a): lanelets, obstacles with their trajectories, and the ego's start."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lxml import etree

from simworld.readers.commonroad_lanes import parse_lanelets
from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.xml import parse_xml, read_bytes, to_number, where, word
from simworld.scenario import BODIES, ActorClass, Body, Road, Scenario, ScenarioActor, Signal, Track

_KINDS: dict[str, ActorClass] = {
    "car": "car",
    "parkedVehicle": "car",
    "priorityVehicle": "car",
    "taxi": "car",
    "truck": "truck",
    "bus": "bus",
    "train": "bus",
    "motorcycle": "motorcycle",
    "bicycle": "cyclist",
    "pedestrian": "pedestrian",
    "constructionZone": "static",
    "roadBoundary": "static",
    "building": "static",
    "pillar": "static",
    "median_strip": "static",
}
_SAME_START_M = 0.1  # a planning problem this near to a recorded car at time 0 is that car


class State(NamedTuple):
    """One state of an obstacle, reference point at the middle of its shape unless the shape says otherwise."""

    step: float
    x_m: float
    y_m: float
    heading_rad: float
    speed_mps: float | None


class Shape(NamedTuple):
    """A rectangle, and where its middle sits in the obstacle's own frame."""

    length_m: float
    width_m: float
    ahead_m: float = 0.0
    left_m: float = 0.0
    turn_rad: float = 0.0


def read_commonroad(path: str | Path) -> Scenario:
    """Read a CommonRoad scenario; ValueError, in one sentence, where it is not one or makes no sense."""
    return parse_commonroad(read_bytes(path, LIMITS.xml_bytes), Path(path).name, str(path))


def parse_commonroad(data: bytes, name: str, source: str = "") -> Scenario:
    """The scenario in the bytes of a CommonRoad file that messages call `name`."""
    root = parse_xml(data, name)
    if root.tag != "commonRoad":
        raise ValueError(f"{name} is not CommonRoad: its root is <{root.tag}>")
    notes = Notes()
    dt_s = to_number(word(root, "timeStepSize"), f"{name} timeStepSize", lowest=1e-4, highest=60.0)
    version = word(root, "commonRoadVersion", "")
    if version not in ("2018b", "2020a"):
        notes.add(f"commonRoadVersion {version}", root.sourceline, "read as 2020a")
    obstacles = [e for e in root if e.tag in ("obstacle", "staticObstacle", "dynamicObstacle")]
    if len(obstacles) > LIMITS.actors:
        raise ValueError(f"{name} has {len(obstacles)} obstacles, more than the {LIMITS.actors} that are read")
    actors = [a for e in obstacles if (a := _actor(e, dt_s, notes)) is not None]
    actors, ego_id = _with_ego(root, actors, notes)
    last = max((float(a.track.t_s[-1]) for a in actors if a.track is not None), default=0.0)
    for tag in ("trafficLight", "intersection", "environmentObstacle", "phantomObstacle", "scenarioTags"):
        for element in root.iterfind(tag):
            notes.add(tag, element.sourceline, "left out of the replay")
    return Scenario(
        name=Path(name).stem,
        road=Road(parse_lanelets(root, notes), name),
        actors=tuple(actors),
        ego_id=ego_id,
        duration_s=last,
        dt_s=dt_s,
        signals=_signs(root),
        unsupported=notes.entries(),
        source=source or name,
    )


def exact(element: etree._Element, tag: str, notes: Notes, default: float | None = None) -> float | None:
    """The number in <tag>, exact or the middle of an interval; `default` where there is none."""
    found = element.find(tag)
    if found is None:
        return default
    label = where(found)
    single = found.findtext("exact") if len(found) else found.text
    if single is not None and single.strip():
        return to_number(single, label)
    low, high = found.findtext("intervalStart"), found.findtext("intervalEnd")
    if low is None or high is None:
        return default
    notes.add(f"{tag} interval", found.sourceline, "the middle of the interval is taken")
    return (to_number(low, label) + to_number(high, label)) / 2


def point(element: etree._Element) -> tuple[float, float]:
    """The <x> and <y> of a point."""
    label = where(element)
    return to_number(element.findtext("x") or "", f"{label} x"), to_number(element.findtext("y") or "", f"{label} y")


def _state(element: etree._Element, notes: Notes) -> State | None:
    place = element.find("position/point")
    if place is None:
        shape = element.find("position/rectangle/center")
        if shape is None:
            shape = element.find("position/circle/center")
        if shape is None:
            notes.add("position", element.sourceline, "a state without a point is left out")
            return None
        notes.add("position as a region", element.sourceline, "its middle is taken")
        place = shape
    x, y = point(place)
    heading = exact(element, "orientation", notes, 0.0) or 0.0
    if abs(heading) > 1e3:
        raise ValueError(f"{where(element)} has an orientation of {heading:g} rad")
    return State(exact(element, "time", notes, 0.0) or 0.0, x, y, heading, exact(element, "velocity", notes))


def _actor(element: etree._Element, dt_s: float, notes: Notes) -> ScenarioActor | None:
    ident = word(element, "id")
    source_kind = (element.findtext("type") or "unknown").strip()
    if source_kind not in _KINDS:
        notes.add(f"obstacle type {source_kind}", element.sourceline, "taken as a car of its size")
    kind = _KINDS.get(source_kind, "car")
    shape = _shape(element, kind, notes)
    typical = BODIES[kind]
    mass = typical.mass_kg * shape.length_m * shape.width_m / (typical.length_m * typical.width_m)
    body = Body(shape.length_m, shape.width_m, typical.height_m, mass if kind == "static" else typical.mass_kg)
    initial = element.find("initialState")
    first = None if initial is None else _state(initial, notes)
    if first is None:
        notes.add(str(element.tag), element.sourceline, f"obstacle {ident} has no initial state; left out")
        return None
    rest = [s for e in element.iterfind("trajectory/state") if (s := _state(e, notes)) is not None]
    if element.find("occupancySet") is not None and not rest:
        notes.add("occupancySet", element.sourceline, f"obstacle {ident} stands still at its start")
    if len(rest) > LIMITS.track_samples:
        raise ValueError(f"obstacle {ident} has more than {LIMITS.track_samples} states")
    if not rest:
        return ScenarioActor(ident, kind, body, _placed(first, shape), 0.0, behaviour={"kind": "parked"})
    return _moving(ident, kind, body, [first, *rest], shape, dt_s, element)


def _moving(
    ident: str, kind: ActorClass, body: Body, states: list[State], shape: Shape, dt_s: float, element: etree._Element
) -> ScenarioActor:
    t = np.array([s.step for s in states]) * dt_s
    if (np.diff(t) <= 0).any() or t[-1] > LIMITS.duration_s:
        raise ValueError(f"{where(element)}: the states of obstacle {ident} are not in the order of time")
    pose = np.array([_placed(s, shape) for s in states])
    pose[:, 2] = np.unwrap(pose[:, 2])
    moved = np.hypot(np.gradient(pose[:, 0], t), np.gradient(pose[:, 1], t))
    speed = np.array([m if s.speed_mps is None else s.speed_mps for s, m in zip(states, moved, strict=True)])
    start = (float(pose[0, 0]), float(pose[0, 1]), float(pose[0, 2]))
    return ScenarioActor(ident, kind, body, start, float(speed[0]), Track(t, pose, speed))


def _placed(state: State, shape: Shape) -> tuple[float, float, float]:
    cos, sin = math.cos(state.heading_rad), math.sin(state.heading_rad)
    return (
        state.x_m + shape.ahead_m * cos - shape.left_m * sin,
        state.y_m + shape.ahead_m * sin + shape.left_m * cos,
        state.heading_rad + shape.turn_rad,
    )


def _shape(element: etree._Element, kind: ActorClass, notes: Notes) -> Shape:
    shapes = [e for e in element.iterfind("shape/*")]
    typical = Shape(BODIES[kind].length_m, BODIES[kind].width_m)
    if not shapes:
        notes.add("shape", element.sourceline, f"missing: taken as a typical {kind}")
        return typical
    if len(shapes) > 1:
        notes.add("shape of several parts", shapes[0].sourceline, "the first part stands for the whole")
    shape = shapes[0]
    centre = shape.find("center")
    ahead, left = (0.0, 0.0) if centre is None else point(centre)
    if shape.tag == "rectangle":
        length, width = (_size(shape, k) for k in ("length", "width"))
        turn = to_number(shape.findtext("orientation") or "0", f"{where(shape)} orientation", lowest=-1e3, highest=1e3)
        return Shape(length, width, ahead, left, turn)
    if shape.tag == "circle":
        notes.add("circle", shape.sourceline, "taken as a square of the same width")
        return Shape(2 * _size(shape, "radius"), 2 * _size(shape, "radius"), ahead, left)
    corners = np.array([point(p) for p in shape.iterfind("point")]).reshape(-1, 2)
    notes.add(str(shape.tag), shape.sourceline, "taken as the box around it")
    if len(corners) < 2:
        return typical
    low, high = corners.min(0), corners.max(0)
    size, middle = np.clip(high - low, 0.05, 1e4), (low + high) / 2
    return Shape(float(size[0]), float(size[1]), float(middle[0]), float(middle[1]))


def _size(shape: etree._Element, tag: str) -> float:
    return to_number(shape.findtext(tag) or "", f"{where(shape)} {tag}", lowest=0.01, highest=1e4)


def _with_ego(root: etree._Element, actors: list[ScenarioActor], notes: Notes) -> tuple[list[ScenarioActor], str]:
    """Add the first planning problem as the ego, unless it starts where a recorded car does: then it is that car."""
    problems = root.findall("planningProblem")
    for extra in problems[1:]:
        notes.add("planningProblem", extra.sourceline, "left out: the first one is the ego")
    initial = problems[0].find("initialState") if problems else None
    state = None if initial is None else _state(initial, notes)
    if state is None:
        first = next((a.id for a in actors if a.track is not None), "")
        return actors, first
    for actor in actors:
        near = math.hypot(actor.start[0] - state.x_m, actor.start[1] - state.y_m) < _SAME_START_M
        if near and actor.track is not None and actor.kind not in ("pedestrian", "static"):
            return actors, actor.id
    ident = word(problems[0], "id", "ego")
    while ident in {a.id for a in actors}:
        ident = f"ego-{ident}"
    notes.add("planningProblem", problems[0].sourceline, f"a start without a recording: {ident} waits for a policy")
    pose = (state.x_m, state.y_m, state.heading_rad)
    goal = _goal(problems[0])
    ego = ScenarioActor(
        ident,
        "car",
        BODIES["car"],
        pose,
        state.speed_mps or 0.0,
        behaviour={"kind": "start", **({"goal": goal} if goal else {})},
    )
    return [*actors, ego], ident


def _goal(problem: etree._Element) -> list[float] | None:
    centre = problem.find("goalState/position/rectangle/center")
    return None if centre is None else list(point(centre))


def _signs(root: etree._Element) -> tuple[Signal, ...]:
    signals = []
    for sign in root.iterfind("trafficSign"):
        place = sign.find("position/point")
        kind = sign.findtext("trafficSignElement/trafficSignID") or "sign"
        value = sign.findtext("trafficSignElement/additionalValue")
        x, y = (0.0, 0.0) if place is None else point(place)
        try:
            number = None if value is None else float(value)
        except ValueError:
            number = None
        signals.append(Signal(word(sign, "id"), kind.strip(), (x, y, 0.0), number))
    return tuple(signals)
