"""bench outcomes: is a collision foreseen, when, how hard, with what; do twins part; does trust find bad steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simworld.believing import BelievingWorldModel
from simworld.bench import baselines
from simworld.bench.films import FidelityConfig, fit_state_probe
from simworld.bench.foresight import (
    OutcomesConfig,
    Windows,
    draw_windows,
    foreseen,
    impact_windows,
    main_event,
    usable_windows,
)
from simworld.bench.mistakes import write_mistakes
from simworld.bench.outcome_page import draw, write_page
from simworld.bench.questions import Answers, Questions, ask, score
from simworld.bench.regardless import drawn_windows, regardless
from simworld.bench.trials import Simulator, Trials, record, trials_of
from simworld.bench.trust import CANDIDATES, compare, ordinary, signs_of
from simworld.checkpoint import load_world_model
from simworld.collect import resolve
from simworld.data.cache import FrameCache
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.episode import EpisodeSpec
from simworld.metrics.probe import Probe
from simworld.world_model import WorldModel

Say = Callable[[str], None]

# Plans of an env that the bench plays: what they are, and what is lost without them.
PLANS = {
    "trials": ("constructed conflicts in the simulator", "there are no twins and no mass law"),
    "unseen": ("settings that training never saw", "trust is not tried on settings foreign to training"),
    "regardless": ("what is done regardless of others", "actions that tell nothing of others are not tried"),
}


def bench_outcomes(
    *,
    checkpoint: str,
    data: Path,
    heldout: Path,
    out: Path,
    simulator: Simulator | None = None,
    reference: str | None = None,
    windows: int = 1000,
    config: OutcomesConfig | None = None,
    dtype: torch.dtype = torch.bfloat16,
    report: Say = print,
) -> dict[str, Any]:
    """Write ``out/report.json`` with `outcomes`; returns its content.

    From real frames the true coming actions are imagined forward; past the end of an episode the last one is held.
    Beside each number stands its interval (bootstrap over episodes); what can not be had is null with a reason, or
    named under `left_out`. Without a `config` the event is the one of which the env tells most. `ece` weighs the
    windows as often as they occur in `heldout`, `ece_sample` as they were drawn. Trials are recorded by `simulator`,
    the checkpoint `reference` answers a part of the same questions. `told` are the figures of the same model
    that is told who is there at the present instead of having to see it: better sight would not bring more.
    `regardless` are those of windows whose actions were drawn, so that they tell nothing of what is around.
    """
    model = load_world_model(checkpoint, dtype=dtype)
    cache = EpisodeStore(heldout).cache(model.spec.cameras)
    config = config or OutcomesConfig(event=main_event(cache.spec))
    if config.event not in cache.steps_to_event:
        raise ValueError(f"{heldout} declares no event {config.event!r}; it has {sorted(cache.steps_to_event)}")
    left_out: dict[str, str] = {}
    drawn, base_rate = draw_windows(cache, windows, config)
    impacts = impact_windows(cache, config, lead=round(1 / cache.spec.dt_s))
    played = _played(simulator, "trials", config.trial_episodes, model.spec, out, config, left_out, report)
    trials = _trials(simulator, played, config)
    questions = Questions(cache, drawn, base_rate, impacts, trials)
    answers = ask(model, questions, config, report)
    rng = np.random.default_rng(config.seed)
    found = score(questions, answers, config, rng)
    roll = answers.drawn
    first = foreseen(drawn, roll.p_first, roll.hazard_first, base_rate, cache.spec.dt_s, config, rng)
    found |= {"from_first_step": first, "base_rate": base_rate}
    train = EpisodeStore(data).cache(model.spec.cameras)
    probe = _probe(train, config, report)
    played = _played(simulator, "unseen", config.unseen_episodes, model.spec, out, config, left_out, report)
    unseen = None if played is None else played.cache()
    found |= _trust(model, questions, train, probe, unseen, config, rng, report)
    found["baselines"] = _baselines(questions, probe, reference, config, rng, dtype, left_out, report)
    told = _told(model, questions, config, left_out, report)
    found["told"] = None if told is None else score(questions, told, config, rng)
    played = _played(simulator, "regardless", config.regardless_episodes, model.spec, out, config, left_out, report)
    found["regardless"] = _regardless(model, simulator, played, config, rng)
    found["left_out"] = left_out
    write_json(out / "report.json", {"outcomes": found})
    draw(questions, answers, found, config, out)
    write_mistakes(model, questions, answers, config, out)
    write_page(found, out)
    report(f"page: {out / 'outcomes.html'}")
    return {"outcomes": found}


def _played(
    simulator: Simulator | None,
    name: str,
    episodes: int,
    spec: EpisodeSpec,
    out: Path,
    config: OutcomesConfig,
    left_out: dict[str, str],
    report: Say,
) -> EpisodeStore | None:
    """Episodes of the env's plan `name`; None, and why, where it names no such plan."""
    what, lacking = PLANS[name]
    if simulator is None or name not in simulator.plans:
        left_out[name] = f"the env names no plan `{name}`, so {lacking}"
        return None
    report(f"playing {what}")
    return record(simulator, name, out / name, episodes, spec, config, report)


def _trials(simulator: Simulator | None, store: EpisodeStore | None, config: OutcomesConfig) -> Trials | None:
    if simulator is None or store is None:
        return None
    plan = resolve(simulator.plans["trials"])
    return trials_of(store, [plan(i, config.seed).about for i in range(len(store))], config)


def _regardless(
    model: WorldModel[Any],
    simulator: Simulator | None,
    store: EpisodeStore | None,
    config: OutcomesConfig,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    """What is foreseen where actions were drawn; None where no env tells of such a plan."""
    if simulator is None or store is None:
        return None
    plan, cache = resolve(simulator.plans["regardless"]), store.cache(model.spec.cameras)
    since = [plan(i, config.seed).about["present"] for i in range(len(store))]
    return regardless(model, cache, drawn_windows(cache, since, config, rng), config, rng)


def _probe(train: FrameCache, config: OutcomesConfig, report: Say) -> Probe | None:
    """Fitted on real frames of the training data; None where that has none of the probed states."""
    names = [n for n in config.probed if n in train.spec.state_names]
    if not names:
        return None
    report("fitting the state probe on real frames")
    return fit_state_probe(train, names, FidelityConfig(probe=config.probe))


def _told(
    model: WorldModel[Any], questions: Questions, config: OutcomesConfig, left_out: dict[str, str], report: Say
) -> Answers | None:
    """What the model answers when it need not see who is there; None, and why, where nobody can tell it."""
    if not isinstance(model, BelievingWorldModel) or model.lookout is None or not questions.cache.actors.shape[1]:
        left_out["told"] = "the model looks out for nobody, or the data knows of no actors"
        return None
    report("told who is there at the present, the model answers once more")
    return ask(model, questions, config, report, told=True)


def _baselines(
    questions: Questions,
    probe: Probe | None,
    reference: str | None,
    config: OutcomesConfig,
    rng: np.random.Generator,
    dtype: torch.dtype,
    left_out: dict[str, str],
    report: Say,
) -> dict[str, Any]:
    found = {"base_rate": baselines.constant(questions, config, rng)}
    if probe is not None and set(baselines.TTC_NEEDS) <= set(probe.names):
        found["ttc_rule"] = baselines.ttc_rule(probe, questions, config, rng)
    else:
        left_out["ttc_rule"] = f"the data declares no states {' and '.join(baselines.TTC_NEEDS)}"
    if reference is None:
        left_out["reference"] = "no checkpoint was given; train one with model=unet and add reference=FOLDER"
        return found
    report(f"the reference {reference} answers a part of the same questions")
    fewer = questions.fewer(config)
    other = load_world_model(reference, dtype=dtype)
    found["reference"] = score(fewer, ask(other, fewer, config, report), config, rng)
    return found


def _trust(
    model: WorldModel[Any],
    questions: Questions,
    train: FrameCache,
    probe: Probe | None,
    unseen: FrameCache | None,
    config: OutcomesConfig,
    rng: np.random.Generator,
    report: Say,
) -> dict[str, Any]:
    """Which sign finds the worst imagined steps, of held-out films and of settings that training never saw."""
    report("comparing signs of wrong frames")
    usual = rng.permutation(usable_windows(train, config).rows)[: config.ordinary_windows]
    density = ordinary(model, train, np.sort(usual), config)

    def some(windows: Windows) -> Windows:
        return windows.part(np.sort(rng.permutation(len(windows.rows))[: config.trust_windows]))

    held = signs_of(model, questions.cache, some(questions.drawn), probe, density, config)
    table = {"heldout": compare(held, config, rng)}
    if unseen is not None:
        strange = signs_of(model, unseen, some(usable_windows(unseen, config)), probe, density, config)
        table |= {"unseen": compare(strange, config, rng), "both": compare(held.beside(strange), config, rng)}
    last = list(table.values())[-1]
    return {
        "trust": table,
        "trust_auroc": table["heldout"]["head"],
        "trust_auroc_interval": table["heldout"]["head_interval"],
        "trust_best": max(CANDIDATES, key=lambda name: last[name] or 0.0),
        "trust_error": "pixels" if probe is None else "probe",
    }
