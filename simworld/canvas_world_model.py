"""The world model that ships: a belief of what is the case, and a canvas on which its pictures are carried on."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.believing import Watched
from simworld.canvas_beliefs import CanvasBeliefs
from simworld.canvas_state import CanvasState, Drawn
from simworld.model.actions import encode_actions
from simworld.model.ahead import LANES
from simworld.model.canvas import Cast, Frames, Known, Pictures
from simworld.model.carrying import Motion
from simworld.model.noise import NoiseStream
from simworld.model.outcomes import shown_at
from simworld.model.pixels import to_model, to_uint8
from simworld.model.reader import FRAMES
from simworld.world_model import lay_out_channels_last

AGE_S = 3.0  # for so long it matters how old a film is


class CanvasWorldModel(CanvasBeliefs):
    """A belief and its outcome heads, and a canvas that shows what is believed."""

    def to_dtype(self, dtype: torch.dtype) -> CanvasWorldModel:
        self.canvas.to_dtype(dtype)
        lay_out_channels_last(self.canvas.painter)
        return self

    @torch.no_grad()
    def start(self, frames: Frames, actions: Tensor, *, seed: Tensor, actors: Tensor | None = None) -> CanvasState:
        self.check_start(frames, actions)
        k = actions.shape[1]
        told = self.check_actors(actors, (len(actions), k))
        last, before = ({c: _cut(f, at) for c, f in frames.items()} for at in (k, max(0, k - 1)))
        belief, estimate = self.begun(frames, encode_actions(actions, self.spec.action), told)
        guesses = self.spotted(frames, estimate) if told is None else self.as_guesses(told[:, -1])
        here = self.here(guesses, belief, estimate) if told is None else told[:, -1]
        there, seen = self.canvas.begun(here, len(actions), actions.device)
        return CanvasState(
            last=last,
            before=before,
            first={c: f.clone() for c, f in last.items()},  # its own tensor, or a compiler takes it for the last one
            actors=there,
            seen=seen,
            guesses=guesses,
            belief=belief,
            state=estimate,
            held=belief.float().clone() if self.consequences is not None else belief.new_zeros(len(belief), 0),
            crossed=self.canvas.uncrossed(estimate, *self.scale),
            seed=seed,
            step=torch.ones_like(seed),
        )

    @torch.no_grad()
    def watch(self, state: CanvasState, action: Tensor, actors: Tensor | None = None) -> Watched[CanvasState]:
        actors = self.check_actors(actors, (len(action),))
        encoded, guesses, untold, belief, now, held, raw = self.believed(state, action, actors)
        last, before = ({c: to_model(f) for c, f in past.items()} for past in (state.last, state.before))
        moved, num_passes = self.canvas.moved(state.state, now, state.crossed, *self.scale), self.config.sample_steps
        drawn = untold if self.draws_guesses and untold is not None else actors
        cast = self.cast(drawn, belief, now, state, moved.step)
        known = Known(encoded, belief, state.state, now, moved, state.first, cast)
        noise = NoiseStream(state.seed, state.step)
        noisy = {c: noise.normal(3, *size) for c, size in self.canvas.cells.items()}
        clean: Pictures = {}
        for i in range(num_passes):
            if clean:
                share = 1 / (num_passes + 1 - i)  # of the way that was left to the clean picture
                noisy = {c: noisy[c] + share * (x - noisy[c]) for c, x in self.canvas.coarse(clean).items()}
            level = torch.full((len(action),), i / num_passes, device=action.device)
            painted = self.canvas(last, before, noisy, level, known)
            clean = {c: p.picture.clamp(-1, 1) for c, p in painted.items()}
        frames = {c: to_uint8(x) for c, x in clean.items()}
        noted = torch.stack([p.noted for p in painted.values()]).mean(0)
        there, seen = (cast.now, cast.seen) if cast is not None else self.canvas.begun(None, len(action), action.device)
        state = replace(
            state,
            last=frames,
            before=state.last,
            actors=self.canvas.padded(there),
            seen={c: self.canvas.padded(boxes) for c, boxes in seen.items()},
            guesses=guesses,
            belief=belief,
            state=now,
            held=held,
            crossed=moved.crossed,
            step=state.step + 1,
        )
        marks = [*self.near(guesses, state), *self.shown([before, last, clean], now)]
        features = torch.cat([belief, noted, *marks], dim=-1)
        return Watched(state, frames, features, raw)

    def near(self, guesses: Tensor, state: CanvasState) -> list[Tensor]:
        """Marks (b, NUM_NEAR) of how far a step is to be trusted, of a model that guesses who is there (b, g, 9) as it
        drives: how near the nearest is and how many there are, and how long ago the last real frame was."""
        if not self.roams:
            return []
        away = torch.linalg.vector_norm(guesses[..., 1:3], dim=-1)
        near = away.nan_to_num(torch.inf).amin(-1)
        age_s = ((state.step - 1) * self.spec.dt_s).clamp(max=AGE_S)
        return [
            torch.stack([(-near / 5).exp(), (-near / 20).exp(), away.isfinite().sum(-1) / 4, age_s, (-age_s).exp()], -1)
        ]

    def shown(self, film: list[Pictures], now: Tensor) -> list[Tensor]:
        """Marks (b, NUM_SHOWN n) of the same, of a model that draws its guesses: what the FRAMES newest pictures
        (b, 3, h, w) show of n numbers of the standardised state `now` (b, s), these themselves, and how far the one is
        off the other."""
        if not self.draws_guesses or self.reader is None:
            return []
        at = shown_at(self.spec.state_names)
        films = {c: torch.stack([pictures[c] for pictures in film], dim=1) for c in film[-1]}
        shown, held = self.reader(self.cells(films))[:, -1, at], now[:, at]
        return [shown, held, (shown - held).abs()]

    def believed_actors(
        self, belief: Tensor, state: Tensor, before: Tensor | None = None, motion: Motion | None = None
    ) -> Tensor | None:
        """The nearest actors ahead (b, lanes, 9) by belief (b, d) and standardised state (b, s), given those believed
        to be there the step `before` and how the ego has moved since; None where the model does not tell itself of
        any."""
        if self.ahead is None:
            return None
        mean, std = self.scale
        return self.ahead.believed(belief, state * std + mean, before, motion)

    def here(self, guesses: Tensor, belief: Tensor, state: Tensor) -> Tensor | None:
        """Who is drawn at the newest real frame (b, n, 9) when nobody tells: `guesses` (b, g, 9), or else those who are
        believed to be ahead."""
        return guesses if self.draws_guesses else self.believed_actors(belief, state)

    def cast(
        self, told: Tensor | None, belief: Tensor, now: Tensor, before: Drawn, motion: Motion | None
    ) -> Cast | None:
        """Whom a step draws: those it is told of or guesses, or else those who are believed to be ahead."""
        if told is not None:
            return self.canvas.cast(told, before.actors, before.seen, motion)
        actors = self.believed_actors(belief, now, before.actors[:, : len(LANES)], motion)
        return None if actors is None else self.canvas.believed_cast(actors, before.actors, before.seen)

    @torch.no_grad()
    def read_off(self, films: Frames) -> Tensor | None:
        if self.reader is None:
            return None
        return self.reader(self.cells({c: to_model(f[:, -FRAMES:]) for c, f in films.items()}))[:, -1]

    def cells(self, films: Pictures) -> Pictures:
        """Pictures (b, t, 3, h, w) as cells (b, t, 3 p p / 4, h / p, w / p), as the reader reads them: at half their
        resolution, or the canvas would learn to please it with speckles that nobody sees."""
        half = self.config.canvas.painter.patch // 2
        return {
            c: F.pixel_unshuffle(F.avg_pool2d(x.flatten(0, 1), 2), half).unflatten(0, x.shape[:2])
            for c, x in films.items()
        }


def _cut(film: Tensor, at: int) -> Tensor:
    """One picture of each film (b, t, ...), laid out as those that follow are, or a compiler tells them apart."""
    return film[:, at].clone(memory_format=torch.contiguous_format)
