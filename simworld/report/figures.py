"""A page of figures: a table of numbers and pictures under it, in one HTML file that stands alone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from simworld.data import files


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
    loader = jinja2.PackageLoader("simworld.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data"] = lambda data: Markup(base64.b64encode(data).decode())
    text = environment.get_template("figures.html").render(title=title, columns=columns, rows=rows, figures=figures)
    files.write_bytes(path, text.encode())
