"""Closed loop: what the outcome heads see, and how wrong it is, when a model imagines on from recorded windows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from simworld.believing import BelievingWorldModel
from simworld.data.cache import FrameCache
from simworld.data.windows import WindowSampler
from simworld.futures import Futures
from simworld.model.pixels import to_model
from simworld.model.reader import FRAMES
from simworld.progress import telling

TOLD_EVERY = 4  # one batch in so many is told of the actors
LEAST = 1e-3  # an error below which one is as good as another


@dataclass(frozen=True)
class Samples:
    """m imagined steps: features (m, d), and log of how wrong the imagined frames are (m,)."""

    features: Tensor
    log_error: Tensor


class ClosedLoop:
    """Imagines `horizon` steps, as recorded, after `context` real ones.

    The model is copied as it stands and runs in `dtype`, as it will when it is used.
    """

    def __init__(
        self,
        model: BelievingWorldModel[Any],
        cache: FrameCache,
        *,
        context: int = 8,
        batch: int = 32,
        seed: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.model.to_dtype(dtype)
        self.cache, self.context, self.horizon = cache, context, model.heads.config.horizon
        self.device, self.seed = device, seed
        self.sampler = WindowSampler(cache, steps=context, batch=batch, seed=seed, event_fraction=0.5)

    @torch.no_grad()
    def samples(self, num_windows: int, report: Callable[[str], None] = print) -> Samples:
        """Every imagined step of `num_windows` windows, rounded up to whole batches, up to its episode's end."""
        batches = range(-(-num_windows // self.sampler.batch))
        parts = [self._batch(i) for i in telling(batches, "imagining windows", report)]
        return Samples(torch.cat([p.features for p in parts]), torch.cat([p.log_error for p in parts]))

    def _batch(self, number: int) -> Samples:
        rows, k, h = self.sampler.rows(number), self.context, self.horizon
        future = Futures.of(self.cache, rows, k + h)
        valid = torch.from_numpy(future.valid[:, k:]).to(self.device)
        actions = future.actions(self.cache).to(self.device)
        told = number % TOLD_EVERY == TOLD_EVERY - 1 and self.model.max_actors > 0
        actors = future.actors(self.cache).to(self.device) if told else None
        real = {c: torch.from_numpy(x[future.frames]).to(self.device) for c, x in self.cache.frames.items()}
        state = self.model.start(
            {c: x[:, : k + 1] for c, x in real.items()},
            actions[:, :k],
            seed=torch.from_numpy(rows).to(self.device) + 1_000_003 * self.seed,
            actors=None if actors is None else actors[:, :k],
        )
        film = {c: x[:, k + 2 - FRAMES : k + 1] for c, x in real.items()}
        true = future.targets(self.cache).state[:, k:].to(self.device)
        features, errors = [], []
        for t in range(k, k + h):
            state, frames, seen, _ = self.model.watch(state, actions[:, t], None if actors is None else actors[:, t])
            features.append(seen)
            film = {c: torch.cat([x, frames[c][:, None]], dim=1)[:, -FRAMES:] for c, x in film.items()}
            errors.append(self._error(film, {c: x[:, t + 1] for c, x in real.items()}, true[:, t - k]))
        return Samples(
            torch.stack(features, dim=1)[valid],
            torch.stack(errors, dim=1)[valid].clamp(min=LEAST).log(),
        )

    def _error(self, film: dict[str, Tensor], real: dict[str, Tensor], state: Tensor) -> Tensor:
        """How wrong (b,) the newest frames of a film are: the state that they show, or else their pixels."""
        read = self.model.read_off(film)
        if read is not None:
            return self.model.heads.shown_error(read, state)
        off = [(to_model(film[c][:, -1]) - to_model(x)).square().mean((1, 2, 3)) for c, x in real.items()]
        return torch.stack(off).mean(0)
