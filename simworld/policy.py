"""Policy: chooses actions from what both worlds offer, camera frames and declared outputs."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Observation = dict[str, NDArray[np.uint8]]  # {camera: (b, h, w, 3)}


class Policy(Protocol):
    """A batch of b independent drivers that act in lockstep.

    The same object plays in real and imagined envs; it sees frames and `info`, never the simulator.
    Scripted experts that need ground truth read it from `info` (key ``"actors"``, ``"state"``) and
    say so with ``needs_state = True``; they collect data but can not be run in imagination.
    """

    name: str
    needs_state: bool

    def reset(self, seeds: NDArray[np.int64]) -> None:
        """Forget the past; start b = len(seeds) episodes, all chance drawn from the seeds."""
        ...

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        """Return actions (b, a) in the env's own units (discrete: the index, a = 1)."""
        ...
