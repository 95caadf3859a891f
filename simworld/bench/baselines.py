"""What foresight is worth without a world model: the base rate for everything, and time to collision by a rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.bench.films import PROBE_FRAMES
from simworld.bench.foresight import Floats, OutcomesConfig
from simworld.bench.questions import Questions, score_probabilities
from simworld.data.cache import FrameCache
from simworld.metrics.probe import Probe

TTC_NEEDS = ("gap_m", "closing_mps")


def constant(questions: Questions, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """How often the event lies ahead in the held-out store, said of every window and trial."""
    step = 1 - (1 - questions.base_rate) ** (1 / config.horizon)
    hazard = np.full((len(questions.drawn.rows), config.horizon), step)
    p_trials = None if questions.trials is None else np.full(len(questions.trials.about), questions.base_rate)
    return score_probabilities(questions, 1 - np.cumprod(1 - hazard, axis=1), hazard, p_trials, config, rng)


def ttc_rule(probe: Probe, questions: Questions, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Gap over closing speed, both read by a probe off the last real frames; not a probability, so without ece.

    What is done after the present does not enter, so twins are always tied.
    """
    dt_s, whole = questions.cache.spec.dt_s, config.horizon
    ttc_s = ttc_seen_s(probe, questions.cache, questions.drawn.rows + config.context)
    urgency = np.repeat(1 / (1 + ttc_s)[:, None], whole, axis=1)  # the same order as 1 / ttc, within [0, 1]
    due_step = np.clip(np.ceil(ttc_s / dt_s) - 1, 0, whole - 1)
    hazard = (np.arange(whole) == due_step[:, None]).astype(np.float64)
    trials, p_trials = questions.trials, None
    if trials is not None:
        p_trials = 1 / (1 + ttc_seen_s(probe, trials.cache, trials.windows.rows + config.context))
    found = score_probabilities(questions, urgency, hazard, p_trials, config, rng)
    return {name: value for name, value in found.items() if not name.startswith("ece")}


def ttc_seen_s(probe: Probe, cache: FrameCache, present: NDArray[np.int64]) -> Floats:
    """Time to collision (n,) that the probe reads off the last real frames at rows `present`."""
    seen = cache.frames[next(iter(cache.frames))][present[:, None] + np.arange(1 - PROBE_FRAMES, 1)]
    state = probe.predict(seen).astype(np.float64)
    gap_m, closing_mps = (state[:, probe.names.index(name)] for name in TTC_NEEDS)
    return np.asarray(np.maximum(gap_m, 0) / np.maximum(closing_mps, 0.1), np.float64)
