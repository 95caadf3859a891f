"""Placement: which windows end behind a vehicle."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from simworld.bench.placement import PlacementConfig, _behind_a_vehicle
from simworld.scenario import ACTOR_CLASSES


def row(kind: str, x: float, y: float) -> list[float]:
    return [ACTOR_CLASSES.index(kind), x, y, 0, 0, 0, 4.5, 1.8, 1500]


def test_whoever_is_next_ahead_counts() -> None:
    nobody = [np.nan] * 9
    actors = np.array(
        [
            [row("car", 12.0, 0.5), row("pedestrian", 20.0, 0.0)],
            [row("car", 12.0, 0.5), row("pedestrian", 8.0, 0.0)],
            [row("truck", 12.0, 3.5), row("van", -9.0, 0.0)],
            [row("bus", 12.0, 0.0), nobody],
            [nobody, nobody],
        ]
    )
    found = _behind_a_vehicle(SimpleNamespace(actors=actors), np.arange(5), PlacementConfig())  # type: ignore[arg-type]
    assert found.tolist() == [True, False, False, True, False]
