"""Progress: long work says now and then how far it is, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
EVERY_S = 15.0


def telling(parts: Sequence[T], doing: str, report: Callable[[str], None]) -> Iterator[T]:
    """The parts in turn, each of which takes about as long as the others."""
    started_s = told_s = time.monotonic()
    for i, part in enumerate(parts):
        now_s = time.monotonic()
        if i and now_s - told_s >= EVERY_S:
            told_s = now_s
            left_s = (now_s - started_s) / i * (len(parts) - i)
            report(f"{doing}: {100 * i / len(parts):.0f} %, {left_s / 60:.1f} min left")
        yield part
