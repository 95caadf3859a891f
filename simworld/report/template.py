"""Pages that refer to nothing outside themselves, rendered from the templates beside this file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from markupsafe import Markup


def rendered(name: str, values: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]] | None = None) -> str:
    """The template called `name`, filled in; texts are escaped, and `data` turns bytes into base64."""
    loader = jinja2.PackageLoader("simworld.report", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"data": _base64, **(filters or {})}
    return environment.get_template(name).render(values)


def _base64(data: bytes) -> Markup:
    return Markup(base64.b64encode(data).decode())
