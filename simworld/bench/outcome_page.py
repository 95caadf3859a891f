"""The page of bench outcomes: every figure beside its baselines, diagrams, and strips of the worst mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from simworld.bench import plots
from simworld.bench.foresight import OutcomesConfig, how_often, timing_errors_s
from simworld.bench.questions import Answers, Questions, true_values
from simworld.report.figures import Figure, write_figures

FIGURES = (
    "auroc_1s", "auroc_3s", "recall_at_5fpr_1s", "ttc_error_s", "ece", "delta_v_relative_error",
    "delta_v_rank_correlation", "partner_accuracy", "side_accuracy", "mass_law_error", "twin_sign_accuracy",
    "twin_recall_at_5fpr", "trust_auroc",
)  # fmt: skip
CAPTIONS = {
    "reliability": "Observed over predicted frequency, in bins of equal count, of windows weighted as they occur.",
    "precision_recall": "Precision over recall; the dashed line is the share of windows with the event.",
    "timing": "When the event is expected, less when it came, of windows with the event inside 2 s.",
    "mass_law": "Delta-v at equal closing speed by the partner's class, over that against a car.",
    "mistakes_false_alarms": "Nothing happened, and P was highest. Real above imagined.",
    "mistakes_misses": "It happened, and P was lowest. Real above imagined.",
    "mistakes_severity": "How hard it would be was told most wrongly. Real above imagined.",
}
OF_EVENTS = ("_relative_error", "_rank_correlation", "_accuracy")  # how figures of what an event brings are named


def draw(questions: Questions, answers: Answers, found: dict[str, Any], config: OutcomesConfig, out: Path) -> None:
    """Write the diagrams as PNG files into `out`."""
    roll = answers.drawn
    labels = questions.drawn.to_event < config.horizon
    shown = {"imagined": roll.p_within(config.horizon)[:, -1], "first step": roll.p_first[:, -1]}
    weight = how_often(labels, questions.base_rate)
    plots.reliability_diagram(labels, shown, weight, out / "reliability.png")
    plots.precision_recall(labels, shown, out / "precision_recall.png")
    dt_s = questions.cache.spec.dt_s
    _, late_s = timing_errors_s(questions.drawn, roll.p_now, dt_s, config)
    plots.timing_histogram(late_s, out / "timing.png", dt_s=dt_s)
    for name, value in answers.impacts.scalars.items() if answers.impacts is not None else ():
        truth = true_values(questions, name, config)
        known = np.isfinite(truth)
        path = out / f"severity_{name}.png"
        plots.severity_scatter(truth[known], value[known], path, label=name.replace("_", " "))
    if found.get("mass_law"):
        plots.mass_law_lines(found["mass_law"], out / "mass_law.png")


def write_page(found: dict[str, Any], out: Path) -> None:
    """Write ``out/outcomes.html`` from the report's content and the pictures that lie in `out`."""
    beside = {"told who is there": found["told"], "drawn actions": found["regardless"]}
    baselines = {name: of for name, of in beside.items() if of} | found["baselines"]
    columns = ["figure", "simworld", *(name.replace("_", " ") for name in baselines)]
    names = [name for name in FIGURES if name in found]
    names += [name for name in found if name.endswith(OF_EVENTS) and name not in names]
    rows = [[name, *(_cell(of, name) for of in (found, *baselines.values()))] for name in names]
    captions = CAPTIONS | {
        path.stem: "How hard it was, as told 1 s before, over the truth." for path in sorted(out.glob("severity_*.png"))
    }
    figures = [
        Figure(name.replace("_", " ").capitalize(), caption, (out / f"{name}.png").read_bytes())
        for name, caption in captions.items()
        if (out / f"{name}.png").exists()
    ]
    write_figures(out / "outcomes.html", "Outcomes", columns, rows, figures)


def _cell(found: dict[str, Any], name: str) -> str:
    """E.g. "0.782 (0.708 to 0.850)"."""
    value, interval = found.get(name), found.get(f"{name}_interval")
    if value is None:
        return "–"
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"
