"""What a canvas world model is made of, and what it carries from step to step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from torch import Tensor

from simworld.model.belief import BeliefConfig
from simworld.model.canvas import CanvasConfig, Frames
from simworld.model.lookout import LookoutConfig
from simworld.model.outcomes import HeadsConfig


@dataclass(frozen=True)
class CanvasWorldConfig:
    """`reckoning` and `forecast`: hidden width of what carries the state on, and the others who were spotted, and
    `odometry` channels of what measures the ego's motion in real frames, 0 for none; `minds`: how many networks tell
    what comes of those spotted; `consequences`: whether what actions lead to is carried on beside the belief;
    `sample_steps`: network passes per frame."""

    belief: BeliefConfig = field(default_factory=BeliefConfig)
    lookout: LookoutConfig = field(default_factory=LookoutConfig)
    canvas: CanvasConfig = field(default_factory=CanvasConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    reckoning: int = 128
    forecast: int = 64
    odometry: int = 0
    minds: int = 1
    consequences: bool = False
    sample_steps: int = 1

    def __post_init__(self) -> None:
        for name in ("reckoning", "forecast", "odometry"):
            if getattr(self, name) < 0:
                raise ValueError(f"widths must be at least 0, got {name} {getattr(self, name)}")
        for name in ("minds", "sample_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class CanvasState:
    """last, before and first {camera: uint8 (b, h, w, 3)}: the newest frames, and the newest real one; actors (b, n, 9)
    that were drawn in the newest, NaN where absent, and the boxes seen {camera: (b, n, 4)} in which the first showed
    them; guesses (b, g, 9) of who else is there; belief (b, d) and standardised state (b, s) of the newest, and what
    is held of consequences (b, d), or (b, 0) where a model has no cell for them; crossed (b, 6), how the ego has moved
    across the road since the first (see `Moved`); seed and step int64 (b,)."""

    last: Frames
    before: Frames
    first: Frames
    actors: Tensor
    seen: dict[str, Tensor]
    guesses: Tensor
    belief: Tensor
    state: Tensor
    held: Tensor
    crossed: Tensor
    seed: Tensor
    step: Tensor

    def reseed(self, seed: Tensor) -> CanvasState:
        """The same state with other noise from here on."""
        return replace(self, seed=seed)


class Believed(NamedTuple):
    """What is the case after an encoded action (b, a): who is guessed to be there (b, g, 9), which is `untold` unless a
    model is told of others or does not look out, the belief (b, d), the standardised state (b, s), what is held of
    consequences (b, d), and what is read off them."""

    action: Tensor
    guesses: Tensor
    untold: Tensor | None
    belief: Tensor
    state: Tensor
    held: Tensor
    raw: dict[str, Tensor]


class Drawn(Protocol):
    """Whose newest frame shows `actors` (b, n, 9), whom the first showed in the boxes `seen` {camera: (b, n, 4)}."""

    @property
    def actors(self) -> Tensor: ...

    @property
    def seen(self) -> dict[str, Tensor]: ...
