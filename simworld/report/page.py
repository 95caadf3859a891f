"""The HTML report of an evaluation: one file that stands alone, pictures and films inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from simworld.data import files
from simworld.metrics.compare import SUCCESS, Comparison
from simworld.metrics.statistics import Estimate, Interval, RankStatistic, Rate
from simworld.report.plots import psnr_curve, scatter
from simworld.report.template import rendered

MAX_PANELS = 3  # scatter plots side by side
PSNR_MARKS_S = (0.1, 1.0, 3.0, 5.0)


@dataclass(frozen=True)
class FilmPair:
    """What the report shows of one start of one policy: a strip (PNG) and the same as a film (MP4)."""

    policy: str
    caption: str
    strip_png: bytes
    film_mp4: bytes


@dataclass(frozen=True)
class Page:
    """All that the report says; `facts` are label and text pairs for its head."""

    title: str
    facts: Mapping[str, str]
    comparison: Comparison
    limits: Sequence[str]
    films: Sequence[FilmPair]
    dt_s: float


def write_html(path: Path, page: Page) -> None:
    """Render and write the report."""
    files.write_bytes(path, render(page).encode())


def render(page: Page) -> str:
    """The report as one HTML text that refers to nothing outside itself."""
    filters: dict[str, Callable[..., str]] = {
        "percent": percent,
        "interval": interval,
        "signed_points": signed_points,
        "number": number,
    }
    comparison = page.comparison
    shown = informative(comparison)
    values = {
        "page": page,
        "comparison": comparison,
        "shown": shown,
        "scatter_png": scatter(comparison, shown[:MAX_PANELS]),
        "psnr_png": psnr_curve(comparison.psnr, page.dt_s) if len(comparison.psnr.psnr_db) > 1 else None,
        "psnr_marks": _psnr_marks(comparison, page.dt_s),
        "summary": summary(comparison),
        "bar": rate_bar,
    }
    return rendered("report.html", values, filters)


def informative(comparison: Comparison) -> list[str]:
    """Success and every event that happened to some policy in some world."""
    seen = [
        name
        for name in comparison.policies[0].rates
        if any(rate.num_events for p in comparison.policies for rate in (p.rates[name].real, p.rates[name].imagined))
    ]
    return [SUCCESS, *(name for name in seen if name != SUCCESS)]


def summary(comparison: Comparison) -> str:
    """One sentence: what the imagined rates are worth for telling policies apart."""
    found = comparison.agreement[SUCCESS]
    if found.pearson.value is None:
        return f"Success can not be correlated: {found.pearson.reason}."
    text = f"Imagined success follows real success with Pearson r = {found.pearson.value:.2f}"
    if found.pearson.bootstrap is not None:
        text += f" (95 % interval {interval(found.pearson.bootstrap)})"
    text += f", Spearman {number(found.spearman)} and MMRV {number(found.mmrv)}"
    bias = found.bias.value
    if bias is None:
        return text + "."
    side = "kinder" if bias > 0 else "harsher"
    return f"{text}; on average imagination is {side} than reality by {abs(100 * bias):.0f} points."


def percent(rate: Rate) -> str:
    """E.g. "74 % (64 to 82)"."""
    if rate.value is None or rate.low is None or rate.high is None:
        return "no runs"
    return f"{100 * rate.value:.0f} % ({100 * rate.low:.0f} to {100 * rate.high:.0f})"


def interval(value: Interval | Estimate | None) -> str:
    """E.g. "0.61 to 0.98"."""
    if value is None or value.low is None or value.high is None:
        return "–"
    return f"{value.low:.2f} to {value.high:.2f}"


def signed_points(bias: Estimate) -> str:
    """A difference of rates in percentage points, e.g. "+4 (-1 to +9)"."""
    if bias.value is None:
        return "–"
    text = f"{100 * bias.value:+.0f}"
    if bias.low is None or bias.high is None:
        return text
    return f"{text} ({100 * bias.low:+.0f} to {100 * bias.high:+.0f})"


def number(value: RankStatistic | Estimate) -> str:
    """Two decimals, or a dash."""
    return "–" if value.value is None else f"{value.value:.2f}"


def rate_bar(real: Rate, imagined: Rate) -> Markup:
    """Both rates with their intervals on one axis from 0 to 1, as an inline SVG."""
    parts = ['<line x1="4" y1="12" x2="124" y2="12" class="axis"/>']
    for rate, y, kind in ((real, 8, "real"), (imagined, 16, "imagined")):
        if rate.value is None or rate.low is None or rate.high is None:
            continue
        low, mid, high = (4 + 120 * v for v in (rate.low, rate.value, rate.high))
        parts.append(f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" class="{kind}"/>')
        parts.append(f'<circle cx="{mid:.1f}" cy="{y}" r="3.4" class="{kind}"/>')
    svg = f'<svg width="128" height="24" viewBox="0 0 128 24" role="img">{"".join(parts)}</svg>'
    return Markup(svg)  # built of numbers alone


def _psnr_marks(comparison: Comparison, dt_s: float) -> list[tuple[str, str, int]]:
    """(time, dB, films) at a few times after the start."""
    psnr = comparison.psnr
    steps = [max(1, round(t / dt_s)) for t in PSNR_MARKS_S]
    return [
        (f"{k * dt_s:.1f} s", f"{psnr.psnr_db[k - 1]:.1f} dB", psnr.num_pairs[k - 1])
        for k in sorted(set(steps))
        if k <= len(psnr.psnr_db)
    ]
