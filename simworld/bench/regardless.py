"""Regardless: is an event foreseen as often as it comes where actions tell nothing of what is around?

Whoever chose the actions on record knew what was around, and a model that takes them for signs of it is right on such
films and wrong where it is asked what any other policy's actions cause. Here actions were drawn, so that both differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simworld.bench.foresight import Floats, OutcomesConfig, Windows, estimates, foreseen, usable_windows
from simworld.data.cache import FrameCache
from simworld.rolls import roll_windows
from simworld.world_model import WorldModel


def drawn_windows(cache: FrameCache, since: Sequence[int], config: OutcomesConfig, rng: np.random.Generator) -> Windows:
    """Windows of all that are usable, each as likely, whose present is no earlier than the step `since` which the
    actions of their episode were drawn."""
    usable = usable_windows(cache, config)
    present = usable.rows + config.context - cache.first_row[usable.episode]
    late = np.flatnonzero(present >= np.asarray(since)[usable.episode])
    return usable.part(np.sort(rng.permutation(late)[: config.regardless_windows]))


def regardless(
    model: WorldModel[Any], cache: FrameCache, drawn: Windows, config: OutcomesConfig, rng: np.random.Generator
) -> dict[str, Any]:
    """Ranking, calibration and timing as of other windows, how often the event came, `share_*`, and by how much more
    often than that it was foreseen on the whole, `bias_*`, within 1 s and within the horizon."""
    h, dt_s = config.horizon, cache.spec.dt_s
    roll = roll_windows(model, cache, drawn.rows, config.context, h, config.event, config.batch, drawing=False)
    p = roll.p_within(h)
    measured: dict[str, Any] = {}
    for name, steps in (("1s", round(1 / dt_s)), ("3s", h)):
        comes = (drawn.to_event < steps).astype(float)
        measured[f"share_{name}"] = (_share, drawn.episode, comes)
        measured[f"bias_{name}"] = (_bias, drawn.episode, comes, p[:, steps - 1])
    found = estimates(measured, config, rng)
    share = float(np.mean(drawn.to_event < h))
    return found | foreseen(drawn, p, roll.p_now, share, dt_s, config, rng) | {"num_windows": len(drawn.rows)}


def _share(comes: Floats) -> float:
    return float(comes.mean())


def _bias(comes: Floats, p: Floats) -> float:
    return float(p.mean() - comes.mean())
