"""Plots of the benches, written as PNG without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from simworld.data.files import write_bytes
from simworld.metrics.calibration import reliability

COLORS = ("#c8590a", "#1f4e79", "#8a939c", "#4b7f52", "#7a4b8a")
GRID = "#e8ebee"


def speed_bars(speed: Mapping[str, Any], path: Path) -> None:
    """Frames/s by batch of the world model and the reference on a log scale, and the simulator as a line."""
    fps = speed["frames_per_s"]
    batches = list(fps["simworld"])
    figure, axes = _figure(6.4, 3.6)
    for i, kind in enumerate(("simworld", "reference")):
        place = np.arange(len(batches)) + 0.38 * (i - 0.5)
        bars = axes.bar(place, [fps[kind][b] for b in batches], 0.36, color=COLORS[i], label=kind)
        axes.bar_label(bars, fmt="%.3g", fontsize=9)
    if fps.get("simulator"):
        axes.axhline(fps["simulator"], color=COLORS[2], linewidth=1.4, linestyle=(0, (4, 3)))
        name = f"simulator on {speed['settings']['simulator_workers']} cores, {fps['simulator']:.3g}"
        axes.plot([], [], color=COLORS[2], linestyle=(0, (4, 3)), label=name)
    axes.set_yscale("log")
    axes.margins(y=0.15)
    axes.set_xticks(range(len(batches)), [f"{b} stream{'s' if b != '1' else ''}" for b in batches])
    axes.set_ylabel("frames per second")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9)
    _write(figure, path)


def horizon_lines(table: Mapping[str, Mapping[str, float]], path: Path, *, label: str, dt_s: float) -> None:
    """A quantity over the time ahead, one line per model: {model: {horizon in frames: value}}."""
    figure, axes = _figure(6.4, 3.2)
    for i, (name, values) in enumerate(table.items()):
        at = sorted(values, key=int)
        time_s, value = [int(h) * dt_s for h in at], [values[h] for h in at]
        axes.plot(time_s, value, "o-", markersize=4, color=COLORS[i % len(COLORS)], label=name.replace("_", " "))
    axes.set_xlabel("time ahead (s)")
    axes.set_ylabel(label)
    axes.legend(frameon=False, fontsize=9)
    _write(figure, path)


def scaling_curve(curve: Mapping[str, Any], path: Path) -> None:
    """Error on held-out films over training operations, one line per size, and the fitted power law."""
    figure, axes = _figure(6.4, 3.6)
    points = curve["points"]
    for i, size in enumerate(dict.fromkeys(p["size"] for p in points)):
        own = [p for p in points if p["size"] == size]
        x, y = [p["train_flop"] for p in own], [p["heldout_error"] for p in own]
        label = f"{own[0]['parameters'] / 1e6:.2g} M parameters"
        axes.plot(x, y, "o-", markersize=4, color=COLORS[i % len(COLORS)], label=label)
    if law := curve["law"]:
        flop = np.geomspace(*(f(p["train_flop"] for p in points) for f in (min, max)))
        label = f"{law['factor']:.3g} x FLOP^-{law['exponent']:.3f}"
        axes.plot(flop, law["factor"] * flop ** -law["exponent"], color=COLORS[2], linestyle=(0, (4, 3)), label=label)
    axes.set(xscale="log", yscale="log", xlabel="training operations (FLOP)", ylabel="held-out error")
    axes.legend(frameon=False, fontsize=9)
    _write(figure, path)


def picture_of_table(columns: Sequence[str], rows: Sequence[Sequence[object]], path: Path) -> None:
    """A table of ready-made texts or numbers as a picture."""
    figure = Figure(figsize=(0.4 + 1.25 * len(columns), 0.35 * (len(rows) + 1.5)), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    texts = [[f"{v:.4g}" if isinstance(v, float) else "-" if v is None else str(v) for v in row] for row in rows]
    table = axes.table(texts, colLabels=list(columns), loc="center", cellLoc="right", edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.3)
    _write(figure, path)


def reliability_diagram(labels: ArrayLike, p_by_name: Mapping[str, ArrayLike], weight: ArrayLike, path: Path) -> None:
    """Observed over predicted frequency in bins of equal count, every window with its weight."""
    figure, axes = _figure(4.4, 4.2)
    axes.plot([0, 1], [0, 1], color=COLORS[2], linewidth=1, linestyle=(0, (4, 3)))
    for i, (name, p) in enumerate(p_by_name.items()):
        points = reliability(labels, p, weight=weight)
        axes.plot(points.p_mean, points.frequency, "o-", markersize=4, color=COLORS[i % len(COLORS)], label=name)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel="predicted", ylabel="observed")
    axes.legend(frameon=False, fontsize=9)
    _write(figure, path)


def precision_recall(labels: ArrayLike, scores_by_name: Mapping[str, ArrayLike], path: Path) -> None:
    """Precision over recall of each score."""
    figure, axes = _figure(4.8, 4.0)
    y = np.asarray(labels, bool)
    for i, (name, scores) in enumerate(scores_by_name.items()):
        s = np.asarray(scores, np.float64)
        order = np.argsort(-s, kind="stable")
        last = np.flatnonzero(np.r_[np.diff(s[order]) != 0, True])  # equal scores fire together
        hits = np.cumsum(y[order])[last]
        recall, precision = hits / max(1, int(y.sum())), hits / (last + 1)
        axes.step(np.r_[0, recall], np.r_[precision[0], precision], where="pre", color=COLORS[i], label=name)
    axes.axhline(y.mean(), color=COLORS[2], linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlim=(-0.02, 1.02), ylim=(0, 1.03), xlabel="recall", ylabel="precision")
    axes.legend(frameon=False, fontsize=9)
    _write(figure, path)


def timing_histogram(errors_s: ArrayLike, path: Path, *, dt_s: float) -> None:
    """How much too late (right) or too early (left) an event inside the next two seconds is expected."""
    figure, axes = _figure(4.8, 3.4)
    values = np.asarray(errors_s, np.float64)
    reach = max(float(np.abs(values).max(initial=0.0)), 1.0) + dt_s
    axes.hist(values, bins=np.arange(-reach, reach + 2 * dt_s, 2 * dt_s).tolist(), color=COLORS[0])
    axes.axvline(0, color=COLORS[2], linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel="expected minus true time (s)", ylabel="windows")
    _write(figure, path)


def mass_law_lines(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Delta-v against each class over that against a car: the law, the simulator's and the model's, by mass."""
    figure, axes = _figure(5.2, 3.8)
    classes = sorted({(row["law"], row["partner"]) for row in rows})
    for i, (name, key) in enumerate((("imagined", "predicted"), ("simulated", "simulated"))):
        place = [[c for _, c in classes].index(row["partner"]) + 0.16 * (i - 0.5) for row in rows]
        axes.plot(place, [row[key] for row in rows], "o", markersize=5, color=COLORS[i], alpha=0.7, label=name)
    for i, (law, _) in enumerate(classes):
        axes.plot([i - 0.35, i + 0.35], [law, law], color=COLORS[2], label="mass law" if i == 0 else None)
    axes.set_xticks(range(len(classes)), [name for _, name in classes])
    axes.set(ylabel="delta-v over that against a car", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9)
    _write(figure, path)


def severity_scatter(truth: ArrayLike, predicted: ArrayLike, path: Path, *, label: str) -> None:
    """Predicted over true severity of real crashes."""
    figure, axes = _figure(4.4, 4.2)
    x, y = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    top = float(max(x.max(initial=0), y.max(initial=0), 1e-6)) * 1.05
    axes.plot([0, top], [0, top], color=COLORS[2], linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(x, y, "o", markersize=4, color=COLORS[0], alpha=0.7)
    axes.set(xlim=(0, top), ylim=(min(0.0, float(y.min(initial=0))), top), xlabel=f"true {label}")
    axes.set_ylabel(f"predicted {label}")
    _write(figure, path)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _write(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)  # leaves pyplot's global state alone
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
