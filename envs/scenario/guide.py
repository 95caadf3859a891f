"""Guide: what tells a world where the actors of a scenario are to be, as long as nothing has hit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

HOLD_S = 0.01  # the time from one `advance` to the next


class Whereabouts(NamedTuple):
    """Where the world has put an actor that does not follow its guide."""

    pose: tuple[float, float, float]
    speed_mps: float


class Guide(Protocol):
    """Moves in steps of HOLD_S; rows are the scenario's actors in their order, NaN while they are not there."""

    @property
    def now(self) -> NDArray[np.float64]:
        """(n, 4) x_m, y_m, heading_rad, speed_mps at the present time, in the scenario's frame."""
        ...

    def advance(self, elsewhere: Mapping[str, Whereabouts]) -> None:
        """Go on by HOLD_S; `elsewhere` names the actors, by id, that the world moves instead."""
        ...

    def snapshot(self) -> Any:
        """The present moment, independent of later steps."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Go back to a snapshot of this or an equal guide."""
        ...
