"""Tracks over the ground from what an episode records: the ego's path by dead reckoning, the actors by association."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from simworld.metrics.boxes import to_world_frame
from simworld.shapes import expect

Floats = NDArray[np.float64]
CLASS, X, Y, HEADING, VX, VY, LENGTH, WIDTH, MASS = range(9)
MAX_JUMP_M = 2.0  # an actor this far from where its velocity takes it is another one
FOREIGN = 1e6  # cost of an impossible pairing


@dataclass(frozen=True)
class ActorTrack:
    """One actor while it was seen: frames `first` to first + len(pose) - 1, pose (t, 3) over the ground."""

    kind: int
    first: int
    pose: Floats
    size_m: Floats  # (2,) length, width
    mass_kg: float


def ego_path(speed_mps: Floats, yaw_rate_radps: Floats, dt_s: float) -> Floats:
    """Pose (t, 3) of the ego from speed (t,) and yaw rate (t,), starting at the origin along x (trapezoidal rule)."""
    turn = (yaw_rate_radps[1:] + yaw_rate_radps[:-1]) / 2 * dt_s
    heading = np.concatenate([[0.0], np.cumsum(turn)])
    step_m = (speed_mps[1:] + speed_mps[:-1]) / 2 * dt_s
    along = heading[:-1] + turn / 2
    x = np.concatenate([[0.0], np.cumsum(step_m * np.cos(along))])
    y = np.concatenate([[0.0], np.cumsum(step_m * np.sin(along))])
    return np.stack([x, y, heading], axis=-1)


def actor_tracks(actors: Floats, path: Floats, dt_s: float) -> list[ActorTrack]:
    """Follow the actors of an episode, whose rows may change order from frame to frame.

    actors (t, n, 9) in the ego frame, path (t, 3) of the ego. Rows of one class, length and mass are paired with where
    the tracks of the last frame should be now, at the least total distance, none further off than MAX_JUMP_M.
    """
    expect(actors, "t n 9", name="actors", t=len(path))
    ground = _over_ground(actors, path)
    open_tracks: list[tuple[int, list[Floats]]] = []
    closed: list[tuple[int, list[Floats]]] = []
    for frame, rows in enumerate(ground):
        seen = rows[np.isfinite(rows[:, X])]
        matched = _match([track[-1] for _, track in open_tracks], seen, dt_s)
        still_open = []
        for i, (first, track) in enumerate(open_tracks):
            if i in matched:
                track.append(seen[matched[i]])
                still_open.append((first, track))
            else:
                closed.append((first, track))
        taken = set(matched.values())
        open_tracks = still_open + [(frame, [row]) for j, row in enumerate(seen) if j not in taken]
    return [_finished(first, np.stack(track)) for first, track in closed + open_tracks]


def _over_ground(actors: Floats, path: Floats) -> Floats:
    """The same rows with position, heading and velocity turned from the ego frame into that of the path."""
    ground = np.array(actors, np.float64)
    pose = np.broadcast_to(path[:, None], (*actors.shape[:2], 3))
    ground[..., X : Y + 1] = to_world_frame(ground[..., X : Y + 1], pose)
    ground[..., HEADING] += path[:, None, 2]
    still = pose * [0.0, 0.0, 1.0]
    ground[..., VX : VY + 1] = to_world_frame(ground[..., VX : VY + 1], still)
    return ground


def _match(before: list[Floats], now: Floats, dt_s: float) -> dict[int, int]:
    """{index in before: index in now}."""
    if not before or not len(now):
        return {}
    old = np.stack(before)
    expected = old[:, X : Y + 1] + dt_s * old[:, VX : VY + 1]
    cost = np.linalg.norm(expected[:, None] - now[None, :, X : Y + 1], axis=-1)
    same = (old[:, None, [CLASS, LENGTH, MASS]] == now[None][..., [CLASS, LENGTH, MASS]]).all(-1)
    cost = np.where(same & (cost <= MAX_JUMP_M), cost, FOREIGN)
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return {int(i): int(j) for i, j in pairs if cost[i, j] < FOREIGN}


def _finished(first: int, rows: Floats) -> ActorTrack:
    return ActorTrack(
        kind=int(rows[0, CLASS]),
        first=first,
        pose=rows[:, X : HEADING + 1],
        size_m=rows[0, LENGTH : WIDTH + 1],
        mass_kg=float(rows[0, MASS]),
    )
