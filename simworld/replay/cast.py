"""Cast: where a scenario's other actors are, seen from an ego that may be anywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simworld.metrics.boxes import boxes_overlap
from simworld.replay.guides import places
from simworld.scenario import ACTOR_CLASSES, Body, Scenario, ScenarioActor

Floats = NDArray[np.float64]


class Cast:
    """The actors of a scenario but its ego, on their tracks."""

    def __init__(self, scenario: Scenario) -> None:
        self._others = [a for a in scenario.actors if a.id != scenario.ego_id and not a.needs_policy]
        self._about = np.array(
            [(ACTOR_CLASSES.index(a.kind), a.body.length_m, a.body.width_m, a.body.mass_kg) for a in self._others]
        ).reshape(-1, 4)

    def touching(self, t_s: float, ego_pose: Floats, ego: Body) -> ScenarioActor | None:
        """An actor whose box overlaps that of an ego with this pose [x_m, y_m, heading_rad]."""
        for actor in self._others:
            at = places(actor, np.array([t_s]))[0]
            sizes = (ego.length_m, ego.width_m), (actor.body.length_m, actor.body.width_m)
            if np.isfinite(at[0]) and bool(boxes_overlap(ego_pose[:3], sizes[0], at[:3], sizes[1])):
                return actor
        return None

    def rows(self, t_s: float, ego_pose: Floats, num_rows: int) -> NDArray[np.float32]:
        """(num_rows, 9) as simworld.episode.ACTOR_FIELDS says, nearest first, NaN where absent."""
        out = np.full((num_rows, 9), np.nan, np.float32)
        if not self._others:
            return out
        at = np.concatenate([places(a, np.array([t_s])) for a in self._others])
        cos, sin = np.cos(ego_pose[2]), np.sin(ego_pose[2])
        turn = np.array([[cos, sin], [-sin, cos]])
        place = (at[:, :2] - ego_pose[:2]) @ turn.T
        heading = (at[:, 2] - ego_pose[2] + np.pi) % (2 * np.pi) - np.pi
        velocity = at[:, 3:4] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        found = np.column_stack([self._about[:, 0], place, heading, velocity, self._about[:, 1:]])
        here = found[np.isfinite(place[:, 0])]
        nearest = here[np.argsort(np.hypot(here[:, 1], here[:, 2]), kind="stable")][:num_rows]
        out[: len(nearest)] = nearest
        return out
