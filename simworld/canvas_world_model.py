"""The world model that ships: a belief of what is the case, and a canvas on which its pictures are carried on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.believing import BelievingWorldModel, Watched
from simworld.canvas_state import Believed, CanvasState, CanvasWorldConfig, Drawn
from simworld.episode import EpisodeSpec
from simworld.model.actions import encode_actions, encoded_size
from simworld.model.actors import NUM_FIELDS
from simworld.model.ahead import LANES, ROAD, Ahead
from simworld.model.belief import Belief
from simworld.model.canvas import Canvas, Cast, Frames, Known, Pictures
from simworld.model.carrying import SPEED, YAW_RATE, Motion
from simworld.model.forecast import Forecast
from simworld.model.guesses import coasted
from simworld.model.lookout import FARTHEST_M, Lookout
from simworld.model.noise import NoiseStream
from simworld.model.odometry import Odometry
from simworld.model.outcomes import OutcomeHeads, OutcomePrediction, shown_at
from simworld.model.overview import Overview
from simworld.model.pixels import to_model, to_uint8
from simworld.model.places import Places
from simworld.model.reader import FRAMES, Reader
from simworld.model.reckoning import Reckoning
from simworld.model.touch import Touch
from simworld.world_model import lay_out_channels_last

NUM_NEAR, NUM_SHOWN = 5, 3  # marks of who is guessed to be near, and of every number of the state that a picture shows
AGE_S = 3.0  # for so long it matters how old a film is


class CanvasWorldModel(BelievingWorldModel[CanvasState]):
    """A belief and its outcome heads, and a canvas that shows what is believed."""

    def __init__(self, config: CanvasWorldConfig, spec: EpisodeSpec) -> None:
        super().__init__()
        self.config, self.spec, self.actor_drop = config, spec, config.canvas.actor_drop
        self.check_sides(spec.cameras, config.canvas.painter.multiple)
        self.belief = Belief(
            config.belief,
            cameras=tuple(spec.cameras),
            action_size=encoded_size(spec.action),
            actors=bool(self.max_actors),
            guesses=self.draws_guesses,
        )
        self.places = Places(spec.state_names, spec.state_units)
        self.lookout = self._lookout()
        self.canvas = Canvas(
            config.canvas,
            cameras=spec.cameras,
            mounts=spec.mounts,
            state_names=spec.state_names,
            action_size=encoded_size(spec.action),
            believed=config.belief.size,
            dt_s=spec.dt_s,
        )
        patch = config.canvas.painter.patch
        self.reader = (
            Reader(
                channels=3 * (patch // 2) ** 2,
                grids={c: (h // patch, w // patch) for c, (h, w) in spec.cameras.items()},
                state_names=spec.state_names,
            )
            if spec.state_names
            else None
        )
        draws_others = bool(self.canvas.mounts) and self.max_actors >= len(LANES)
        reads_road = set(ROAD) <= set(spec.state_names)
        self.ahead = Ahead(config.belief.size, spec.state_names) if draws_others and reads_road else None
        self.heads = OutcomeHeads(
            config.heads,
            spec.outcomes,
            features=config.belief.size,
            noted=self.canvas.painter.num_noted,
            marks=NUM_NEAR * self.roams + NUM_SHOWN * len(shown_at(spec.state_names)) * self.draws_guesses,
            state_names=spec.state_names,
        )
        reckons = config.reckoning and self.heads.sizes["state"]
        self.reckoning = (
            Reckoning(len(spec.state_names), encoded_size(spec.action), config.reckoning) if reckons else None
        )
        self.odometry = (
            Odometry(config.odometry, cameras=spec.cameras, mounts=spec.mounts, dt_s=spec.dt_s)
            if config.odometry and self.roams
            else None
        )
        forecasts = config.forecast and self.roams
        self.forecast = Forecast(spec.state_names, spec.dt_s, config.forecast) if forecasts else None
        num_places = 0 if self.roams else len(self.places)
        self.touch = (
            None
            if self.lookout is None
            else Touch(spec.outcomes, self.heads.sizes, len(spec.state_names), num_places, config.minds)
        )

    @property
    def max_actors(self) -> int:
        return self.config.canvas.max_actors

    @property
    def _wants_lookout(self) -> bool:
        return bool(self.max_actors and self.config.lookout.most)

    @property
    def roams(self) -> bool:
        """Whether it spots others in real frames from where the ego is, and guesses where they are from then on."""
        known = {SPEED, YAW_RATE} <= set(self.spec.state_names) and set(self.spec.cameras) <= set(self.spec.mounts)
        return self._wants_lookout and known

    @property
    def draws_guesses(self) -> bool:
        """Whether the belief is told of whom it guesses to be there, and draws them."""
        return self.roams and self.config.lookout.drawn

    def _lookout(self) -> Lookout | Overview | None:
        """What spots others: from where the ego is, or in a room whose places the state names; None where neither is
        known."""
        config, spec = self.config.lookout, self.spec
        if self.roams:
            return Lookout(config, cameras=spec.cameras, mounts=spec.mounts, dt_s=spec.dt_s)
        return Overview(config.most, tuple(spec.cameras)) if self._wants_lookout and len(self.places) else None

    def to_dtype(self, dtype: torch.dtype) -> CanvasWorldModel:
        self.canvas.to_dtype(dtype)
        lay_out_channels_last(self.canvas.painter)
        return self

    def estimate(self, belief: Tensor) -> Tensor:
        """The standardised state (b, s) that a belief holds to be the case; (b, 0) where the spec names none."""
        return self.heads.raw(belief)["state"].clamp(-4, 4)

    def reckoned(self, state: Tensor, action: Tensor, told: Tensor) -> Tensor:
        """The standardised state (b, s) a step of encoded action (b, a) after `state`, by what the belief tells of
        it."""
        return told if self.reckoning is None else self.reckoning(state, action, told).clamp(-4, 4)

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
            crossed=self.canvas.uncrossed(estimate, *self.scale),
            seed=seed,
            step=torch.ones_like(seed),
        )

    def begun(self, frames: Frames, actions: Tensor, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The belief (b, d) that frames (b, k + 1, h, w, 3), encoded actions (b, k, a) and actors (b, k, n, 9), where
        any are told, give rise to, and the standardised state (b, s) that is the case at the newest of them."""
        belief = self.belief.begin(frames, actions, told)
        state = self.estimate(belief)
        last = actions.shape[1]
        if self.odometry is None or last < max(self.odometry.sees):
            return belief, state
        at = [last - ago for ago in self.odometry.sees]
        moving = self.odometry({c: f[:, at] for c, f in frames.items()}, self.ego(state))
        (mean, std), motion = self.scale, self.canvas.motion_at
        state = state.clone()
        state[:, motion] = ((moving - mean[motion]) / std[motion]).clamp(-4, 4).to(state.dtype)
        return belief, state

    @torch.no_grad()
    def seen(self, frames: Frames, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The state (b, s), in its own units, that is the case at the newest of frames (b, k + 1, h, w, 3) with actions
        (b, k, a) between them, as far as they tell, and who is there (b, g, 9), NaN where nobody is."""
        self.check_start(frames, actions)
        _, state = self.begun(frames, encode_actions(actions, self.spec.action))
        mean, std = self.scale
        return state * std + mean, self.spotted(frames, state)

    @torch.no_grad()
    def watch(self, state: CanvasState, action: Tensor, actors: Tensor | None = None) -> Watched[CanvasState]:
        actors = self.check_actors(actors, (len(action),))
        encoded, guesses, untold, belief, now, raw = self.believed(state, action, actors)
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
            crossed=moved.crossed,
            step=state.step + 1,
        )
        marks = [*self.near(guesses, state), *self.shown([before, last, clean], now)]
        features = torch.cat([belief, noted, *marks], dim=-1)
        return Watched(state, frames, features, raw)

    def aware(self, state: CanvasState, actors: Tensor) -> CanvasState:
        if self.lookout is None:
            return super().aware(state, actors)
        return replace(state, guesses=self.as_guesses(actors))

    @torch.no_grad()
    def foresee(self, state: CanvasState, actions: Tensor) -> Iterator[OutcomePrediction]:
        for action in actions.unbind(1):
            _, guesses, _, belief, now, raw = self.believed(state, action, None)
            state = replace(state, guesses=guesses, belief=belief, state=now, step=state.step + 1)
            features = F.pad(belief, (0, self.heads.num_features - belief.shape[1]))
            told = self.heads(features, raw)
            yield told._replace(trust=torch.full_like(told.trust, torch.nan))

    def believed(self, state: CanvasState, action: Tensor, actors: Tensor | None) -> Believed:
        """What is the case a step after `state`, as far as it takes no picture to tell."""
        encoded = encode_actions(action, self.spec.action)
        guesses = self.gone_on(state.guesses, state.state) if actors is None else self.as_guesses(actors)
        untold = guesses if actors is None and self.lookout is not None else None
        belief = self.belief.roll(state.belief, encoded, actors, untold)
        raw = self.told_by(belief, untold, state)
        now = self.reckoned(state.state, encoded, raw["state"].clamp(-4, 4))
        return Believed(encoded, guesses, untold, belief, now, raw | {"state": now})

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

    def told_by(self, belief: Tensor, guesses: Tensor | None, before: CanvasState) -> dict[str, Tensor]:
        """What is read off a belief (b, d), and off guesses (b, g, 9), a step after the state `before`: what that
        holds of the ego, as its own would give away what the belief expects."""
        raw = self.heads.raw(belief)
        if self.touch is None or guesses is None:
            return raw
        age_s = before.step * self.spec.dt_s
        told = self.touch(guesses, before.state, self.ego(before.state), age_s)
        return self.touch.added(raw, told, self.heads.factors)

    def spotted(self, frames: Frames, state: Tensor) -> Tensor:
        """The others (b, g, 9) that are seen in the newest of frames (b, t, h, w, 3), whose state is estimated as the
        standardised (b, s)."""
        if self.lookout is None:
            return self.nobody(len(state), state.device)
        last = next(iter(frames.values())).shape[1] - 1
        at = [max(0, last - ago) for ago in self.lookout.sees]
        return self.lookout.spot({c: f[:, at] for c, f in frames.items()}, self.ego(state))

    def nobody(self, num: int, device: torch.device) -> Tensor:
        """The guesses (num, g, 9) where nobody is seen."""
        most = self.config.lookout.most if self.lookout is not None else 0
        return torch.full((num, most, NUM_FIELDS), torch.nan, device=device)

    def as_guesses(self, actors: Tensor) -> Tensor:
        """Actors (b, n, 9) that were told of, the nearest first, as many and as far away as are guessed of once nobody
        tells."""
        guesses = self.nobody(len(actors), actors.device)
        if self.roams:
            far = torch.linalg.vector_norm(actors[..., 1:3], dim=-1) > FARTHEST_M
            actors = actors.masked_fill(far[..., None], torch.nan)
        num = min(guesses.shape[1], actors.shape[1])
        guesses[:, :num] = actors[:, :num]
        return guesses

    def gone_on(self, guesses: Tensor, state: Tensor) -> Tensor:
        """The guesses (b, g, 9) a step after the standardised state (b, s); in a room all stay where they are."""
        if not self.roams:
            return guesses
        ego, (mean, std) = self.ego(state), self.scale
        if self.forecast is not None:
            guesses = self.forecast(guesses, state * std + mean, state, ego)
        speed, yaw_rate = ego.unbind(1)
        return coasted(guesses, Motion.of(speed, yaw_rate, self.spec.dt_s))

    def ego(self, state: Tensor) -> Tensor:
        """Speed in m/s and yaw rate in rad/s (..., 2) of standardised states (..., s), or the places of a room
        (..., 4 p)."""
        mean, std = self.scale
        known = (state * std + mean).nan_to_num()
        return known[..., self.canvas.motion_at] if self.canvas.motion_at else self.places.of(known).flatten(-2)

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

    @property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and spread (s,) of the states."""
        heads = self.heads
        return (heads.state_mean, heads.state_std) if heads.sizes["state"] else (heads.reward_mean, heads.reward_std)

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
