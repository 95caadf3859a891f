"""What every OpenSCENARIO action offers to the storyboard that runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simworld.readers.openscenario.world import Entity, World


class Action(Protocol):
    """Runs on one entity (global actions on none).

    channel  what it steers: starting another action of one channel ends this one; empty for instant actions
    """

    channel: str

    def start(self, world: World, entity: Entity | None) -> None: ...

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        """Act for one time step; True when done."""
        ...

    def describe(self) -> dict[str, object]: ...


class Instant:
    """An action that does its work when it starts."""

    channel = ""

    def __init__(self, name: str, work: Callable[[World, Entity | None], None]) -> None:
        self._name = name
        self._work = work

    def start(self, world: World, entity: Entity | None) -> None:
        self._work(world, entity)

    def step(self, world: World, entity: Entity | None, dt_s: float) -> bool:
        return True

    def describe(self) -> dict[str, object]:
        return {"action": self._name}
