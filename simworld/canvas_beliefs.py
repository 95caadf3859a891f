"""What a canvas world model is made of, and what it believes to be the case, whatever it shows of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.believing import BelievingWorldModel
from simworld.canvas_state import Believed, CanvasState, CanvasWorldConfig
from simworld.episode import EpisodeSpec
from simworld.model.actions import encode_actions, encoded_size
from simworld.model.actors import NUM_FIELDS
from simworld.model.ahead import LANES, ROAD, Ahead
from simworld.model.belief import Belief
from simworld.model.canvas import Canvas, Frames
from simworld.model.carrying import SPEED, YAW_RATE, Motion
from simworld.model.consequences import SHARE, Consequences
from simworld.model.forecast import Forecast
from simworld.model.guesses import coasted
from simworld.model.lookout import FARTHEST_M, Lookout
from simworld.model.odometry import Odometry
from simworld.model.outcomes import OutcomeHeads, OutcomePrediction, shown_at
from simworld.model.overview import Overview
from simworld.model.places import Places
from simworld.model.reader import Reader
from simworld.model.reckoning import Reckoning
from simworld.model.touch import Touch

NUM_NEAR, NUM_SHOWN = 5, 3  # marks of who is guessed to be near, and of every number of the state that a picture shows


class CanvasBeliefs(BelievingWorldModel[CanvasState]):
    """All parts of a canvas world model, and what holds without a picture: how a film begins, and how the belief, the
    state and the guesses of others go on."""

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
        self.consequences = self._consequences()

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

    def _consequences(self) -> Consequences | None:
        """What carries on what actions lead to: all but the state, and scalars, which come of categories."""
        if not self.config.consequences:
            return None
        scalars, events = ([s.name for s in self.spec.outcomes if s.kind == kind] for kind in ("scalar", "event"))
        return Consequences(
            {name: n for name, n in self.heads.sizes.items() if name not in (*scalars, "state")},
            ["terminated", *events],
            size=self.config.belief.size,
            action_size=encoded_size(self.spec.action),
            num_state=self.heads.sizes["state"],
            guesses=self.roams,
        )

    @property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Mean and spread (s,) of the states."""
        heads = self.heads
        return (heads.state_mean, heads.state_std) if heads.sizes["state"] else (heads.reward_mean, heads.reward_std)

    def ego(self, state: Tensor) -> Tensor:
        """Speed in m/s and yaw rate in rad/s (..., 2) of standardised states (..., s), or the places of a room
        (..., 4 p)."""
        mean, std = self.scale
        known = (state * std + mean).nan_to_num()
        return known[..., self.canvas.motion_at] if self.canvas.motion_at else self.places.of(known).flatten(-2)

    def estimate(self, belief: Tensor) -> Tensor:
        """The standardised state (b, s) that a belief holds to be the case; (b, 0) where the spec names none."""
        return self.heads.raw(belief)["state"].clamp(-4, 4)

    def reckoned(self, state: Tensor, action: Tensor, told: Tensor) -> Tensor:
        """The standardised state (b, s) a step of encoded action (b, a) after `state`, by what the belief tells of
        it."""
        return told if self.reckoning is None else self.reckoning(state, action, told).clamp(-4, 4)

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

    def aware(self, state: CanvasState, actors: Tensor) -> CanvasState:
        if self.lookout is None:
            return super().aware(state, actors)
        return replace(state, guesses=self.as_guesses(actors))

    def gone_on(self, guesses: Tensor, state: Tensor) -> Tensor:
        """The guesses (b, g, 9) a step after the standardised state (b, s); in a room all stay where they are."""
        if not self.roams:
            return guesses
        ego, (mean, std) = self.ego(state), self.scale
        if self.forecast is not None:
            guesses = self.forecast(guesses, state * std + mean, state, ego)
        speed, yaw_rate = ego.unbind(1)
        return coasted(guesses, Motion.of(speed, yaw_rate, self.spec.dt_s))

    def believed(self, state: CanvasState, action: Tensor, actors: Tensor | None) -> Believed:
        """What is the case a step after `state`, as far as it takes no picture to tell."""
        encoded = encode_actions(action, self.spec.action)
        guesses = self.gone_on(state.guesses, state.state) if actors is None else self.as_guesses(actors)
        untold = guesses if actors is None and self.lookout is not None else None
        belief = self.belief.roll(state.belief, encoded, actors, untold)
        held = self.held_on(state, encoded, guesses)
        raw = self.heads.raw(belief)
        now = self.reckoned(state.state, encoded, raw["state"].clamp(-4, 4))
        if actors is None:
            raw = self.foretold(raw, held, untold, state)
        return Believed(encoded, guesses, untold, belief, now, held, raw | {"state": now})

    def held_on(self, state: CanvasState, action: Tensor, guesses: Tensor) -> Tensor:
        """What is held of consequences (b, d) a step of encoded action (b, a) after `state`."""
        if self.consequences is None:
            return state.held
        return self.consequences(state.held, action, state.state, guesses, self.ego(state.state))

    def foretold(
        self, raw: dict[str, Tensor], held: Tensor, guesses: Tensor | None, before: CanvasState
    ) -> dict[str, Tensor]:
        """What heads read off a belief, with what is held of consequences (b, d) and what guesses (b, g, 9) tell a step
        after the state `before`, by what that holds of the ego, as its own would give away what the belief expects."""
        share: Tensor | float = self.touch.tokens.share if self.touch is not None else 0.0
        if self.consequences is not None:
            raw = self.consequences.instead(raw, held)
            share = share + (SHARE - share) * self.consequences.learned
        if self.touch is None or guesses is None:
            return raw
        told = self.touch(guesses, before.state, self.ego(before.state), before.step * self.spec.dt_s)
        return self.touch.added(raw, told, self.heads.factors, share)

    @torch.no_grad()
    def foresee(self, state: CanvasState, actions: Tensor) -> Iterator[OutcomePrediction]:
        for action in actions.unbind(1):
            _, guesses, _, belief, now, held, raw = self.believed(state, action, None)
            state = replace(state, guesses=guesses, belief=belief, state=now, held=held, step=state.step + 1)
            features = F.pad(belief, (0, self.heads.num_features - belief.shape[1]))
            told = self.heads(features, raw)
            yield told._replace(trust=torch.full_like(told.trust, torch.nan))
