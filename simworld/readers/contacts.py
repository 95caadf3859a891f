"""Where the boxes of a scenario's actors first touch when everyone follows their track: geometry, no physics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from simworld.readers.limits import LIMITS
from simworld.scenario import Scenario, ScenarioActor

Floats = NDArray[np.float64]

COARSE_S = 0.25
FINE_S = 0.01
NEAR_M = 10.0  # beyond the reach of both boxes; enough to see how fast they close in
MAX_TIMES = 200_000
# An overlap is the tracker's, not a crash, where the boxes slide into each other this slowly and no deeper than this.
OVERLAP_CLOSING_MPS = 1.0
OVERLAP_DEPTH_M = 0.5


class Box(NamedTuple):
    """An oriented rectangle on the ground, by its centre."""

    x_m: float
    y_m: float
    heading_rad: float
    length_m: float
    width_m: float


@dataclass(frozen=True)
class Contact:
    """Two actors begin to touch.

    closing_mps       how fast the gap was closing just before
    depth_m           how far the boxes get into each other while they overlap
    tracking_overlap  whether it is an artefact of recorded boxes rather than a crash
    """

    t_s: float
    actors: tuple[str, str]
    closing_mps: float
    depth_m: float
    tracking_overlap: bool = False


def gap_m(a: Box, b: Box) -> float:
    """Metres between two boxes; negative where they overlap, by how far they would have to be moved apart."""
    return float(gaps_m(np.array([a]), np.array([b]))[0])


def touching(a: Box, b: Box, margin_m: float = 0.0) -> bool:
    """Whether two boxes, the first grown by a margin, overlap or touch: `gap_m` for one pair in a tight loop."""
    dx, dy = b.x_m - a.x_m, b.y_m - a.y_m
    length, width = a.length_m / 2 + margin_m, a.width_m / 2 + margin_m
    if math.hypot(dx, dy) > math.hypot(length, width) + math.hypot(b.length_m, b.width_m) / 2:
        return False
    turn = b.heading_rad - a.heading_rad
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    own, other = (length, width), (b.length_m / 2, b.width_m / 2)
    for heading, (half_length, half_width), (reach_l, reach_w) in (
        (a.heading_rad, own, other),
        (b.heading_rad, other, own),
    ):
        ahead = abs(dx * math.cos(heading) + dy * math.sin(heading))
        aside = abs(dy * math.cos(heading) - dx * math.sin(heading))
        if ahead > half_length + reach_l * cos + reach_w * sin or aside > half_width + reach_l * sin + reach_w * cos:
            return False
    return True


def gaps_m(a: Floats, b: Floats) -> Floats:
    """`gap_m` for many pairs: boxes (n, 5) and (n, 5) as in `Box` give (n,)."""
    corners_a, corners_b = _corners(a), _corners(b)
    overlap = np.full(len(a), np.inf)
    for boxes in (a, b):
        for turn in (0.0, math.pi / 2):
            axis = np.stack([np.cos(boxes[:, 2] + turn), np.sin(boxes[:, 2] + turn)], axis=1)
            along_a = np.einsum("nkd,nd->nk", corners_a, axis)
            along_b = np.einsum("nkd,nd->nk", corners_b, axis)
            shared = np.minimum(along_a.max(1) - along_b.min(1), along_b.max(1) - along_a.min(1))
            overlap = np.minimum(overlap, shared)
    apart = np.minimum(_corner_distance(corners_a, corners_b), _corner_distance(corners_b, corners_a))
    return np.where(overlap >= 0, -overlap, apart)


def contacts(scenario: Scenario, step_s: float = FINE_S) -> list[Contact]:
    """Every beginning of a contact between two actors, in the order of time.

    Actors that wait for a policy are not there. Poses between samples are linear.
    """
    actors = [a for a in scenario.actors if not a.needs_policy]
    step_s = max(step_s, scenario.duration_s / MAX_TIMES)
    found: list[Contact] = []
    for i, j in sorted(_candidates(actors, scenario.duration_s)):
        found += _pair_contacts(actors[i], actors[j], scenario.duration_s, step_s)
    return sorted(found, key=lambda c: c.t_s)


def first_contact(scenario: Scenario, step_s: float = FINE_S) -> Contact | None:
    """The first contact that is a crash, None where there is none; tracking overlaps are passed over."""
    return next((c for c in contacts(scenario, step_s) if not c.tracking_overlap), None)


def boxes_at(actor: ScenarioActor, t_s: Floats) -> Floats:
    """The actor's boxes (n, 5) at times (n,), NaN where it is not there."""
    size = (actor.body.length_m, actor.body.width_m)
    if actor.track is None:
        return np.tile(np.array([*actor.start, *size]), (len(t_s), 1))
    track = actor.track
    boxes = np.column_stack([track.sample(t_s)[:, :3], np.tile(size, (len(t_s), 1))])
    boxes[(t_s < track.t_s[0] - 1e-9) | (t_s > track.t_s[-1] + 1e-9)] = np.nan
    return boxes


def _corners(boxes: Floats) -> Floats:
    cos, sin = np.cos(boxes[:, 2]), np.sin(boxes[:, 2])
    ahead = np.stack([cos, sin], axis=1) * boxes[:, 3:4] / 2
    left = np.stack([-sin, cos], axis=1) * boxes[:, 4:5] / 2
    centre = boxes[:, :2]
    return np.stack(
        [centre + ahead + left, centre + ahead - left, centre - ahead - left, centre - ahead + left], axis=1
    )


def _corner_distance(points: Floats, polygon: Floats) -> Floats:
    """Least distance (n,) from any corner (n, 4, 2) to any edge of the polygons (n, 4, 2)."""
    start = polygon[:, None]
    edge = np.roll(polygon, -1, axis=1)[:, None] - start
    offset = points[:, :, None] - start
    length2 = np.maximum((edge**2).sum(-1), 1e-12)
    foot = np.clip((offset * edge).sum(-1) / length2, 0.0, 1.0)
    return np.asarray(np.linalg.norm(offset - foot[..., None] * edge, axis=-1).min(axis=(1, 2)))


def _reach(actor: ScenarioActor) -> float:
    return math.hypot(actor.body.length_m, actor.body.width_m) / 2


def _candidates(actors: list[ScenarioActor], duration_s: float) -> set[tuple[int, int]]:
    """Pairs that come near each other at any time, so that the fine search looks at few."""
    if len(actors) < 2:
        return set()
    times = np.arange(0.0, duration_s + COARSE_S, max(COARSE_S, duration_s / MAX_TIMES))
    centres = np.stack([boxes_at(a, times)[:, :2] for a in actors], axis=1)  # times, actors, xy
    steps = np.nan_to_num(np.linalg.norm(np.diff(centres, axis=0), axis=-1))
    reach = 2 * max(map(_reach, actors)) + 2 * (steps.max() if steps.size else 0.0)
    pairs: set[tuple[int, int]] = set()
    for at in centres:
        here = np.flatnonzero(np.isfinite(at[:, 0]))
        if len(here) < 2:
            continue
        near = cKDTree(at[here]).query_pairs(reach, output_type="ndarray")
        pairs.update((int(here[min(p)]), int(here[max(p)])) for p in near)
        if len(pairs) > LIMITS.track_samples:
            raise ValueError("the scenario's actors are too crowded to look for contacts")
    return pairs


def _pair_contacts(a: ScenarioActor, b: ScenarioActor, duration_s: float, step_s: float) -> list[Contact]:
    times = np.arange(0.0, duration_s + step_s / 2, step_s)
    boxes_a, boxes_b = boxes_at(a, times), boxes_at(b, times)
    distance = np.linalg.norm(boxes_a[:, :2] - boxes_b[:, :2], axis=1)
    near = distance <= _reach(a) + _reach(b) + NEAR_M  # NaN compares as far
    gap = np.full(len(times), np.inf)
    if near.any():
        gap[near] = gaps_m(boxes_a[near], boxes_b[near])
    touching = gap <= 0
    starts = np.flatnonzero(touching & ~np.concatenate([[False], touching[:-1]]))
    return [_describe(gap, int(i), times, step_s, (a.id, b.id)) for i in starts]


def _describe(gap: Floats, start: int, times: Floats, step_s: float, actors: tuple[str, str]) -> Contact:
    end = start
    while end + 1 < len(gap) and gap[end + 1] <= 0:
        end += 1
    depth = float(-gap[start : end + 1].min())
    back = max(start - max(int(0.1 / step_s), 1), 0)
    closing = (
        (gap[back] - gap[start]) / (times[start] - times[back]) if back < start and np.isfinite(gap[back]) else 0.0
    )
    # Boxes that overlap from the first sample on were never apart, so nothing hit anything.
    slight = closing < OVERLAP_CLOSING_MPS and (depth < OVERLAP_DEPTH_M or start == 0)
    return Contact(float(times[start]), actors, float(closing), depth, bool(slight))
