"""Two processes that find each other as torchrun would let them, each running the same script."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PREAMBLE = f"""
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {str(ROOT)!r})
"""


def on_two_ranks(script: str) -> None:
    """Run `script`, with Path and the project at hand, in both; AssertionError with what they said if one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # as torchrun sets them
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + script],
            cwd=ROOT,
            env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=600)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], errors[0] + errors[1]
