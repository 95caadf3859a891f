"""The phase of the dynamics, the longest: windows of latents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.futures import Futures, frames_ago
from simworld.latent_world_model import LatentWorldModel
from simworld.model.reader import FRAMES
from simworld.phases.common import Stage, shared_sampler, stream

CONTEXT = 8  # real steps before those that are rolled
LOOKS = 16  # of the reader, for every window of the dynamics
SEEN_FRAMES = 4  # at the head of a window of the dynamics; the belief rolls on after one of them


class Window(NamedTuple):
    """b windows of t steps: latents {camera: float32 (b, t+1, c, h, w)}, actions (b, t, a), what the belief saw in the
    first frames (b, f, size), state (b, t, s) and actors (b, t, n, 9) of all frames but the first."""

    latents: dict[str, Tensor]
    actions: Tensor
    seen: Tensor
    state: Tensor
    actors: Tensor


@dataclass
class DynamicsPhase(Stage[LatentWorldModel]):
    """Windows of latents: the dynamics, by a belief that stays as it is, and the reader beside it."""

    latents: dict[str, NDArray[np.float16]]
    name: str = "dynamics"
    parts: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts = ("dynamics",) if self.model.reader is None else ("dynamics", "reader")
        self.sampler = shared_sampler(self.cache, self.config, self.config.window, self.seed, self.run)
        # of runs that roll, only episodes that are long enough for it
        self.long = self.sampler
        if self.config.rolled_every:
            self.long = shared_sampler(self.cache, self.config, CONTEXT + 2 * self.config.window, self.seed, self.run)
        looks = replace(self.config, batch=LOOKS * self.config.batch)
        self.looks = shared_sampler(self.cache, looks, FRAMES - 1, self.seed, self.run)

    def window(self, step: int) -> Window:
        """The window of a step."""
        return self._read(self.sampler.rows(step), self.config.window, SEEN_FRAMES)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        late = progress >= self.config.unroll_from
        if late and self.config.rolled_every and step % self.config.rolled_every == 0:
            losses = self.rolled(step)
        else:
            noise = stream(self.seed, step, self.sampler, self.run.device)
            unroll = step % (self.config.max_unroll + 1) if late else 0
            latents, actions, seen, state, actors = self.window(step)
            losses = self.model.loss(latents, actions, seen, noise, state=state, actors=actors, unroll=unroll)
        return losses if self.model.reader is None else self.reading(step, losses)

    def rolled(self, step: int) -> dict[str, Tensor]:
        """Losses of a window that lies, with all of its past, up to `window` imagined steps beyond the real frames."""
        window = self.config.window
        first = CONTEXT + int(np.random.default_rng([self.seed, step]).integers(window + 1))
        latents, actions, seen, state, actors = self._read(self.long.rows(step), first + window, CONTEXT + 1)
        noise = stream(self.seed, step, self.long, self.run.device)
        return self.model.loss_when_rolled(latents, actions, seen, noise, first=first, state=state, actors=actors)

    def reading(self, step: int, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses, and beside them the reader's own, of consecutive real frames drawn anew."""
        assert self.model.reader is not None
        at = self.looks.rows(step)[:, None] + np.arange(FRAMES)
        real = {k: torch.from_numpy(z[at]).to(self.run.device).float() for k, z in self.latents.items()}
        state = self.model.heads.standard_state(torch.from_numpy(self.cache.state[at]).to(self.run.device))
        read = self.model.reader.learned(real, state, stream(self.seed, step, self.looks, self.run.device))
        return losses | {"loss": losses["loss"] + read, "read": read}

    def _read(self, rows: NDArray[np.int64], steps: int, num_seen: int) -> Window:
        device, future = self.run.device, Futures.of(self.cache, rows, steps)
        return Window(
            {k: torch.from_numpy(z[future.frames]).to(device).float() for k, z in self.latents.items()},
            future.actions(self.cache).to(device),
            self._seen(rows, min(num_seen, steps)),
            torch.from_numpy(self.cache.state[future.frames[:, 1:]]).to(device),
            future.actors(self.cache).to(device),
        )

    @torch.no_grad()
    def _seen(self, rows: NDArray[np.int64], num: int) -> Tensor:
        """What the belief sees in the `num` frames from each row on."""
        ago = self.model.belief.config.ago
        at = np.stack([frames_ago(self.cache, rows + i, ago) for i in range(num)], axis=1).reshape(-1, len(ago))
        frames = self.frames_at(at)
        return self.model.belief.see(frames).unflatten(0, (len(rows), -1))
