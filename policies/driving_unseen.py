"""Driving episodes of a kind that the mix never draws: crowded winding roads in fog, and columns across all lanes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .driving_scripted import make_driver
from .plan import EpisodePlan

DRIVERS = ("expert", "reckless", "blind", "explorer")
COLUMN = ("tank", "bus", "truck", "tank", "truck", "van", "pedestrian", "pedestrian")
MOST_ACTORS = 16  # drawn traffic ends at 12


def plan(index: int, seed: int) -> EpisodePlan:
    """Episode `index`: an even one in a crowd, an odd one behind a column of slow and heavy vehicles."""
    rng = np.random.default_rng([seed, index, 6])
    reset_seed, driver = int(rng.integers(2**31)), str(rng.choice(DRIVERS))
    options: dict[str, Any] = {"curviness": "winding", "light": "fog", "num_actors": MOST_ACTORS}
    if index % 2:
        speeds = rng.uniform(1.0, 4.0, len(COLUMN))
        actors = [
            {"kind": k, "ahead_m": 18.0 + 16 * (i // 2) + 4 * (i % 2), "left_m": 3.6 * (i % 2), "speed_mps": float(v)}
            for i, (k, v) in enumerate(zip(COLUMN, speeds, strict=True))
        ]
        options = {"num_lanes": 3, "lane": 1, "oncoming": False, "light": "fog", "ego_speed_mps": 12.0}
        options |= {"curviness": "straight", "actors": actors}
    return EpisodePlan(reset_seed, make_driver(driver), 60, options)
