"""What phases share: how long they last, which windows they draw, with which noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from simworld.data.cache import FrameCache
from simworld.data.windows import WindowSampler
from simworld.fit import Run
from simworld.model.noise import NoiseStream
from simworld.optim import OptimConfig

CHUNK = 128  # windows of those drawn once that are worked on at once

ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True)
class PhaseConfig:
    """`batch` windows (frames for the codec) over all ranks, each `window` steps long.

    The canvas carries `batch` films, which last one step until the share `unroll_from` is done, then up to `window`.
    From that share on, the dynamics learns from a past of its own: up to `max_unroll` passes over the window in turn,
    and every `rolled_every`-th step (0: never) one that it imagined step by step.
    """

    steps: int
    batch: int
    window: int = 16
    event_fraction: float = 0.25
    max_unroll: int = 1
    unroll_from: float = 0.5
    rolled_every: int = 0


@dataclass
class Stage(Generic[ModelT]):
    """What every phase is given: the model, the record that it learns from, for how long and how fast. Some learn as
    much from each of `others`."""

    model: ModelT
    cache: FrameCache
    config: PhaseConfig
    optim: OptimConfig
    seed: int
    run: Run
    others: tuple[FrameCache, ...] = field(default=(), kw_only=True)
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self.config.steps

    @property
    def caches(self) -> tuple[FrameCache, ...]:
        """All that it learns from."""
        return (self.cache, *self.others)

    def frames_at(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """What every camera recorded at the rows (...): uint8 (..., h, w, 3)."""
        return frames_at(self.cache, rows, self.run.device)


def frames_at(cache: FrameCache, rows: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
    """What every camera recorded at the rows (...): uint8 (..., h, w, 3)."""
    return {c: torch.from_numpy(f[rows]).to(device) for c, f in cache.frames.items()}


def shared_sampler(cache: FrameCache, config: PhaseConfig, steps: int, seed: int, run: Run) -> WindowSampler:
    """This rank's share of every batch; ValueError where the batch can not be shared evenly."""
    if config.batch % run.world:
        raise ValueError(f"a batch of {config.batch} can not be shared by {run.world} processes; use a multiple")
    return WindowSampler(
        cache,
        steps=steps,
        batch=config.batch // run.world,
        seed=seed,
        event_fraction=config.event_fraction,
        rank=run.rank,
        world=run.world,
    )


def drawn_once(cache: FrameCache, config: PhaseConfig, num: int, seed: int) -> list[NDArray[np.int64]]:
    """The rows of `num` windows, the same on every rank, in parts that are worked on at once."""
    return in_parts(sampler_once(cache, config, num, seed).rows(0))


def sampler_once(cache: FrameCache, config: PhaseConfig, num: int, seed: int) -> WindowSampler:
    """What draws the windows of `drawn_once`."""
    return WindowSampler(cache, steps=1, batch=num, seed=seed, event_fraction=config.event_fraction)


def in_parts(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows (n,) in parts that are worked on at once."""
    return [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]


def stream(seed: int, step: int, sampler: WindowSampler, device: torch.device) -> NoiseStream:
    """Noise of this rank's part of a batch: a function of (seed, step, place in the whole batch)."""
    first = sampler.rank * sampler.batch
    place = torch.arange(first, first + sampler.batch, device=device) + 1_000_003 * seed
    return NoiseStream(place, torch.full_like(place, step))


def picked(num: int, total: int, seed: int, step: int, run: Run, weight: Tensor | None = None) -> Tensor:
    """This rank's share of `total` of the numbers below `num`, drawn with repeats, each as likely as its `weight`
    (num,) says, or all alike: a function of (seed, step)."""
    rng = np.random.default_rng([seed, step])
    if weight is None:
        picks = rng.integers(0, num, total)
    else:
        sums = weight.double().cumsum(0).cpu().numpy()
        picks = np.searchsorted(sums, rng.random(total) * sums[-1], side="right")
    return torch.from_numpy(picks[run.rank :: run.world]).to(run.device)
