"""The HTML page of a replay: one file that stands alone, its film inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from simworld.data import files
from simworld.replay.result import Collision, Replay


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
    loader = jinja2.PackageLoader("simworld.replay", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template("replay.html").render(
        title=page.title,
        summary=page.summary,
        facts=page.facts,
        tables=page.tables,
        film=base64.b64encode(page.film).decode(),
        strip=base64.b64encode(page.strip).decode(),
    )
    files.write_bytes(path, text.encode())


def summary(replay: Replay) -> str:
    """One sentence on what happened."""
    if not replay.collisions:
        return f"No collision in {replay.duration_s:.1f} s."
    first = min(replay.collisions, key=lambda c: c.t_s)
    return (
        f"{first.a} and {first.b} collide at {first.t_s:.2f} s, closing in at {first.closing_mps:.1f} m/s; "
        f"delta-v {first.delta_v_a_mps:.1f} and {first.delta_v_b_mps:.1f} m/s."
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


def _row(c: Collision) -> tuple[str, ...]:
    return (
        f"{c.t_s:.2f} s",
        f"{c.a} and {c.b}",
        f"{c.impulse_Ns:.0f} N s",
        f"{c.closing_mps:.1f} m/s",
        f"{c.delta_v_a_mps:.1f} and {c.delta_v_b_mps:.1f} m/s",
        c.side or "–",
    )
