"""CommonRoad's lanelets as lanes: the middle between two bounds, resampled evenly, with marks, limits and links."""

from __future__ import annotations

import numpy as np
from lxml import etree
from numpy.typing import NDArray

from simworld.readers.limits import LIMITS
from simworld.readers.notes import Notes
from simworld.readers.xml import to_number, where, word
from simworld.scenario import Lane

SAMPLE_M = 2.0
# Kinds of lanelet that are not for cars, and what they are in a Scenario.
_KINDS = {
    "sidewalk": "sidewalk",
    "crosswalk": "sidewalk",
    "bicycleLane": "biking",
    "shoulder": "shoulder",
    "restricted": "other",
    "border": "border",
    "parking": "parking",
}
_SPEED_SIGNS = {"274", "R2-1"}  # Germany's (m/s in CommonRoad) and the USA's speed limit


def parse_lanelets(root: etree._Element, notes: Notes) -> tuple[Lane, ...]:
    """All <lanelet>s as lanes in driving direction."""
    limits = _sign_limits(root)
    lanes = []
    points = 0
    for element in root.iterfind("lanelet"):
        left, right = _bound(element, "leftBound"), _bound(element, "rightBound")
        if left is None or right is None:
            notes.add("lanelet", element.sourceline, f"lanelet {element.get('id')} has no two bounds; left out")
            continue
        length = max(_length(left), _length(right))
        points += 2 + int(length / SAMPLE_M)
        if points > LIMITS.lane_points:
            raise ValueError(f"the lanelets have more than {LIMITS.lane_points} points")
        lanes.append(_lane(element, left, right, length, limits, notes))
    ids = {lane.id for lane in lanes}
    if len(ids) != len(lanes):
        raise ValueError("two lanelets have the same id")
    return tuple(lanes)


def _lane(
    element: etree._Element,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    length_m: float,
    limits: dict[str, float],
    notes: Notes,
) -> Lane:
    fraction = np.linspace(0.0, 1.0, 2 + int(length_m / SAMPLE_M))
    left, right = _resampled(left, fraction), _resampled(right, fraction)
    # 2018b holds one <laneletType> or the kind nowhere; 2020a allows several.
    kinds = [(e.text or "").strip() for e in element.iterfind("laneletType")]
    kind = next((_KINDS[k] for k in kinds if k in _KINDS), "driving")
    speeds = [limits[r] for e in element.iterfind("trafficSignRef") if (r := e.get("ref", "")) in limits]
    own = element.findtext("speedLimit")
    if own is not None:
        speeds.append(to_number(own, f"{where(element)} speedLimit", lowest=0.0, highest=LIMITS.speed_mps))
    for tag in ("stopLine", "userOneWay", "userBidirectional"):
        for found in element.iterfind(tag):
            notes.add(tag, found.sourceline, "left out")
    return Lane(
        id=word(element, "id"),
        centre=(left + right) / 2,
        width_m=np.linalg.norm(left - right, axis=1),
        kind=kind,
        left_mark=_mark(element, "leftBound"),
        right_mark=_mark(element, "rightBound"),
        speed_limit_mps=min(speeds) if speeds else None,
        successors=tuple(word(e, "ref") for e in element.iterfind("successor")),
        left=_beside(element, "adjacentLeft"),
        right=_beside(element, "adjacentRight"),
    )


def _bound(element: etree._Element, tag: str) -> NDArray[np.float64] | None:
    points = []
    for place in element.iterfind(f"{tag}/point"):
        label = where(place)
        points.append([to_number(place.findtext(k) or "", f"{label} {k}") for k in ("x", "y")])
    return np.array(points) if len(points) >= 2 else None


def _length(points: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _resampled(points: NDArray[np.float64], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    at = fraction * along[-1]
    return np.stack([np.interp(at, along, points[:, k]) for k in (0, 1)], axis=1)


def _mark(element: etree._Element, bound: str) -> str:
    text = (element.findtext(f"{bound}/lineMarking") or "").strip()
    if "solid" in text:
        return "solid"
    return "broken" if "dashed" in text or "broken" in text else "none"


def _beside(element: etree._Element, tag: str) -> str:
    found = element.find(tag)
    return word(found, "ref", "") if found is not None and found.get("drivingDir") == "same" else ""


def _sign_limits(root: etree._Element) -> dict[str, float]:
    """Speed limits in m/s by the id of the traffic sign that sets them."""
    limits = {}
    for sign in root.iterfind("trafficSign"):
        for part in sign.iterfind("trafficSignElement"):
            value = part.findtext("additionalValue")
            if (part.findtext("trafficSignID") or "").strip() in _SPEED_SIGNS and value:
                limits[word(sign, "id")] = to_number(value, where(part), lowest=0.0, highest=LIMITS.speed_mps)
    return limits
