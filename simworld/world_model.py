"""WorldModel: from a few frames and an action to the next frames and what the action causes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from simworld.episode import EpisodeSpec
from simworld.model.actors import NUM_FIELDS
from simworld.model.outcomes import OutcomeHeads, OutcomePrediction
from simworld.shapes import expect

StateT = TypeVar("StateT")


class Prediction(NamedTuple):
    """One imagined step for b streams: frames {camera: uint8 (b, h, w, 3)} and what the action caused.

    `outcomes` holds reward, p_terminated, hazards, scalars, categories and trust, each (b, ...).
    """

    frames: dict[str, Tensor]
    outcomes: OutcomePrediction

    @property
    def reward(self) -> Tensor:
        return self.outcomes.reward

    @property
    def p_terminated(self) -> Tensor:
        return self.outcomes.p_terminated

    @property
    def trust(self) -> Tensor:
        return self.outcomes.trust


class WorldModel(nn.Module, ABC, Generic[StateT]):
    """A stream of imagination. `start` and `step` are pure: a state is never edited, so keep it to branch."""

    spec: EpisodeSpec
    config: Any
    heads: OutcomeHeads

    @abstractmethod
    def to_dtype(self, dtype: torch.dtype) -> WorldModel[StateT]:
        """Set the precision of inference; what must stay exact stays float32. Returns itself."""

    @abstractmethod
    def start(
        self, frames: dict[str, Tensor], actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> StateT:
        """State after k + 1 frames {camera: uint8 (b, k+1, h, w, 3)} and the k actions (b, k, a) between them.

        seed int64 (b,): all noise of stream i is a function of seed[i] and the step.
        actors float32 (b, k, n, 9): who was there (ACTOR_FIELDS, in the ego frame) in frames 1 to k, if known.
        """

    @abstractmethod
    def step(self, state: StateT, action: Tensor, actors: Tensor | None = None) -> tuple[StateT, Prediction]:
        """The next frames and outcomes for action (b, a) in the env's own units.

        actors float32 (b, n, 9): who shall be where in the coming frame, in its ego frame, the nearest first and NaN
        where absent; streams without any are free. At most `max_actors` count. Raises ValueError where that is 0.
        """

    def aware(self, state: StateT, actors: Tensor) -> StateT:
        """The state of who knows that the actors (b, n, 9) are there, whatever was seen; ValueError where the model
        looks out for nobody."""
        raise ValueError("this model looks out for nobody, and so does not go on from those that are there")

    def foresee(self, state: StateT, actions: Tensor) -> Iterator[OutcomePrediction]:
        """What each of the actions (b, t, a) in turn causes, as `step` tells it. A model that can tell without drawing
        draws nothing, and has no trust to tell (NaN) where that would need the frames."""
        for action in actions.unbind(1):
            state, prediction = self.step(state, action)
            yield prediction.outcomes

    @property
    def max_actors(self) -> int:
        """How many actors the next frame can be conditioned on."""
        return 0

    def check_actors(self, actors: Tensor | None, lead: tuple[int, ...]) -> Tensor | None:
        """The actors (*lead, n, 9) cut to `max_actors`; None where nobody is there. ValueError if they do not fit."""
        if actors is None or not bool(torch.isfinite(actors).any()):
            return None
        if not self.max_actors:
            raise ValueError("this model was trained without actors and can not be conditioned on them")
        if actors.shape[:-2] != lead or actors.shape[-1] != NUM_FIELDS:
            raise ValueError(f"actors must be {(*lead, 'n', NUM_FIELDS)}, got {tuple(actors.shape)}")
        return actors[..., : self.max_actors, :]

    def put(self, state: StateT, lanes: Tensor, fresh: StateT) -> StateT:
        """The state with its streams `lanes` (n,) replaced by the n streams of `fresh`."""
        return put_streams(state, lanes, fresh)

    def check_start(self, frames: dict[str, Tensor], actions: Tensor) -> None:
        """Raise ValueError where frames or actions do not fit the spec."""
        if set(frames) != set(self.spec.cameras):
            raise ValueError(f"cameras {sorted(frames)} do not match the model's {sorted(self.spec.cameras)}")
        k = expect(actions, "b k a", name="actions", a=self.spec.action.size)
        for camera, (h, w) in self.spec.cameras.items():
            expect(frames[camera], "b t h w 3", name=f"frames[{camera!r}]", b=k["b"], t=k["k"] + 1, h=h, w=w)


def lay_out_channels_last(module: nn.Module) -> None:
    """Store the weights of convolutions channels last, the layout in which a CPU is fastest."""
    for p in module.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


def map_streams(state: Any, fn: Any, *others: Any) -> Any:
    """Apply `fn` to every tensor of a state (and to its twins in `others`); the state's type is kept.

    All tensors of a state have the stream as their first axis.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return fn(state, *others)
    if isinstance(state, dict):
        return {k: map_streams(v, fn, *(o[k] for o in others)) for k, v in state.items()}
    if isinstance(state, tuple):
        return tuple(map_streams(v, fn, *parts) for v, *parts in zip(state, *others, strict=True))
    return type(state)(**{k: map_streams(v, fn, *(getattr(o, k) for o in others)) for k, v in vars(state).items()})


def put_streams(state: StateT, lanes: Tensor, fresh: StateT) -> StateT:
    """Streams `lanes` (n,) of a state replaced by the n streams of `fresh`; neither is edited."""
    return map_streams(state, lambda old, new: old.index_copy(0, lanes, new.to(old.dtype)), fresh)


def take_streams(state: StateT, lanes: Tensor) -> StateT:
    """The streams `lanes` (n,) of a state; a stream may be taken more than once."""
    return map_streams(state, lambda x: x.index_select(0, lanes))
