"""The belief's phase: what was seen, and what was recorded after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.believing import BelievingWorldModel
from simworld.futures import Futures, frames_ago
from simworld.model.actions import encode_actions
from simworld.model.carrying import SPEED, YAW_RATE
from simworld.model.guesses import going_on
from simworld.model.noise import NoiseStream
from simworld.phases.common import Stage, shared_sampler, stream

AHEAD_WEIGHT = 0.5  # of the loss of who is ahead, beside that of the state


@dataclass
class BeliefPhase(Stage[BelievingWorldModel[Any]]):
    """Frames before a row, and the steps recorded after it: the belief and the outcome heads, together.

    The pictures of the future play no part, so that a step costs little and each learns from 3 s of what followed. As
    many frames again are only seen: how things look takes more frames to learn than how they go on.
    """

    name: str = "belief"
    parts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts = self.model.outcome_parts
        self.sampler = shared_sampler(self.cache, self.config, 1, self.seed, self.run)
        self.looks = shared_sampler(self.cache, self.config, 1, self.seed + 1, self.run)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        model, rows, device = self.model, self.sampler.rows(step), self.run.device
        noise = stream(self.seed, step, self.sampler, device)
        looked = np.concatenate([rows, self.looks.rows(step)])
        seen = model.belief.see(self._frames(looked, noise))
        future = Futures.of(self.cache, rows, self.config.window)
        actions = encode_actions(future.actions(self.cache).to(device), self.cache.spec.action)
        actors = future.actors(self.cache).to(device)
        told, knows = model.some_actors(actors, len(rows), noise)
        guesses = None if model.belief.guesses is None else self._guesses(rows, future, knows)
        beliefs = model.belief.follow(seen[: len(rows), None], actions, told, guesses=guesses)
        targets = future.targets(self.cache).map(lambda x: x.to(device))
        losses = model.heads.loss(beliefs, targets)
        weight = model.belief.config.outcome_weight
        total = torch.stack([x if name == "state" else weight * x for name, x in losses.items()]).sum()
        there, state = (torch.from_numpy(x[looked]).to(device) for x in (self.cache.actors, self.cache.state))
        if model.heads.sizes["state"]:
            losses["seen"] = model.heads.state_loss(model.heads.raw(seen)["state"], state).mean()
            total = total + losses["seen"]
        if model.ahead is not None:
            coming = model.ahead.loss(beliefs, actors, targets.state) * (targets.steps_left >= 0)
            losses["ahead"] = coming.mean() + model.ahead.loss(seen, there, state).mean()
            total = total + AHEAD_WEIGHT * losses["ahead"]
        return {"loss": total} | losses

    @torch.no_grad()
    def _guesses(self, rows: NDArray[np.int64], future: Futures, told: Tensor) -> Tensor:
        """Who is guessed to be there (b, t, g, 9) after each step by who was spotted before the first, as the ego was
        recorded to move; nobody in films that are `told` (b,)."""
        lookout, device = self.model.lookout, self.run.device
        assert lookout is not None
        frames = self.frames_at(frames_ago(self.cache, rows, lookout.sees))
        states = torch.from_numpy(self.cache.state[future.frames]).to(device)
        ego = states[..., [self.cache.spec.state_names.index(name) for name in (SPEED, YAW_RATE)]].nan_to_num()
        every = going_on(lookout.spot(frames, ego[:, 0]), ego[:, :-1], self.cache.spec.dt_s)
        return torch.where(told[:, None, None, None], torch.nan, every)

    def _frames(self, rows: NDArray[np.int64], noise: NoiseStream) -> dict[str, Tensor]:
        """What is seen at the rows (two for each of the noise), each in another light."""
        before = frames_ago(self.cache, rows, self.model.belief.config.ago)
        return {c: torch.cat([relit(half, noise) for half in f.chunk(2)]) for c, f in self.frames_at(before).items()}


def relit(frames: Tensor, noise: NoiseStream) -> Tensor:
    """Frames uint8 (b, t, h, w, 3) in another light, each window in its own: exposure and brightness."""
    gain = (1 + 0.15 * noise.normal(1, 1, 1, 1)).clamp(0.6, 1.4)
    lift = 10 * noise.normal(1, 1, 1, 3)
    return frames.float().mul_(gain).add_(lift + 0.5).clamp_(0, 255).to(torch.uint8)
