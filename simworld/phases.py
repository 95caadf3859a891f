"""The phases of training: what each model learns, from which windows, with which noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from simworld.calibrate import calibrate_events
from simworld.closed_loop import ClosedLoop, Samples
from simworld.data.cache import FrameCache
from simworld.data.windows import Batch, WindowSampler
from simworld.fit import Run
from simworld.latent_world_model import LatentWorldModel
from simworld.model.codec import ConvCodec
from simworld.model.noise import NoiseStream
from simworld.model.outcomes import OutcomeTargets
from simworld.model.pixels import to_model
from simworld.optim import OptimConfig
from simworld.reference_world_model import ReferenceWorldModel

TRUST_WINDOWS = 64  # from which the usual expected error is read


@dataclass(frozen=True)
class PhaseConfig:
    """`batch` windows (frames for the codec) over all ranks, each `window` steps long."""

    steps: int
    batch: int
    window: int = 16
    event_fraction: float = 0.25
    max_unroll: int = 1
    unroll_from: float = 0.5


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


def stream(seed: int, step: int, sampler: WindowSampler, device: torch.device) -> NoiseStream:
    """Noise of this rank's part of a batch: a function of (seed, step, place in the whole batch)."""
    first = sampler.rank * sampler.batch
    place = torch.arange(first, first + sampler.batch, device=device) + 1_000_003 * seed
    return NoiseStream(place, torch.full_like(place, step))


def targets_of(batch: Batch, device: torch.device) -> OutcomeTargets:
    """What the outcome heads learn, moved to the device."""

    def moved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.to(device) for k, v in tensors.items()}

    return OutcomeTargets(
        reward=batch.reward.to(device),
        terminated=batch.terminated.to(device),
        outcomes=moved(batch.outcomes),
        steps_to_event=moved(batch.steps_to_event),
        steps_left=batch.steps_left.to(device),
        value_at_event=moved(batch.value_at_event),
        state=batch.state[:, 1:].to(device),
    )


class CodecPhase:
    """Single frames of all cameras, through the codec and back."""

    name = "codec"
    parts: tuple[str, ...] = ("codec",)

    def __init__(
        self, model: LatentWorldModel, cache: FrameCache, config: PhaseConfig, optim: OptimConfig, seed: int, run: Run
    ) -> None:
        assert isinstance(model.codec, ConvCodec)
        self.model, self.cache, self.optim, self.steps = model, cache, optim, config.steps
        self.seed, self.run = seed, run
        self.sampler = shared_sampler(cache, config, 1, seed, run)

    @property
    def codec(self) -> ConvCodec:
        assert isinstance(self.model.codec, ConvCodec)
        return self.model.codec

    def frames(self, step: int) -> list[Tensor]:
        """float32 (b, 3, h, w) per camera."""
        rows = self.sampler.rows(step)
        return [to_model(torch.from_numpy(f[rows])).to(self.run.device) for f in self.cache.frames.values()]

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        noise = stream(self.seed, step, self.sampler, self.run.device)
        losses = [self.codec.loss(frames, noise) for frames in self.frames(step)]
        return {"loss": torch.stack(losses).mean()}

    def finish(self) -> None:
        """Set the latents' mean and spread, from the frames of one fixed batch."""
        rows = np.random.default_rng(self.seed).integers(0, len(self.cache.actions), 256)
        cameras = [to_model(torch.from_numpy(f[rows])).to(self.run.device) for f in self.cache.frames.values()]
        self.codec.standardise(cameras)


@torch.no_grad()
def encode_all(model: LatentWorldModel, cache: FrameCache, run: Run) -> dict[str, NDArray[np.float16]]:
    """Latents of every frame, {camera: float16 (F, c, h, w)}, kept as memory-mapped files in the run folder."""
    out = {}
    for camera, frames in cache.frames.items():
        path = run.folder / f"latents.{camera}.npy"
        if run.rank == 0 and not path.exists():
            _encode_camera(model, frames, path, run)
        run.barrier()
        out[camera] = np.load(path, mmap_mode="r")
    return out


def _encode_camera(model: LatentWorldModel, frames: NDArray[np.uint8], path: Path, run: Run) -> None:
    h, w = frames.shape[1] // model.codec.scale, frames.shape[2] // model.codec.scale
    temporary = path.with_suffix(".tmp")
    latents = open_memmap(temporary, "w+", np.float16, (len(frames), model.codec.channels, h, w))
    for i in range(0, len(frames), 256):
        part = to_model(torch.from_numpy(np.array(frames[i : i + 256]))).to(run.device)
        with run.autocasting():
            latents[i : i + 256] = model.codec.encode(part).float().cpu().numpy()
    latents.flush()
    temporary.rename(path)


class DynamicsPhase:
    """Windows of latents: the dynamics and the outcome heads, together."""

    name = "dynamics"
    parts: tuple[str, ...] = ("dynamics", "heads")

    def __init__(
        self,
        model: LatentWorldModel,
        cache: FrameCache,
        latents: dict[str, NDArray[np.float16]],
        config: PhaseConfig,
        optim: OptimConfig,
        seed: int,
        run: Run,
    ) -> None:
        self.model, self.latents, self.config, self.optim, self.steps = model, latents, config, optim, config.steps
        self.cache, self.seed, self.run = cache, seed, run
        self.sampler = shared_sampler(cache, config, config.window, seed, run)

    def window(self, step: int) -> tuple[dict[str, Tensor], Tensor, OutcomeTargets, Tensor]:
        """Latents {camera: float32 (b, t+1, c, h, w)}, actions (b, t, a), targets and actors (b, t, n, 9) of a step."""
        rows = self.sampler.rows(step)
        batch = self.sampler.gather(rows)
        at = rows[:, None] + np.arange(self.config.window + 1)
        device = self.run.device
        latents = {k: torch.from_numpy(z[at]).to(device).float() for k, z in self.latents.items()}
        return latents, batch.actions.to(device), targets_of(batch, device), batch.actors[:, 1:].to(device)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        latents, actions, targets, actors = self.window(step)
        unroll = step % (self.config.max_unroll + 1) if progress >= self.config.unroll_from else 0
        noise = stream(self.seed, step, self.sampler, self.run.device)
        return self.model.loss(latents, actions, targets, noise, actors=actors, unroll=unroll)

    def closed_loop(self) -> ClosedLoop:
        """The model as it stands, imagining on from windows of the training data; the same ones on every rank."""
        dtype = self.run.autocast or torch.float32
        return ClosedLoop(self.model, self.cache, self.latents, seed=self.seed + 1, dtype=dtype, device=self.run.device)

    def finish(self) -> None:
        """Calibrate trust and the hazards of events on windows of the training data."""
        self.model.heads.calibrate_trust(self.closed_loop().samples(TRUST_WINDOWS).features)
        calibrate_events(self.model, self.cache, seed=self.seed, device=self.run.device, autocast=self.run.autocast)


class HeadsPhase:
    """The heads alone, at the end, on what the finished dynamics imagines from many windows.

    A pass over the heads costs next to nothing beside one over the dynamics, so they learn here what the few steps
    taken together could not teach them, and from imagined pasts as they will meet them.
    """

    name = "heads"
    parts: tuple[str, ...] = ("heads",)

    def __init__(self, dynamics: DynamicsPhase, config: PhaseConfig, optim: OptimConfig, num_windows: int) -> None:
        self.dynamics, self.config, self.optim, self.steps = dynamics, config, optim, config.steps
        self.model, self.run, self.seed = dynamics.model, dynamics.run, dynamics.seed
        self.num_windows = num_windows
        self.imagined = dynamics.closed_loop()
        self._samples: Samples | None = None

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        seen = self._samples = self._samples or self.imagined.samples(self.num_windows)
        total = self.config.batch * self.config.window
        picks = np.random.default_rng([self.seed, step]).integers(0, len(seen.features), total)
        pick = torch.from_numpy(picks[self.run.rank :: self.run.world]).to(seen.features.device)
        losses = self.model.heads.loss(seen.features[pick], seen.targets.map(lambda x: x[pick]), seen.log_error[pick])
        return {"loss": torch.stack(list(losses.values())).sum()} | losses

    def finish(self) -> None:
        self.dynamics.finish()


class ReferencePhase:
    """Windows of frames, as published: the U-Net, and beside it the outcome heads on true frames."""

    name = "reference"
    parts: tuple[str, ...] = ("reference", "classifier", "heads")

    def __init__(
        self,
        model: ReferenceWorldModel,
        cache: FrameCache,
        config: PhaseConfig,
        optim: OptimConfig,
        seed: int,
        run: Run,
    ) -> None:
        self.model, self.optim, self.steps, self.seed, self.run = model, optim, config.steps, seed, run
        self.sampler = shared_sampler(cache, config, model.config.reference.window_frames - 1, seed, run)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        batch = self.sampler.gather(self.sampler.rows(step))
        device = self.run.device
        frames = {k: f.to(device) for k, f in batch.frames.items()}
        actions = batch.actions.to(device)
        noise = stream(self.seed, step, self.sampler, device)
        frame = self.model.reference.loss(frames, actions, noise)
        last = targets_of(batch, device).steps(slice(-1, None))
        losses = self.model.outcome_losses(frames, actions, last)
        return {"loss": frame + 0.05 * torch.stack(list(losses.values())).sum(), "frame": frame} | losses

    def finish(self) -> None:
        """Nothing to calibrate."""
