"""What world models with a belief share: they roll it on, read outcomes off it, and show what is believed."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from simworld.model.actors import tell_some
from simworld.model.ahead import Ahead
from simworld.model.belief import Belief
from simworld.model.lookout import Lookout
from simworld.model.noise import NoiseStream
from simworld.model.overview import Overview
from simworld.world_model import Prediction, WorldModel

StateT = TypeVar("StateT")


class Watched(NamedTuple, Generic[StateT]):
    """The new state, the next frames {camera: uint8 (b, h, w, 3)}, the features (b, d) that the heads read, and what
    they read off them, where that had to be known before."""

    state: StateT
    frames: dict[str, Tensor]
    features: Tensor
    raw: dict[str, Tensor] | None = None


class BelievingWorldModel(WorldModel[StateT]):
    """A WorldModel whose outcome heads read a belief, and beside it what the network noted that drew the frame."""

    belief: Belief
    ahead: Ahead | None  # reads off the belief who is ahead, in models that draw them
    lookout: Lookout | Overview | None  # spots others in real frames, in models that guess where they go
    actor_drop: float  # the share of training films that are told of no actors

    @staticmethod
    def check_sides(cameras: dict[str, tuple[int, int]], side: int) -> None:
        """ValueError unless all cameras (h, w) are whole numbers of cells of `side` pixels high and wide."""
        for camera, (h, w) in cameras.items():
            if h % side or w % side:
                raise ValueError(f"camera {camera!r} is {h} x {w}; both sides must be multiples of {side} pixels")

    @property
    def outcome_parts(self) -> tuple[str, ...]:
        """The parts that learn what actions cause, not how it looks."""
        return ("belief", "heads.hidden", "heads.out", "heads.factors", *(["ahead"] if self.ahead is not None else []))

    @abstractmethod
    def watch(self, state: StateT, action: Tensor, actors: Tensor | None = None) -> Watched[StateT]:
        """`step` without what the heads make of it."""

    @torch.no_grad()
    def step(self, state: StateT, action: Tensor, actors: Tensor | None = None) -> tuple[StateT, Prediction]:
        seen = self.watch(state, action, actors)
        return seen.state, Prediction(seen.frames, self.heads(seen.features, seen.raw))

    def read_off(self, films: dict[str, Tensor]) -> Tensor | None:
        """The standardised state (b, s) that the newest of a few frames {camera: uint8 (b, t, h, w, 3)} shows; None
        where nothing reads frames."""
        return None

    def some_actors(self, actors: Tensor | None, num: int, noise: NoiseStream) -> tuple[Tensor | None, Tensor]:
        """Recorded actors (b, t, n, 9) as training tells them, and which of `num` films are told: a share of them."""
        if actors is None or not actors.shape[2] or not self.max_actors:
            return None, torch.zeros(num, dtype=torch.bool, device=noise.seed.device)
        return tell_some(actors[:, :, : self.max_actors], self.actor_drop, noise)
