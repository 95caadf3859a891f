"""What the replay tests share: small scenarios, and a model that knows the truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

# A module beside this file, which pytest does not put on the path.
_spec = importlib.util.spec_from_file_location("replay_fakes", Path(__file__).with_name("replay_fakes.py"))
assert _spec is not None and _spec.loader is not None
sys.modules["replay_fakes"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules["replay_fakes"])
