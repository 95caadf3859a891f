"""The ego's collision sensor, debounced: CARLA sends one event per pair and frame for as long as contact lasts."""

from __future__ import annotations

from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.episode import NOT_APPLICABLE
from simworld.scenario import ACTOR_CLASSES

from ..driving.spec import SIDES
from .frames import to_ego_axes, transform_at, vector_of
from .kinds import Hull, kind_of
from .session import Session

Array = NDArray[np.float64]
CLEAR_S = 1.0  # without contact for this long, the next touch of the same partner is a new collision


@dataclass(frozen=True)
class Motion:
    """Heading of the ego and velocities (2,) over the ground by actor id, the ego under its own, before a step."""

    heading_rad: float
    velocity_mps: dict[int, Array]


def no_collision() -> dict[str, float]:
    """Outcomes of a step without one."""
    nan = NOT_APPLICABLE
    return {"collision": 0.0, "impulse": nan, "delta_v": nan, "side": nan, "partner": nan}


class CollisionLog:
    """Listens on the ego; `judge` turns what arrived since the last call into the step's outcomes."""

    def __init__(self, session: Session, ego: Any, hull: Hull) -> None:
        self._ego_id, self._mass_kg = int(ego.id), hull.mass_kg
        self._clear_frames = round(CLEAR_S / session.config.tick_s)
        self._last_touch: dict[int, int] = {}  # partner id -> frame
        self._events: SimpleQueue[Any] = SimpleQueue()
        blueprint = session.world.get_blueprint_library().find("sensor.other.collision")
        sensor = session.spawn(blueprint, transform_at(session.carla, np.zeros(3), 0.0), attach_to=ego)
        if sensor is None:
            raise RuntimeError("the CARLA server refused the collision sensor")
        sensor.listen(self._events.put)

    def judge(self, before: Motion) -> dict[str, float]:
        """Outcomes of the step; of several new partners the one with the greatest impulse counts.

        The impulse is what the step's events of that partner add up to. An event that reaches us late, after its step
        was judged, counts in the step in which it arrives.
        """
        fresh: dict[int, Array] = {}
        partners: dict[int, Any] = {}
        for event in self._drain():
            key = -1 if event.other_actor is None else int(event.other_actor.id)
            touched = self._last_touch.get(key)
            self._last_touch[key] = event.frame
            if key in fresh or touched is None or event.frame - touched > self._clear_frames:
                fresh[key] = fresh.get(key, np.zeros(2)) + vector_of(event.normal_impulse)
                partners[key] = event.other_actor
        if not fresh:
            return no_collision()
        key = max(fresh, key=lambda k: float(np.linalg.norm(fresh[k])))
        impulse_ns = float(np.linalg.norm(fresh[key]))
        return {
            "collision": 1.0,
            "impulse": impulse_ns,
            "delta_v": impulse_ns / self._mass_kg,
            "side": float(SIDES.index(self._side(fresh[key], key, before))),
            "partner": float(ACTOR_CLASSES.index(kind_of(partners[key]))),
        }

    def forget(self) -> None:
        """Drop what the sensor felt so far, e.g. while the ego was set down."""
        self._drain()
        self._last_touch.clear()

    def _drain(self) -> list[Any]:
        events = []
        while True:
            try:
                events.append(self._events.get_nowait())
            except Empty:
                return sorted(events, key=lambda e: e.frame)

    def _side(self, impulse: Array, key: int, before: Motion) -> str:
        """The ego's side that was hit: the way along the contact normal in which the two approached.

        Only the axis of the impulse is used, because the documentation does not say on whom it acts.
        """
        ego_v = before.velocity_mps[self._ego_id]
        approach = ego_v - before.velocity_mps.get(key, np.zeros(2))
        axis = impulse if np.linalg.norm(impulse) > 0 else approach
        towards = axis if float(axis @ approach) >= 0 else -axis
        ahead, left = to_ego_axes(towards, before.heading_rad)
        if abs(ahead) >= abs(left):
            return "front" if ahead >= 0 else "rear"
        return "left" if left > 0 else "right"
