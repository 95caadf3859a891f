"""What a replay leaves behind: its collisions, its films, the ego's episode, and how well tracks were kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.episode import Episode, EpisodeSpec
from simworld.scenario import BODIES, Body

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Collision:
    """Two actors touch; where imagination was not told of the others, `b` is the class that the model names."""

    t_s: float
    a: str
    b: str
    impulse_Ns: float
    closing_mps: float
    delta_v_a_mps: float
    delta_v_b_mps: float
    side: str = ""


@dataclass
class Replay:
    """One replay of a scenario in one world.

    track_error_m  greatest distance of a led actor from its source's track, None where no actor has one
    absent         actors that wait for a policy and had none
    overlaps       pairs that overlap in the source itself: (id, id, t_s), not counted as collisions
    films          {camera: (t + 1, h, w, 3)}, empty without films
    """

    world: str
    scenario: str
    ego: str
    driver: str
    duration_s: float
    dt_s: float
    num_actors: int
    ego_body: Body = BODIES["car"]
    film_dt_s: float = 0.1
    collisions: list[Collision] = field(default_factory=list)
    track_error_m: float | None = None
    absent: list[str] = field(default_factory=list)
    overlaps: list[tuple[str, str, float]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    films: dict[str, Frames] = field(default_factory=dict)
    episode: Episode | None = None
    spec: EpisodeSpec | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def first_collision_s(self) -> float | None:
        return min((c.t_s for c in self.collisions), default=None)

    def ego_collision(self) -> Collision | None:
        """The first one that the ego is part of."""
        return next((c for c in self.collisions if self.ego in (c.a, c.b)), None)

    def to_json(self) -> dict[str, Any]:
        """As report.json holds it under ``replay``."""
        return {
            "world": self.world,
            "scenario": self.scenario,
            "ego": self.ego,
            "driver": self.driver,
            "first_collision_s": None if self.first_collision_s is None else round(self.first_collision_s, 4),
            "collisions": [_collision_json(c) for c in self.collisions],
            "duration_s": round(self.duration_s, 4),
            "actors": self.num_actors,
            "track_error_m": self.track_error_m,
            "absent": self.absent,
            "overlaps": [{"t_s": round(t, 4), "a": a, "b": b} for a, b, t in self.overlaps],
            "unsupported": self.notes,
            **self.extra,
        }


def _collision_json(c: Collision) -> dict[str, Any]:
    numbers = {
        name: round(float(getattr(c, name)), 4)
        for name in ("t_s", "impulse_Ns", "closing_mps", "delta_v_a_mps", "delta_v_b_mps")
    }
    return {
        "t_s": numbers["t_s"],
        "a": c.a,
        "b": c.b,
        "impulse_Ns": numbers["impulse_Ns"],
        "delta_v_mps": {c.a: numbers["delta_v_a_mps"], c.b: numbers["delta_v_b_mps"]},
        "closing_mps": numbers["closing_mps"],
        "side": c.side or None,
    }
