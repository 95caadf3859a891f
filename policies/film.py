"""The last frames of some cameras, as a policy that sees nothing else remembers them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simworld.policy import Observation


class Film:
    """The last `length` frames (h, w) of each of `cameras`, as `name` sees them; what came before the first frame is
    taken to look like it."""

    def __init__(self, cameras: dict[str, tuple[int, int]], length: int, name: str) -> None:
        self.cameras, self.length, self.name = cameras, length, name
        self._past: dict[str, NDArray[np.uint8]] = {}

    def clear(self) -> None:
        """Forget all frames."""
        self._past = {}

    def add(self, observation: Observation) -> dict[str, NDArray[np.uint8]]:
        """The frames up to this observation, {camera: (b, length, h, w, 3)}; ValueError where it shows others."""
        for camera, size in self.cameras.items():
            if camera not in observation:
                raise ValueError(f"{self.name} sees by the camera {camera!r}; the env offers {sorted(observation)}")
            newest = observation[camera][:, None]
            if newest.shape[2:4] != size:
                raise ValueError(f"{self.name} sees by frames of {size}, the env gives {newest.shape[2:4]}")
            past = self._past[camera][:, 1:] if camera in self._past else np.repeat(newest, self.length - 1, axis=1)
            self._past[camera] = np.concatenate([past, newest], axis=1)
        return self._past
