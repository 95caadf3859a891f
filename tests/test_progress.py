"""What long work says of itself."""

from __future__ import annotations

import pytest

from simworld import progress
from simworld.progress import telling


def test_it_says_how_far_it_is_and_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "monotonic", iter([0.0, 0.0, 30.0, 40.0, 60.0]).__next__)
    told: list[str] = []
    assert list(telling("abcd", "reading", told.append)) == ["a", "b", "c", "d"]
    assert told == ["reading: 25 %, 1.5 min left", "reading: 75 %, 0.3 min left"]


def test_short_work_says_nothing() -> None:
    told: list[str] = []
    assert list(telling(range(3), "reading", told.append)) == [0, 1, 2] and not told
