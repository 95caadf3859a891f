"""A page of figures: a table of numbers and pictures under it, in one HTML file that stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simworld.data import files
from simworld.report.template import rendered


@dataclass(frozen=True)
class Figure:
    """A picture with what it shows."""

    title: str
    caption: str
    png: bytes


def write_figures(
    path: Path, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], figures: Sequence[Figure]
) -> None:
    """Write the page; every row of the table has as many texts as there are columns."""
    values = {"title": title, "columns": columns, "rows": rows, "figures": figures}
    files.write_bytes(path, rendered("figures.html", values).encode())
