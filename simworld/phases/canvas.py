"""The phase of the canvas, the longest: films that the model paints on its own pictures, beside recorded ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.futures import frames_ago
from simworld.model.actions import encode_actions
from simworld.model.canvas import Cast, Frames, Known
from simworld.model.noise import NoiseStream
from simworld.model.pixels import soften, to_model
from simworld.model.reader import FRAMES
from simworld.phases.common import Stage, shared_sampler, stream
from simworld.phases.painted import painted

BELIEVED_S = 1.0  # so long a film that is not told draws whom the model believes to be there, and then the true ones
SOFTEST = 0.33  # of the resolution is left to the softest pictures that the reader learns from


@dataclass
class Films:
    """b films under way: the row of each one's newest frame, how many steps it has lasted and how many are left to it,
    its newest two frames and its first {camera: uint8 (b, h, w, 3)}, its belief (b, d), the standardised state (b, s)
    that it holds to be the case and guesses (b, g, 9), the
    actors (b, n, 9) drawn and the boxes in which the first frame showed them {camera: (b, n, 4)}, how the ego has
    crossed the road since (b, 6), and whether it is told of actors and of the true state."""

    row: Tensor
    age: Tensor
    left: Tensor
    last: Frames
    before: Frames
    first: Frames
    belief: Tensor
    state: Tensor
    guesses: Tensor
    actors: Tensor
    seen: dict[str, Tensor]
    crossed: Tensor
    told: Tensor
    true: Tensor

    def tensors(self) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, value in vars(self).items():
            out |= {f"{name}/{c}": x for c, x in value.items()} if isinstance(value, dict) else {name: value}
        return out | {name: out[name].to(torch.uint8) for name in ("told", "true")}  # which every backend can send

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Films:
        values: dict[str, Any] = {}
        for key, x in tensors.items():
            name, _, camera = key.partition("/")
            if camera:
                values.setdefault(name, {})[camera] = x
            else:
                values[name] = x.bool() if name in ("told", "true") else x
        return cls(**values)

    def put(self, places: Tensor, fresh: Films) -> Films:
        """With new films in `places` (n,)."""
        theirs = fresh.tensors()
        return Films.of({name: x.index_copy(0, places, theirs[name]) for name, x in self.tensors().items()})


@dataclass
class CanvasPhase(Stage[CanvasWorldModel]):
    """A batch of films, each of which is carried one frame further by every step, on the frames that it painted before.

    A film begins at recorded frames and lasts up to `config.window` steps, at first a single one: a step learns from
    frames of all ages at the price of one pass, and never from a past that it would not meet in use.
    """

    films: Films | None = None
    name: str = "paint"
    parts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts = ("canvas",) if self.model.reader is None else ("canvas", "reader")
        self.sampler = shared_sampler(self.cache, self.config, 2, self.seed, self.run)
        self.looks = shared_sampler(self.cache, self.config, FRAMES - 1, self.seed + 1, self.run)
        self.ends = torch.from_numpy(self.cache.first_row + self.cache.num_steps)

    def memory(self) -> dict[str, Tensor]:
        """What the next step depends on beside the weights; one row a film."""
        return {} if self.films is None else self.films.tensors()

    def remember(self, memory: dict[str, Tensor]) -> None:
        self.films = Films.of({name: x.to(self.run.device) for name, x in memory.items()}) if memory else None

    def longest(self, progress: float) -> int:
        """How many steps a film that begins now may last: 1 until `unroll_from`, then up to the window."""
        grown = (progress - self.config.unroll_from) / max(self.config.unroll_from, 1e-9)
        return 1 + round((self.config.window - 1) * min(1.0, max(0.0, grown)))

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        noise = stream(self.seed, step, self.sampler, self.run.device)
        films = self._begun(step, progress, noise)
        rows = films.row.cpu().numpy()
        action, state, recorded, target = self._recorded(rows)
        actors = torch.where(films.told[:, None, None], recorded, torch.nan) if recorded is not None else None
        with torch.no_grad():
            encoded = encode_actions(action, self.cache.spec.action)
            guesses = self.model.gone_on(films.guesses, films.state)
            belief = self.model.belief.roll(films.belief, encoded, actors, guesses)
            own = films.state, self.model.reckoned(films.state, encoded, self.model.estimate(belief))
            before, after = (held(films.true, s, o) for s, o in zip(state, own, strict=True))
            moved = self.model.canvas.moved(before, after, films.crossed, *self.model.scale)
            untold = guesses if self.model.draws_guesses else None
            believed = self.model.cast(untold, belief, own[1], films, moved.step)
            cast = None
            if recorded is not None:
                drawn = self._true(films.told, recorded, rows + 1)
                true = self.model.canvas.cast(drawn, films.actors, films.seen, moved.step)
                cast = true if believed is None else self._either(films, true, believed)
        drawn_by = Known(encoded, belief, before, after, moved, films.first, cast)
        losses, frames = painted(self.model, films.last, films.before, target, drawn_by, noise, true_state=state[1])
        self.films = replace(
            films,
            row=films.row + 1,
            age=films.age + 1,
            left=films.left - 1,
            last=frames,
            before=films.last,
            belief=belief,
            state=own[1],
            guesses=guesses,
            crossed=moved.crossed,
        )
        if cast is not None:
            self.films = replace(self.films, actors=cast.now, seen=cast.seen)
        return losses if self.model.reader is None else self._reading(step, losses)

    def one_step(self, step: int) -> dict[str, Tensor]:
        """Losses of the frames right after recorded ones, whatever films are under way."""
        kept, self.films = self.films, None
        losses = self.loss(step, 0.0)
        self.films = kept
        return losses

    def _begun(self, step: int, progress: float, noise: NoiseStream) -> Films:
        """The films, those that have ended replaced by new ones."""
        config, rows = self.model.config.canvas, self.sampler.rows(step)
        life, told, true = noise.uniform(1)[:, 0], noise.uniform(1)[:, 0], noise.uniform(1)[:, 0]
        if self.films is None:
            places = torch.arange(len(rows), device=self.run.device)
        else:
            row = self.films.row.cpu()
            end = self.ends[torch.searchsorted(self.ends, row)]
            places = torch.nonzero((self.films.left <= 0) | (row >= end).to(self.run.device))[:, 0]
            if not len(places):
                return self.films
        chosen = rows[places.cpu().numpy()] + 1  # the sampler leaves two steps: one frame lies before
        told, last = told[places] >= config.actor_drop, self.frames_at(chosen)
        belief, true = self._seen(chosen), true[places] < config.true_share
        own = self.model.estimate(belief).detach()
        guesses = torch.where(told[:, None, None], torch.nan, self._spotted(chosen, own))
        here, believed = self.model.canvas.padded(self._actors(chosen)), self.model.here(guesses, belief, own)
        untold = torch.full_like(here, torch.nan) if believed is None else self.model.canvas.padded(believed)
        here = torch.where(told[:, None, None], here, untold)
        actors, seen = self.model.canvas.begun(here, len(chosen), self.run.device)
        state = held(true, self._state(chosen), own)
        fresh = Films(
            row=torch.from_numpy(chosen).to(self.run.device),
            age=torch.zeros(len(chosen), dtype=torch.int64, device=self.run.device),
            left=(1 + life[places] * self.longest(progress)).floor().long(),
            last=last,
            before=self.frames_at(chosen - 1),
            first=last,
            belief=belief,
            state=own,
            guesses=guesses,
            actors=actors,
            seen=seen,
            crossed=self.model.canvas.uncrossed(state, *self.model.scale),
            told=told,
            true=true,
        )
        if self.films is None:
            return fresh
        return self.films.put(places, fresh)

    def _recorded(self, rows: NDArray[np.int64]) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor | None, Frames]:
        """Action after each row, standardised states before and after it, actors after it, and the next frames."""
        action = torch.from_numpy(self.cache.actions[rows]).to(self.run.device)
        actors = self._actors(rows + 1)
        state = self._state(rows), self._state(rows + 1)
        return action, state, actors if actors.shape[1] else None, self.frames_at(rows + 1)

    def _actors(self, rows: NDArray[np.int64]) -> Tensor:
        """Who is there at the rows, (b, n, 9), as many as the model can be told of."""
        return torch.from_numpy(self.cache.actors[rows]).to(self.run.device)[:, : self.model.max_actors]

    def _true(self, told: Tensor, actors: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Of the actors (b, n, 9) at the rows those that are drawn, (b, n, 9): all of them in films that are `told`
        (b,), and else those that the model tells itself of."""
        padded, told = self.model.canvas.padded, told[:, None, None]
        if self.model.ahead is None:
            return torch.where(told, padded(actors), torch.nan)
        who = self.model.ahead.who(actors, torch.from_numpy(self.cache.state[rows]).to(self.run.device))
        return torch.where(told, padded(actors), padded(who))

    def _either(self, films: Films, true: Cast, believed: Cast) -> Cast:
        """The true cast in films that are told and in old ones, whose belief would teach the canvas to let everybody
        fade, and the believed one in young ones, which shows the canvas how far to trust it."""
        padded, young = self.model.canvas.padded, ~films.told & (films.age * self.cache.spec.dt_s < BELIEVED_S)

        def either(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(young[:, None, None], padded(b), a)

        seen = {c: either(boxes, believed.seen[c]) for c, boxes in true.seen.items()}
        return Cast(either(true.now, believed.now), either(true.before, believed.before), seen)

    def _state(self, rows: NDArray[np.int64]) -> Tensor:
        """The standardised state (..., s) at the rows (...)."""
        state = torch.from_numpy(self.cache.state[rows]).to(self.run.device)
        return self.model.heads.standard_state(state).clamp(-4, 4) if self.model.spec.state_names else state

    @torch.no_grad()
    def _seen(self, rows: NDArray[np.int64]) -> Tensor:
        """What the belief sees at the rows."""
        at = frames_ago(self.cache, rows, self.model.belief.config.ago)
        return self.model.belief.see(self.frames_at(at)).float()

    def _spotted(self, rows: NDArray[np.int64], state: Tensor) -> Tensor:
        """Who is spotted at the rows, where the ego's standardised state is believed to be (b, s)."""
        lookout = self.model.lookout
        if lookout is None:
            return self.model.nobody(len(rows), state.device)
        return lookout.spot(self.frames_at(frames_ago(self.cache, rows, lookout.sees)), self.model.ego(state))

    def _reading(self, step: int, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, and beside them the reader's own, of consecutive real frames drawn anew."""
        assert self.model.reader is not None
        at = self.looks.rows(step)[:, None] + np.arange(FRAMES)
        keep = float(np.random.default_rng([self.seed, step]).uniform(SOFTEST, 1.0))
        real = self.model.cells({c: softened(to_model(f), keep) for c, f in self.frames_at(at).items()})
        noise = stream(self.seed + 1, step, self.looks, self.run.device)
        read = self.model.reader.learned(real, self._state(at), noise)
        return losses | {"loss": losses["loss"] + read, "read": read}


def held(true: Tensor, recorded: Tensor, own: Tensor) -> Tensor:
    """The states (b, s) that films learn by: the recorded ones of those that are `true` (b,), as far as they are known,
    and else the model's own."""
    return torch.where(true[:, None] & recorded.isfinite(), recorded, own)


def softened(pictures: Tensor, keep: float) -> Tensor:
    """Pictures (b, t, 3, h, w), the first half of the batch at this share of its resolution: what is read off soft
    pictures is what anybody would see, and no pattern that pleases the reader alone."""
    num = len(pictures) // 2
    if not num:
        return pictures
    return torch.cat([soften(pictures[:num].flatten(0, 1), keep).unflatten(0, (num, -1)), pictures[num:]])
