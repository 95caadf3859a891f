"""Plots of an evaluation, as PNG bytes: imagined against real rates, and how fast the picture drifts."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from simworld.metrics.compare import AlignedPsnr, Comparison, PolicyComparison

REAL, IMAGINED, MUTED = "#1f4e79", "#c8590a", "#8a939c"


def scatter(comparison: Comparison, names: Sequence[str]) -> bytes:
    """Imagined over real, one panel per outcome in `names`, points numbered as in the report's table."""
    figure = Figure(figsize=(4.3 * len(names), 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _rates(axes, comparison.policies, name)
        statistic = comparison.agreement[name].pearson
        r = "no r" if statistic.value is None else f"r = {statistic.value:.2f}"
        axes.set_title(f"{name.replace('_', ' ')} rate ({r})", fontsize=11)
    return _png(figure)


def psnr_curve(psnr: AlignedPsnr, dt_s: float) -> bytes:
    """PSNR of the imagined film over the time since its start, while both worlds play the same actions."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    time_s = dt_s * np.arange(1, len(psnr.psnr_db) + 1)
    axes.plot(time_s, psnr.psnr_db, color=IMAGINED, linewidth=1.8)
    axes.set_xlabel("time since the start (s)")
    axes.set_ylabel("PSNR (dB)")
    _plain_frame(axes)
    return _png(figure)


def _rates(axes: Axes, policies: Sequence[PolicyComparison], name: str) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for number, policy in enumerate(policies, start=1):
        pair = policy.rates[name]
        real, imagined = pair.real, pair.imagined
        if None in (real.value, imagined.value):
            continue
        # None is gone here, which the type of an array of floats says.
        (x, x_low, x_high), (y, y_low, y_high) = (
            np.array([r.value, r.low, r.high], np.float64) for r in (real, imagined)
        )
        axes.plot([x_low, x_high], [y, y], color=REAL, alpha=0.35, linewidth=1.2, zorder=2)
        axes.plot([x, x], [y_low, y_high], color=IMAGINED, alpha=0.35, linewidth=1.2, zorder=2)
        axes.plot([x], [y], "o", color="#26323d", markersize=5, zorder=3)
        axes.annotate(str(number), (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8, color="#26323d")
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal", xlabel="real", ylabel="imagined")
    _plain_frame(axes)


def _plain_frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8ebee", linewidth=0.8)
    axes.set_axisbelow(True)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)  # draws without a display, and leaves pyplot's global state alone
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
