"""Questions that every model is asked of the same windows, crashes and trials, and how its answers are scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simworld.bench.foresight import Floats, OutcomesConfig, Windows, estimates, foreseen, mean
from simworld.bench.trials import Trials, by_family, mass_law, twin_scores
from simworld.data.cache import FrameCache
from simworld.metrics import calibration
from simworld.rolls import Roll, roll_windows
from simworld.world_model import WorldModel

OF_TRIALS = ("twin_sign_accuracy", "twin_recall_at_5fpr", "mass_law_error")  # null where there are none


@dataclass(frozen=True)
class Questions:
    """Windows of held-out films and how often the event lies ahead of one; real crashes from 1 s before; trials."""

    cache: FrameCache
    drawn: Windows
    base_rate: float
    impacts: Windows
    trials: Trials | None

    def fewer(self, config: OutcomesConfig) -> Questions:
        """As many as a slow model can answer, drawn anew."""
        rng = np.random.default_rng(config.seed)

        def some(windows: Windows, num: int) -> Windows:
            return windows.part(np.sort(rng.permutation(len(windows.rows))[:num]))

        trials = self.trials
        if trials is not None:
            numbers = rng.permutation(np.unique(trials.windows.episode))[: config.reference_trials]
            trials = trials.part(np.isin(trials.windows.episode, numbers))
        return replace(
            self,
            drawn=some(self.drawn, config.reference_windows),
            impacts=some(self.impacts, config.reference_windows // 2),
            trials=trials,
        )


@dataclass(frozen=True)
class Answers:
    """What a model foretold of each kind; None where nothing was asked."""

    drawn: Roll
    impacts: Roll | None
    trials: Roll | None


def ask(
    model: WorldModel[Any],
    questions: Questions,
    config: OutcomesConfig,
    report: Callable[[str], None],
    *,
    told: bool = False,
) -> Answers:
    """Imagine all windows; the twins of a trial share their noise. Where the model is `told` who is there at the
    present, it foresees without drawing."""
    k, h, event = config.context, config.horizon, config.event
    cache, trials, impacts = questions.cache, questions.trials, questions.impacts
    num_event = int(np.sum(questions.drawn.to_event < h))
    report(f"imagining {len(questions.drawn.rows)} windows, {num_event} of them with the event")
    drawn = roll_windows(model, cache, questions.drawn.rows, k, h, event, config.batch, told=told)
    before = tried = None
    if len(impacts.rows):
        report(f"imagining {len(impacts.rows)} crashes from 1 s before")
        before = roll_windows(model, cache, impacts.rows, k, h, event, config.batch, told=told)
    if trials is not None:
        report(f"imagining {len(trials.about)} trials")
        rows, numbers = trials.windows.rows, trials.windows.episode
        tried = roll_windows(model, trials.cache, rows, k, h, event, config.batch, seeds=numbers, told=told)
    return Answers(drawn, before, tried)


def score(questions: Questions, answers: Answers, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Every figure that these answers can give, each with its interval."""
    drawn, dt_s, h = questions.drawn, questions.cache.spec.dt_s, config.horizon
    roll = answers.drawn
    found = foreseen(drawn, roll.p_within(h), roll.p_now, questions.base_rate, dt_s, config, rng)
    if answers.impacts is not None:
        found |= severity(questions, answers.impacts, config, rng)
    found |= dict.fromkeys(OF_TRIALS)
    if questions.trials is not None and answers.trials is not None:
        p = answers.trials.p_within(h)[:, -1]
        found |= twin_scores(questions.trials, p, config, rng)
        found["trials"] = by_family(questions.trials, p, config)
        if "delta_v" in answers.trials.scalars:
            found |= mass_law(questions.trials, answers.trials.scalars["delta_v"], config, rng)
    return found | {"num_windows": len(drawn.rows), "num_with_event": int(np.sum(drawn.to_event < h))}


def score_probabilities(
    questions: Questions,
    p_within: Floats,
    hazard: Floats,
    p_trials: Floats | None,
    config: OutcomesConfig,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The same for a rule that tells P(within) and hazards (n, h) of the windows, and P(event) (m,) of the trials."""
    dt_s = questions.cache.spec.dt_s
    found = foreseen(questions.drawn, p_within, hazard, questions.base_rate, dt_s, config, rng)
    if questions.trials is not None and p_trials is not None:
        found |= twin_scores(questions.trials, p_trials, config, rng)
    return found


def true_values(questions: Questions, name: str, config: OutcomesConfig) -> Floats:
    """An outcome (n,) at the moments of the real crashes, NaN where it was not recorded."""
    impacts = questions.impacts
    at = impacts.rows + config.context + impacts.to_event
    return np.asarray(questions.cache.outcomes[name][at], np.float64)


def severity(questions: Questions, roll: Roll, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Delta-v, partner and side of real crashes, as told 1 s before: means weighted by when the impact is expected."""
    episode = questions.impacts.episode
    measured: dict[str, Any] = {}
    for name, value in roll.scalars.items():
        truth = true_values(questions, name, config)
        known = np.isfinite(truth)
        pair = episode[known], truth[known], value[known]
        measured[f"{name}_relative_error"] = (calibration.median_relative_error, *pair)
        measured[f"{name}_rank_correlation"] = (calibration.rank_correlation, *pair)
    for name, p in roll.categories.items():
        truth = true_values(questions, name, config)
        known = np.isfinite(truth)
        measured[f"{name}_accuracy"] = (mean, episode[known], (p.argmax(1) == truth)[known].astype(float))
    return estimates(measured, config, rng) | {"num_impacts": len(episode)}
