"""Reads OpenDRIVE XML (1.4 to 1.8) into road records, and notes the elements that it has no use for."""

from __future__ import annotations

from lxml import etree

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.opendrive.geometry import Geometry
from simworld.readers.opendrive.network import (
    Connection,
    LaneRecord,
    Link,
    Profile,
    RoadRecord,
    Section,
    SignalRecord,
)
from simworld.readers.xml import child, integer, number, where, word

_MPS = {"m/s": 1.0, "km/h": 1 / 3.6, "kmh": 1 / 3.6, "mph": 0.44704, "": 1.0}
_ZERO = (0.0, 0.0, 0.0, 0.0)


def parse_road(element: etree._Element, notes: Notes) -> RoadRecord:
    """One <road>; ValueError where its geometry or lanes make no sense."""
    length = number(element, "length", lowest=0.0, highest=LIMITS.road_length_m)
    plan = tuple(_geometry(g, notes) for g in element.iterfind("planView/geometry"))
    if not plan:
        raise ValueError(f"{where(element)} has no geometry")
    if any(a.s_m >= b.s_m + 1e-6 for a, b in zip(plan, plan[1:], strict=False)):
        raise ValueError(f"{where(element)} has geometries out of order")
    _note_unused(element, notes)
    speeds = []
    for kind in element.iterfind("type"):
        limit = kind.find("speed")
        speeds.append((number(kind, "s", 0.0), None if limit is None else _speed(limit)))
    return RoadRecord(
        id=word(element, "id"),
        name=word(element, "name", ""),
        length_m=length,
        junction=word(element, "junction", "-1"),
        plan=plan,
        lane_offset=_profile(element.findall("lanes/laneOffset"), "s"),
        sections=_sections(element, length, notes),
        predecessor=_link(element.find("link/predecessor")),
        successor=_link(element.find("link/successor")),
        speeds=tuple(speeds),
        left_hand=word(element, "rule", "RHT") == "LHT",
    )


def parse_connections(junction: etree._Element, notes: Notes) -> tuple[Connection, ...]:
    """The connections of a <junction>; those of a virtual or direct kind that name no road are noted."""
    found = []
    for connection in junction.iterfind("connection"):
        connecting = connection.get("connectingRoad") or connection.get("linkedRoad")
        if not connecting or not connection.get("incomingRoad"):
            notes.add("connection", connection.sourceline, "left out: it names no pair of roads")
            continue
        lanes = {integer(link, "from"): integer(link, "to") for link in connection.iterfind("laneLink")}
        contact = word(connection, "contactPoint", "start")
        found.append(Connection(word(connection, "incomingRoad"), connecting, contact, lanes))
    return tuple(found)


def parse_signals(road: etree._Element) -> list[SignalRecord]:
    """The <signal>s of a road."""
    found = []
    for i, signal in enumerate(road.iterfind("signals/signal")):
        value = signal.get("value")
        found.append(
            SignalRecord(
                id=word(signal, "id", f"{word(road, 'id')}-{i}"),
                kind=" ".join(filter(None, (signal.get("country"), signal.get("type"), signal.get("subtype"))))
                or word(signal, "name", "sign"),
                road=word(road, "id"),
                s_m=number(signal, "s"),
                t_m=number(signal, "t"),
                forward=word(signal, "orientation", "+") != "-",
                value=number(signal, "value") if value not in (None, "") else None,
                dynamic=word(signal, "dynamic", "no") == "yes",
            )
        )
    return found


def _geometry(element: etree._Element, notes: Notes) -> Geometry:
    shape = next((e for e in element if e.tag in ("line", "arc", "spiral", "poly3", "paramPoly3")), None)
    if shape is None:
        kinds = ", ".join(str(e.tag) for e in element) or "nothing"
        notes.add(f"geometry of {kinds}", element.sourceline, "taken as a straight line")
    kind = "line" if shape is None else str(shape.tag)
    length = number(element, "length", lowest=0.0, highest=LIMITS.road_length_m)
    params: tuple[float, ...] = ()
    if shape is not None and kind == "arc":
        params = (number(shape, "curvature"),)
    elif shape is not None and kind == "spiral":
        params = (number(shape, "curvStart"), number(shape, "curvEnd"))
    elif shape is not None and kind == "poly3":
        params = tuple(number(shape, k) for k in "abcd")
    elif shape is not None and kind == "paramPoly3":
        names = ("aU", "bU", "cU", "dU", "aV", "bV", "cV", "dV")
        # The standard's default is normalized; arcLength makes the parameter run over the metres.
        end = length if word(shape, "pRange", "normalized") == "arcLength" else 1.0
        params = (*(number(shape, k) for k in names), end)
    x, y, heading, s = (number(element, k) for k in ("x", "y", "hdg", "s"))
    return Geometry(kind, s, x, y, heading, length, params)


def _sections(road: etree._Element, length_m: float, notes: Notes) -> tuple[Section, ...]:
    elements = child(road, "lanes").findall("laneSection")
    if not elements:
        raise ValueError(f"{where(road)} has no laneSection")
    starts = [number(e, "s") for e in elements]
    if any(a >= b for a, b in zip(starts, starts[1:], strict=False)):
        raise ValueError(f"{where(road)} has lane sections out of order")
    sections = []
    for element, start, end in zip(elements, starts, [*starts[1:], max(length_m, starts[-1])], strict=True):
        lanes: dict[int, LaneRecord] = {}
        for side, sign in (("left", 1), ("right", -1)):
            found = element.findall(f"{side}/lane")
            for lane in sorted(found, key=lambda e: abs(integer(e, "id"))):
                record = _lane(lane, end - start, lanes, notes)
                if record.lane * sign <= 0 or record.lane in lanes:
                    raise ValueError(f"{where(lane)} has id {record.lane}, wrong for the {side} side or given twice")
                lanes[record.lane] = record
        mark = _mark(element.findall("center/lane/roadMark"), end - start, notes)
        sections.append(Section(start, end, lanes, mark))
    return tuple(sections)


def _lane(element: etree._Element, length_m: float, inner: dict[int, LaneRecord], notes: Notes) -> LaneRecord:
    lane = integer(element, "id")
    widths, borders = element.findall("width"), element.findall("border")
    width = _profile(widths, "sOffset")
    if borders and not widths:
        width = _width_from_border(_profile(borders, "sOffset"), lane, inner)
    speeds = element.findall("speed")
    if len(speeds) > 1:
        notes.add("lane speed", element.sourceline, "the first limit holds for the whole lane section")
    return LaneRecord(
        lane=lane,
        kind=word(element, "type", "none"),
        width=width,
        outer_mark=_mark(element.findall("roadMark"), length_m, notes),
        speed_mps=_speed(speeds[0]) if speeds else None,
        predecessor=_lane_link(element.find("link/predecessor")),
        successor=_lane_link(element.find("link/successor")),
    )


def _width_from_border(border: Profile, lane: int, inner: dict[int, LaneRecord]) -> Profile:
    """Widths from border positions: the outer edge less that of the lanes inside, at the records' own starts."""
    side = 1 if lane > 0 else -1
    inside = [inner[i] for i in range(side, lane, side) if i in inner]
    starts = sorted({s for p in (border, *(r.width for r in inside)) for s in p.starts})
    records = []
    for s in starts:
        shift = [_shifted(border, s), *(_shifted(r.width, s) for r in inside)]
        outer = [side * c for c in shift[0]]
        records.append(tuple(outer[k] - sum(w[k] for w in shift[1:]) for k in range(4)))
    return Profile(tuple(starts), tuple((r[0], r[1], r[2], r[3]) for r in records))


def _shifted(profile: Profile, s_m: float) -> tuple[float, float, float, float]:
    """The cubic in force at s, rewritten to start there."""
    live = [i for i, start in enumerate(profile.starts) if start <= s_m]
    if not live:
        return _ZERO
    a, b, c, d = profile.coefficients[live[-1]]
    h = s_m - profile.starts[live[-1]]
    return a + h * (b + h * (c + h * d)), b + h * (2 * c + 3 * d * h), c + 3 * d * h, d


def _profile(elements: list[etree._Element], start: str) -> Profile:
    records = sorted((number(e, start, 0.0), tuple(number(e, k, 0.0) for k in "abcd")) for e in elements)
    return Profile(tuple(r[0] for r in records), tuple((r[1][0], r[1][1], r[1][2], r[1][3]) for r in records))


def _mark(elements: list[etree._Element], length_m: float, notes: Notes) -> str:
    """The mark that holds for most of a lane section, as solid, broken or none."""
    if not elements:
        return "none"
    starts = [number(e, "sOffset", 0.0) for e in elements]
    kinds = [word(e, "type", "none") for e in elements]
    ends = [*starts[1:], max(length_m, starts[-1])]
    if len(set(kinds)) > 1:
        notes.add("roadMark", elements[0].sourceline, "the longest of a lane's marks is drawn along the whole section")
    kind = max(zip(kinds, starts, ends, strict=True), key=lambda k: k[2] - k[1])[0]
    if "solid" in kind:
        return "solid"
    return "broken" if "broken" in kind or "botts" in kind else "none"


def _speed(element: etree._Element) -> float | None:
    text = word(element, "max", "no limit")
    if text in ("no limit", "undefined"):
        return None
    unit = word(element, "unit", "m/s")
    if unit not in _MPS:
        raise ValueError(f"{where(element)} has the unit {unit!r}; known are {', '.join(k for k in _MPS if k)}")
    return number(element, "max", lowest=0.0, highest=LIMITS.speed_mps) * _MPS[unit]


def _link(element: etree._Element | None) -> Link | None:
    if element is None or not element.get("elementId"):
        return None
    kind = word(element, "elementType", "road")
    return Link(kind, word(element, "elementId"), word(element, "contactPoint", "start"))


def _lane_link(element: etree._Element | None) -> int | None:
    return None if element is None or not element.get("id") else integer(element, "id")


def _note_unused(road: etree._Element, notes: Notes) -> None:
    """Note what a flat road without furniture leaves out."""
    for tag, instead in (("elevationProfile/elevation", "the road is flat"), ("lateralProfile/*", "no banking")):
        for element in road.iterfind(tag):
            if any(number(element, k, 0.0) for k in "abcd"):
                notes.add(str(element.tag), element.sourceline, instead)
    for element in road.iterfind("objects/*"):
        kind = element.get("type") or element.tag
        notes.add(f"{element.tag} {kind}", element.sourceline, "road furniture is left out")
    for tag in ("railroad", "surface/CRG"):
        for element in road.iterfind(tag):
            if len(element):
                notes.add(str(element.tag), element.sourceline, "left out")
