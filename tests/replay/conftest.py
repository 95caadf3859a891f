"""What the replay tests share: small scenarios, real files where they are at hand, and a model that knows the truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A module beside this file, which pytest does not put on the path.
_spec = importlib.util.spec_from_file_location("replay_fakes", Path(__file__).with_name("replay_fakes.py"))
assert _spec is not None and _spec.loader is not None
sys.modules["replay_fakes"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["replay_fakes"])


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real files; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: no real files to replay")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The example scenarios of the package."""
    return ROOT / "conf/scenario"
