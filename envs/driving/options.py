"""What a user may ask of a driving episode, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from simworld.scenario import BODIES

from .bodies import POOL
from .road import CURVINESS
from .scenery import LIGHTS
from .spec import check_name
from .traffic import ROLES


@dataclass(frozen=True)
class ActorOption:
    """An actor to place: where relative to the ego along and across the road, heading relative to the road."""

    kind: str
    ahead_m: float
    left_m: float = 0.0
    heading_rad: float = 0.0
    speed_mps: float = 0.0
    role: str = "puppet"

    def __post_init__(self) -> None:
        check_name("actor kind", self.kind, tuple(POOL))
        check_name("role", self.role, ROLES)


@dataclass(frozen=True)
class ResetOptions:
    """`reset(options=...)`; what is None is drawn from the seed. num_lanes counts the ego's direction."""

    ego_speed_mps: float | None = None
    num_actors: int | None = None
    num_lanes: int | None = None
    lane: int | None = None
    oncoming: bool | None = None
    curviness: str | None = None  # straight, mild, curvy, winding
    light: str | None = None  # daylight, dusk, fog
    actors: tuple[ActorOption, ...] | None = None  # instead of drawn traffic

    def __post_init__(self) -> None:
        if self.num_lanes is not None and not 1 <= self.num_lanes <= 4:
            raise ValueError(f"option num_lanes must be 1 to 4, got {self.num_lanes}")
        if self.num_actors is not None and not 0 <= self.num_actors <= 16:
            raise ValueError(f"option num_actors must be 0 to 16, got {self.num_actors}")
        if self.ego_speed_mps is not None and not 0.0 <= self.ego_speed_mps <= 45.0:
            raise ValueError(f"option ego_speed_mps must be 0 to 45, got {self.ego_speed_mps}")
        if self.curviness is not None:
            check_name("curviness", self.curviness, tuple(CURVINESS))
        if self.light is not None:
            check_name("light", self.light, LIGHTS)

    @classmethod
    def parse(cls, raw: Mapping[str, Any] | None) -> ResetOptions:
        """From the mapping given to `reset`; ValueError says what does not fit."""
        given = dict(raw or {})
        for name in given:
            check_name("reset option", name, tuple(f.name for f in fields(cls)))
        if given.get("actors") is not None:
            given["actors"] = tuple(_actor(a) for a in given["actors"])
        return cls(**given)


def _actor(raw: Mapping[str, Any]) -> ActorOption:
    for name in raw:
        check_name("actor option", name, tuple(f.name for f in fields(ActorOption)))
    if "kind" not in raw or "ahead_m" not in raw:
        raise ValueError(f"an actor needs at least kind and ahead_m, got {dict(raw)}")
    return ActorOption(**raw)


def check_ego(kind: str) -> None:
    """Refuse an ego that nobody drives."""
    check_name("ego_kind", kind, tuple(k for k in BODIES if k not in ("static", "pedestrian", "cyclist")))
