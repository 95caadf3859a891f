"""The HTML page of a replay: one file that stands alone, its film inside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simworld.data import files
from simworld.replay.result import Collision, Replay
from simworld.report.template import rendered


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""


@dataclass(frozen=True)
class Page:
    """All that a page says; film is an MP4, strip a PNG."""

    title: str
    summary: str
    facts: Mapping[str, str]
    tables: Sequence[Table] = ()
    film: bytes = b""
    strip: bytes = field(default=b"", repr=False)


def write_page(path: Path, page: Page) -> None:
    """Render and write a page that refers to nothing outside itself."""
    files.write_bytes(path, rendered("replay.html", vars(page)).encode())


def summary(replay: Replay) -> str:
    """One sentence on what happened."""
    if not replay.collisions:
        return f"No collision in {replay.duration_s:.1f} s."
    first = min(replay.collisions, key=lambda c: c.t_s)
    return (
        f"{first.a} and {first.b} collide at {first.t_s:.2f} s, closing in at {_number(first.closing_mps)} m/s; "
        f"delta-v {_number(first.delta_v_a_mps)} and {_number(first.delta_v_b_mps)} m/s."
    )


def facts(replay: Replay) -> dict[str, str]:
    """Label and text pairs for the head of a page."""
    error = "no tracks" if replay.track_error_m is None else f"{replay.track_error_m:.3f} m at most"
    return {
        "world": replay.world,
        "ego": f"{replay.ego or 'none'}, driven by {replay.driver}",
        "duration": f"{replay.duration_s:.1f} s",
        "actors": f"{replay.num_actors}" + (f", {len(replay.absent)} of them absent" if replay.absent else ""),
        "distance from the tracks": error,
    }


def tables(replay: Replay) -> list[Table]:
    """Collisions, and what could not be honoured."""
    found = []
    if replay.collisions:
        header = ("time", "actors", "impulse", "closing speed", "delta-v", "ego hit on")
        found.append(Table("Collisions", header, [_row(c) for c in replay.collisions]))
    if replay.notes:
        rows = [(str(n["element"]), "" if n["line"] is None else str(n["line"]), n["instead"]) for n in replay.notes]
        found.append(Table("What the source asks for and did not get", ("element", "line", "instead"), rows))
    return found


def series_table(said: Mapping[str, Any], every_s: float = 0.5) -> Table:
    """What the world model said, twice a second."""
    rows, due = [], said["from_s"]
    names = ("t_s", "p_collision_now", "p_collision_within_1s", "delta_v_mps", "trust")
    for t_s, now, soon, delta_v, trust in zip(*(said[name] for name in names), strict=True):
        if t_s >= due:
            due += every_s
            rows.append((f"{t_s:.1f} s", f"{now:.3f}", f"{soon:.2f}", f"{delta_v:.1f} m/s", f"{trust:.2f}"))
    header = ("time", "p(collision now)", "p(collision within 1 s)", "delta-v if so", "trust")
    return Table("What the world model expects", header, rows)


def _row(c: Collision) -> tuple[str, ...]:
    return (
        f"{c.t_s:.2f} s",
        f"{c.a} and {c.b}",
        f"{_number(c.impulse_Ns, 0)} N s",
        f"{_number(c.closing_mps)} m/s",
        f"{_number(c.delta_v_a_mps)} and {_number(c.delta_v_b_mps)} m/s",
        c.side or "–",
    )


def _number(value: float, digits: int = 1) -> str:
    """A dash for what is not known, such as the speed of an imagined partner."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
