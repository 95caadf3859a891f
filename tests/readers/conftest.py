"""What the reader tests share: real files that others wrote, where they are at hand, and our own examples."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: no real files to read")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The example scenarios of the package."""
    return ROOT / "conf/scenario"
