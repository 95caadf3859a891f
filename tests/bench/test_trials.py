"""Trials: known answers of the twins' scores and the mass law, and one run through the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from simworld.policies.driving_trials import plan

from simworld.bench.foresight import OutcomesConfig, Windows
from simworld.bench.outcomes import bench_outcomes
from simworld.bench.trials import Simulator, Trials, by_family, mass_law, record, trials_of, twin_scores
from simworld.checkpoint import build_world_model, save_world_model
from simworld.data.cache import NEVER
from simworld.data.store import EpisodeStore
from simworld.latent_world_model import LatentConfig
from simworld.metrics.probe import ProbeConfig
from simworld.model.codec import CodecConfig
from simworld.model.dynamics import DynamicsConfig
from simworld.nets.transformer import TransformerConfig

SMALL = OutcomesConfig(context=4, horizon=10, num_resamples=20)
MASS_KG = {"car": 1500.0, "tank": 50000.0, "pedestrian": 75.0}


class Recorded:
    """As much of a cache as the mass law reads: row i is the present of trial i, less the context."""

    def __init__(self, delta_v: np.ndarray, config: OutcomesConfig) -> None:
        self.outcomes = {"delta_v": np.r_[np.zeros(config.context), delta_v]}


def trials_with(crash: list[bool], about: list[dict[str, Any]], delta_v: np.ndarray | None = None) -> Trials:
    n = len(crash)
    to_event = np.where(crash, 0, NEVER)
    windows = Windows(np.arange(n), np.array([a["trial"] for a in about]), to_event)
    return Trials(Recorded(np.zeros(n) if delta_v is None else delta_v, SMALL), windows, tuple(about))  # type: ignore[arg-type]


def twins(num: int) -> list[dict[str, Any]]:
    return [{"trial": t, "twin": twin, "family": "head_on"} for t in range(num) for twin in ("hold", "brake", "swerve")]


def test_twins_told_apart():
    trials = trials_with([True, False, True] * 4, twins(4))
    rng = np.random.default_rng(0)
    truth = np.array([0.9, 0.1, 0.8] * 4)
    assert twin_scores(trials, truth, SMALL, rng)["twin_sign_accuracy"] == 1.0
    assert twin_scores(trials, truth, SMALL, rng)["twin_recall_at_5fpr"] == 1.0
    assert twin_scores(trials, 1 - truth, SMALL, rng)["twin_sign_accuracy"] == 0.0
    tied = twin_scores(trials, np.full(12, 0.3), SMALL, rng)
    assert tied["twin_sign_accuracy"] == 0.5 and tied["twin_recall_at_5fpr"] == 0.0
    assert tied["num_twin_pairs"] == 4  # hold and swerve crash both, and make no pair
    family = by_family(trials, truth, SMALL)["head_on"]
    assert family["crash_share"] == pytest.approx(2 / 3, abs=1e-3) and family["twin_sign_accuracy"] == 1.0


def test_trials_without_a_difference_say_why():
    found = twin_scores(trials_with([False] * 6, twins(2)), np.zeros(6), SMALL, np.random.default_rng(0))
    assert found["twin_sign_accuracy"] is None and found["twin_sign_accuracy_reason"]


def test_mass_law_of_what_obeys_it_and_of_what_ignores_mass():
    share = {k: m / (m + 1500.0) for k, m in MASS_KG.items()}
    about = [
        {"trial": i, "twin": "hold", "family": "standing", "partner": k, "closing_mps": v, "mass_share": share[k]}
        for i, (k, v) in enumerate((k, v) for v in (8.0, 20.0) for k in MASS_KG)
    ]
    lawful = np.array([a["mass_share"] * a["closing_mps"] for a in about])
    trials = trials_with([True] * 6, about, lawful)
    rng = np.random.default_rng(0)
    found = mass_law(trials, lawful, SMALL, rng)
    assert found["mass_law_error"] == pytest.approx(0, abs=1e-3)
    assert found["mass_law_error_simulated"] == pytest.approx(0, abs=1e-3)
    assert len(found["mass_law"]) == 4 and {r["partner"] for r in found["mass_law"]} == {"tank", "pedestrian"}
    blind = mass_law(trials, np.array([a["closing_mps"] for a in about]), SMALL, rng)
    each = [abs(0.5 / share["tank"] - 1), abs(0.5 / share["pedestrian"] - 1)]
    assert blind["mass_law_error"] == pytest.approx(np.median(each), rel=1e-2)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    options = {"id": "simworld/Driving-v0", "cameras": ["front"], "size": [16, 16]}
    plans = {name: f"simworld.policies.driving_{name}:plan" for name in ("trials", "unseen")}
    return Simulator("gymnasium:make", options, plans)


@pytest.fixture(scope="module")
def recorded(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OutcomesConfig]:
    """Six episodes of two trials and four of the unseen kind, played for real."""
    config = OutcomesConfig(
        num_resamples=5, trial_episodes=6, unseen_episodes=4, trust_windows=4, workers=1, reference_windows=2,
        reference_trials=1, probe=ProbeConfig(steps=3, batch=8, width=8, hidden=8),
    )  # fmt: skip
    out = tmp_path_factory.mktemp("recorded")
    env = gymnasium.make(**simulator.env_options)
    record(simulator, "trials", out / "trials", config.trial_episodes, env.unwrapped.episode_spec, config, str)
    env.close()
    return out, config


def test_twins_share_their_past_and_part(recorded: tuple[Path, OutcomesConfig]):
    out, config = recorded
    store = EpisodeStore(out / "trials")
    about = [plan(i, config.seed).about for i in range(len(store))]
    trials = trials_of(store, about, config)
    hold, other = trials.pairs()
    assert len(hold) == 4 and (trials.windows.to_event[hold] < config.horizon).all()
    rows = trials.windows.rows + config.context
    assert (trials.cache.actions[rows[hold]] != trials.cache.actions[rows[other]]).any(axis=1).all()
    mixed = [a | {"trial": number} for a, number in zip(about, (0, 1, 0, 1, 0, 1), strict=True)]
    with pytest.raises(ValueError, match="differ before they part"):
        trials_of(store, mixed, config)


def test_report_with_trials(recorded: tuple[Path, OutcomesConfig], simulator: Simulator, tmp_path: Path, strict: Any):
    out, config = recorded
    store = EpisodeStore(out / "trials")
    torch.manual_seed(0)
    transformer = TransformerConfig(width=32, layers=2, heads=2, mlp_ratio=2, window=4)
    small = LatentConfig(
        codec=CodecConfig(channels=4, widths=(8, 8, 8)), dynamics=DynamicsConfig(transformer=transformer, registers=2)
    )
    save_world_model(build_world_model("latent", small, store.spec), tmp_path / "model")
    found = bench_outcomes(
        checkpoint=str(tmp_path / "model"), data=store.path, heldout=store.path, out=out, simulator=simulator,
        reference=str(tmp_path / "model"), windows=12, config=config, report=str,
    )["outcomes"]  # fmt: skip
    assert strict(out / "report.json") == {"outcomes": found}
    for name in ("twin_sign_accuracy", "twin_recall_at_5fpr", "mass_law_error", "mass_law_error_simulated"):
        assert f"{name}_interval" in found
    assert found["baselines"]["ttc_rule"]["twin_sign_accuracy"] == 0.5
    assert {"auroc_1s", "twin_sign_accuracy", "partner_accuracy"} <= set(found["baselines"]["reference"])
    assert found["trials"]["standing"]["episodes"] == 6
