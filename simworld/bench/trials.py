"""Trials: constructed conflicts played in the simulator and imagined from the same frames, with twins that part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from simworld.bench.foresight import Floats, OutcomesConfig, Windows, estimates, mean, recall_at_5fpr
from simworld.collect import collect, resolve
from simworld.data.cache import FrameCache
from simworld.data.store import EpisodeStore
from simworld.episode import EpisodeSpec

HOLDS = "hold"  # the twin that goes on as before; the others part from it
MASS_LAW_BESIDE = "car"  # delta-v against the other classes is given as a multiple of that against this one


@dataclass(frozen=True)
class Simulator:
    """Where episodes can be recorded: an env by name, its options, and its plans {name: "module:function"}."""

    make_env: str
    env_options: Mapping[str, Any]
    plans: Mapping[str, str]

    def make(self) -> gymnasium.Env[Any, Any]:
        return resolve(self.make_env)(**self.env_options)


@dataclass(frozen=True)
class Trials:
    """Recorded trials: one window and one `about` per episode, `windows.episode` being the trial's number."""

    cache: FrameCache
    windows: Windows
    about: tuple[dict[str, Any], ...]

    def part(self, chosen: NDArray[Any]) -> Trials:
        """Some of the episodes, by mask."""
        about = tuple(a for a, ok in zip(self.about, chosen, strict=True) if ok)
        return Trials(self.cache, self.windows.part(chosen), about)

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the twin that holds its course and of one that does not, for every such pair."""
        holds = {a["trial"]: i for i, a in enumerate(self.about) if a["twin"] == HOLDS}
        found = [(holds[a["trial"]], i) for i, a in enumerate(self.about) if a["twin"] != HOLDS and a["trial"] in holds]
        both = np.array(found, np.int64).reshape(-1, 2)
        return both[:, 0], both[:, 1]


def record(
    simulator: Simulator,
    name: str,
    out: Path,
    episodes: int,
    spec: EpisodeSpec,
    config: OutcomesConfig,
    report: Callable[[str], None],
) -> EpisodeStore:
    """Episodes of the plan called `name`, played in worker processes and kept at `out`.

    ValueError where the simulator's cameras, actions or outcomes are not those of the model.
    """
    collect(
        make_env=simulator.make_env,
        plan=simulator.plans[name],
        out=out,
        episodes=episodes,
        seed=config.seed,
        workers=config.workers,
        env_options=simulator.env_options,
        progress=report,
    )
    store = EpisodeStore(out)
    for what in ("cameras", "action", "outcomes"):
        ours, theirs = getattr(spec, what), getattr(store.spec, what)
        if ours != theirs:
            raise ValueError(
                f"the simulator's {what} ({theirs}) are not those that the checkpoint knows ({ours}); "
                f"set env.options, and delete {out}"
            )
    return store


def trials_of(store: EpisodeStore, about: Sequence[dict[str, Any]], config: OutcomesConfig) -> Trials:
    """Recorded episodes, of which `about` says trial, twin and present; who ends before the present is dropped.

    ValueError where the twins of a trial do not share the frames that they are imagined from.
    """
    cache = store.cache()
    present = np.array([a["present"] for a in about], np.int64)
    if present.min() < config.context:
        raise ValueError(
            f"trials part after {present.min()} steps, a context needs {config.context}; lower the context"
        )
    at = cache.first_row + present
    alive = cache.num_steps > present
    at, about = at[alive], [a for a, ok in zip(about, alive, strict=True) if ok]
    windows = Windows(
        rows=at - config.context,
        episode=np.array([a["trial"] for a in about], np.int64),
        to_event=cache.steps_to_event[config.event][at],
    )
    trials = Trials(cache, windows, tuple(about))
    film = next(iter(cache.frames.values()))
    for i, j in zip(*trials.pairs(), strict=True):
        one, other = (film[windows.rows[k] : windows.rows[k] + config.context + 1] for k in (i, j))
        if not np.array_equal(one, other):
            raise ValueError(
                f"the twins of trial {about[i]['trial']} differ before they part; is the env deterministic?"
            )
    return trials


def twin_scores(trials: Trials, p: Floats, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Is the twin that crashes told from the one that does not? p (n,) is P(event within the horizon).

    `twin_sign_accuracy` is over pairs of which one crashes, a tie counting half; `twin_recall_at_5fpr` finds the
    crashes that only one of two twins has, among all episodes without a crash.
    """
    crash = trials.windows.to_event < config.horizon
    hold, other = trials.pairs()
    differ = crash[hold] != crash[other]
    hold, other = hold[differ], other[differ]
    lead = np.where(crash[other], 1, -1) * np.sign(p[other] - p[hold])
    caused = np.zeros(len(crash), bool)
    caused[np.where(crash[other], other, hold)] = True
    asked = caused | ~crash
    group = trials.windows.episode
    measured = {
        "twin_sign_accuracy": (mean, group[other], (1 + lead) / 2),
        "twin_recall_at_5fpr": (recall_at_5fpr, group[asked], caused[asked], p[asked]),
    }
    return estimates(measured, config, rng) | {"num_twin_pairs": len(other)}


def by_family(trials: Trials, p: Floats, config: OutcomesConfig) -> dict[str, dict[str, Any]]:
    """Per family: episodes, share that crash, mean P(crash) of those that do and do not, pairs told apart."""
    crash = trials.windows.to_event < config.horizon
    hold, other = trials.pairs()
    differ = crash[hold] != crash[other]
    right = (1 + np.where(crash[other], 1, -1) * np.sign(p[other] - p[hold])) / 2
    family = np.array([a["family"] for a in trials.about])
    found = {}
    for name in dict.fromkeys(family):
        of, pair = family == name, differ & (family[other] == name)
        found[str(name)] = {
            "episodes": int(of.sum()),
            "crash_share": round(float(crash[of].mean()), 3),
            "p_if_crash": _mean_or_none(p[of & crash]),
            "p_if_safe": _mean_or_none(p[of & ~crash]),
            "twin_sign_accuracy": _mean_or_none(right[pair]),
            "twin_pairs": int(pair.sum()),
        }
    return found


def mass_law(trials: Trials, delta_v: Floats, config: OutcomesConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Does predicted delta-v (n,) grow with the partner's mass as m2 / (m1 + m2) demands?

    Trials that differ in the partner alone are compared at equal closing speed: delta-v against a class over that
    against a car, beside the same ratio of mass shares. The error is the relative one, its median over classes and
    speeds; the simulator's own delta-v goes through the same measure.
    """
    real = trials.cache.outcomes["delta_v"][trials.windows.rows + config.context + _steps(trials, config)]
    rows = []
    crash = trials.windows.to_event < config.horizon
    asked = [i for i, a in enumerate(trials.about) if "mass_share" in a and a["twin"] == HOLDS and crash[i]]
    beside = {trials.about[i]["closing_mps"]: i for i in asked if trials.about[i]["partner"] == MASS_LAW_BESIDE}
    for i in asked:
        a, j = trials.about[i], beside.get(trials.about[i]["closing_mps"])
        if j is None or i == j:
            continue
        rows.append(
            {
                "closing_mps": a["closing_mps"],
                "partner": a["partner"],
                "law": round(a["mass_share"] / trials.about[j]["mass_share"], 4),
                "predicted": round(float(delta_v[i] / max(delta_v[j], 1e-3)), 4),
                "simulated": round(float(real[i] / real[j]), 4),
            }
        )
    groups = np.arange(len(rows))
    measured = {
        name: (_median_error, groups, np.array([r[of] / r["law"] - 1 for r in rows]))
        for name, of in (("mass_law_error", "predicted"), ("mass_law_error_simulated", "simulated"))
    }
    return estimates(measured, config, rng) | {"mass_law": rows}


def _steps(trials: Trials, config: OutcomesConfig) -> NDArray[np.int64]:
    """Steps from the present to the crash; 0 where there is none, whose value nobody reads."""
    to_event = trials.windows.to_event
    return np.where(to_event < config.horizon, to_event, 0)


def _median_error(errors: Floats) -> float:
    return float(np.median(np.abs(errors)))


def _mean_or_none(values: Floats) -> float | None:
    return round(float(np.mean(values)), 4) if len(values) else None
