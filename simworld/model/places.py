"""Places: which numbers of a state say where something is, and how fast, for scenes whose cameras stand still.

Where the ego drives, others are told in its frame and it is at the origin. In a room there is no such origin: what may
be touched is told in the frame of the room, and so is whatever moves there by the action, by pairs of states that are
named NAME_x and NAME_y, in m, and NAME_vx and NAME_vy where they are known.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Places(nn.Module):
    """The p places that the states of an env name."""

    numbers: Tensor  # which states they are (p, 4), -1 where one is not known

    def __init__(self, names: tuple[str, ...], units: tuple[str, ...]) -> None:
        super().__init__()
        at = {name: i for i, name in enumerate(names)}
        metres = {name for name, unit in zip(names, units, strict=True) if unit == "m"}
        stems = [n.removesuffix("_x") for n in names if n.endswith("_x") and {n, n[:-1] + "y"} <= metres]
        numbers = [[at.get(f"{stem}_{axis}", -1) for axis in ("x", "y", "vx", "vy")] for stem in stems]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64).view(-1, 4), persistent=False)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def at(self) -> list[int]:
        """Which of the states are one of their numbers."""
        return [int(i) for i in self.numbers.flatten() if i >= 0]

    def of(self, state: Tensor) -> Tensor:
        """Places in m and velocities in m/s (..., p, 4) of states (..., s) in their own units; 0 where unknown."""
        return torch.where(self.numbers >= 0, state[..., self.numbers], 0.0)
