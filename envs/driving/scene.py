"""Scene: what one seed draws and an episode keeps, the road, the light, the scenery and the colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .options import ResetOptions
from .road import RoadLayout, make_layout
from .scenery import Look, Slots, draw_look, draw_slots

PAINTS = (
    (0.85, 0.85, 0.87),
    (0.1, 0.1, 0.12),
    (0.75, 0.12, 0.1),
    (0.12, 0.25, 0.65),
    (0.55, 0.57, 0.6),
    (0.9, 0.75, 0.15),
    (0.1, 0.5, 0.5),
)
# Classes that a viewer tells by their colour.
OWN_PAINTS = {
    "tank": ((0.3, 0.34, 0.16),),
    "bus": ((0.9, 0.6, 0.1), (0.2, 0.45, 0.3), (0.75, 0.2, 0.2)),
    "motorcycle": ((0.7, 0.1, 0.1), (0.15, 0.2, 0.6)),
    "pedestrian": ((0.95, 0.2, 0.6), (1.0, 0.55, 0.1), (0.2, 0.85, 0.95)),
}


@dataclass(frozen=True)
class Scene:
    """What stays the same during one episode."""

    layout: RoadLayout
    look: Look
    slots: Slots
    paint: NDArray[np.float64]  # (n, 3) colour of every actor


def draw_scene(
    rng: np.random.Generator, options: ResetOptions, kinds: tuple[str, ...], length_m: float, p_oncoming: float
) -> Scene:
    """Draw a scene of a road `length_m` long."""
    if options.oncoming is not None:
        p_oncoming = float(options.oncoming)
    layout = make_layout(rng, length_m, p_oncoming, options.num_lanes, options.curviness)
    look = draw_look(rng, options.light)
    slots = draw_slots(rng, layout)
    return Scene(layout, look, slots, draw_paint(rng, kinds))


def draw_paint(rng: np.random.Generator, kinds: tuple[str, ...]) -> NDArray[np.float64]:
    """Draw a colour (n, 3) for every actor."""
    paint = np.empty((len(kinds), 3))
    for i, kind in enumerate(kinds):
        choice = OWN_PAINTS.get(kind, PAINTS)
        paint[i] = np.array(choice[rng.integers(len(choice))]) * rng.uniform(0.88, 1.1)
    return np.clip(paint, 0.0, 1.0)
