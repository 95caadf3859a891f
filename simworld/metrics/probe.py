"""A probe: a small network fitted on real frames that reads the state, or the action, off imagined ones.

A state probe sees two or three consecutive frames and tells speed, place in the lane or gap; an inverse-dynamics
probe is the same thing with the action between the last two frames as its target.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from simworld.model.pixels import soften
from simworld.nets.convnet import ConvNet, ConvNetConfig
from simworld.optim import OptimConfig, build_optimizers, take_step
from simworld.shapes import expect

HELD_OUT_SHARE = 0.15


@dataclass(frozen=True)
class ProbeConfig:
    """How a probe is fitted. `seconds` ends a fit early on a slow machine, which then depends on its speed.

    `softened` is the share of training samples that are blurred and made noisy, so that the probe reads the soft
    pictures of a young world model by what they show, not by how they look.
    """

    steps: int = 1200
    batch: int = 96
    width: int = 64
    hidden: int = 128
    learning_rate: float = 2e-3
    matrix_learning_rate: float = 6e-3
    weight_decay: float = 1e-2
    softened: float = 0.5
    seconds: float | None = None


@dataclass(frozen=True)
class ProbeFit:
    """Quality on groups of frames the fit never saw: R2 and mean absolute error, in the target's own unit."""

    held_out_r2: dict[str, float | None]
    held_out_mae: dict[str, float | None]
    num_train: int
    num_held_out: int
    steps: int
    seconds: float


class Probe:
    """A fitted network; `names` says what the columns of `predict` are."""

    def __init__(
        self,
        net: ConvNet,
        names: tuple[str, ...],
        mean: NDArray[np.float64],
        std: NDArray[np.float64],
        bounds: NDArray[np.float64],
        caps: Mapping[str, float],
    ) -> None:
        self.net, self.names, self.mean, self.std, self.bounds = net.eval(), names, mean, std, bounds
        self.caps = dict(caps)
        self.fit: ProbeFit | None = None

    @torch.inference_mode()
    def predict(self, frames: NDArray[np.uint8], *, batch: int = 256) -> NDArray[np.float32]:
        """Frames (n, k, h, w, 3) uint8, oldest first -> (n, s) in the targets' units, within the range fitted on."""
        expect(frames, "n k h w 3", name="frames", k=self.net.config.frames)
        chunks = [
            self.net(torch.from_numpy(np.ascontiguousarray(frames[i : i + batch]))).double().numpy()
            for i in range(0, len(frames), batch)
        ]
        z = np.concatenate(chunks) if chunks else np.zeros((0, len(self.names)))
        # A blurred or broken picture is outside what was fitted; it must not be worth an error of kilometres.
        return np.clip(z * self.std + self.mean, *self.bounds).astype(np.float32)

    def mean_absolute_error(self, frames: NDArray[np.uint8], targets: NDArray[np.floating]) -> dict[str, float | None]:
        """{name: error in its unit} over frames (n, k, h, w, 3) and targets (n, s).

        A target at or above its cap ("nothing ahead") is left out, as is NaN; None where that leaves nothing.
        """
        expect(targets, "n s", name="targets", n=len(frames), s=len(self.names))
        return _mae(self.predict(frames), targets, _counted(targets, self.names, self.caps), self.names)


def fit_probe(
    frames: NDArray[np.uint8],
    targets: NDArray[np.floating],
    names: Sequence[str],
    *,
    seed: int,
    groups: NDArray[np.integer] | None = None,
    caps: Mapping[str, float] | None = None,
    config: ProbeConfig | None = None,
) -> Probe:
    """Fit a probe from frames (n, k, h, w, 3) uint8, k consecutive ones, oldest first, to targets (n, s).

    `groups` (n,) tells which episode a row comes from: whole episodes are held out, since neighbouring frames are
    nearly equal; without it the last rows are. `caps` {name: value} marks targets that saturate, such as a gap with
    nothing ahead: values at the cap are fitted with little weight and not scored. NaN targets are skipped. The same
    seed gives the same probe, unless `config.seconds` cuts the fit. Raises ValueError on shapes that do not fit.
    """
    config, caps = config or ProbeConfig(), dict(caps or {})
    names = tuple(names)
    expect(frames, "n k h w 3", name="frames")
    expect(targets, "n s", name="targets", n=len(frames), s=len(names))
    unknown = set(caps) - set(names)
    if unknown:
        raise ValueError(f"caps name {sorted(unknown)}, which are not among the targets {list(names)}")
    train, held_out = _split(len(frames), groups, seed)
    values = targets.astype(np.float64)
    known = values[train]
    counted = _counted(known, names, caps)
    mean, std = _moments(known, counted)
    bounds = np.stack([np.nanmin(known, axis=0), np.nanmax(known, axis=0)])
    # A capped value says only "far": enough weight to learn that, too little to bend the rest.
    weight = np.where(counted, 1.0, np.where(np.isfinite(known), 0.2, 0.0))
    goal = np.nan_to_num((known - mean) / std)
    net, steps, seconds = _train(frames, train, goal, weight, seed, config)
    probe = Probe(net, names, mean, std, bounds, caps)
    probe.fit = _score(probe, frames[held_out], values[held_out], len(train), steps, seconds)
    return probe


def _split(n: int, groups: NDArray[np.integer] | None, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted row numbers for training and for judging."""
    if groups is None:
        cut = int(round(n * (1 - HELD_OUT_SHARE)))
        held = np.arange(n) >= cut
    else:
        expect(groups, "n", name="groups", n=n)
        ids = np.random.default_rng(seed).permutation(np.unique(groups))
        held = np.isin(groups, ids[: max(1, int(round(len(ids) * HELD_OUT_SHARE)))])
    if held.all() or not held.any():
        raise ValueError(f"{n} frames of too few episodes can not be split; a probe needs at least two episodes")
    return np.flatnonzero(~held), np.flatnonzero(held)


def _counted(values: NDArray[np.floating], names: Sequence[str], caps: Mapping[str, float]) -> NDArray[np.bool_]:
    """(n, s): known and below the cap."""
    cap = np.array([caps.get(name, np.inf) for name in names])
    return np.isfinite(values) & (values < cap)


def _moments(
    values: NDArray[np.float64], counted: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not counted.any(axis=0).all():
        raise ValueError("a target has no value below its cap in the frames to fit on")
    masked = np.where(counted, values, np.nan)
    return np.nanmean(masked, axis=0), np.maximum(np.nanstd(masked, axis=0), 1e-6)


def _train(
    frames: NDArray[np.uint8],
    rows: NDArray[np.int64],
    goal: NDArray[np.float64],
    weight: NDArray[np.float64],
    seed: int,
    config: ProbeConfig,
) -> tuple[ConvNet, int, float]:
    started = time.monotonic()
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ConvNet(ConvNetConfig(frames.shape[1], goal.shape[1], config.width, config.hidden))
    net.train()
    optim = OptimConfig(
        kind="muon_all",
        lr=config.learning_rate,
        matrix_lr=config.matrix_learning_rate,
        weight_decay=config.weight_decay,
        cooldown=0.85,
    )
    optimizers = build_optimizers(optim, {"probe": net})
    for done in range(config.steps):
        if config.seconds is not None and time.monotonic() - started > config.seconds:
            return net, done, time.monotonic() - started
        pick = np.sort(rng.integers(0, len(rows), config.batch))
        loss = _loss(net, _soften(frames[rows[pick]], config.softened, rng), goal[pick], weight[pick])
        loss.backward()
        take_step(optim, optimizers, done, done / config.steps)
    return net, config.steps, time.monotonic() - started


def _soften(frames: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur and shake a share of the samples (n, k, h, w, 3), all frames of a sample alike; the others stay."""
    num = int(round(share * len(frames)))
    if not num:
        return frames
    out = frames.copy()
    # a batch has one strength, drawn anew each time: down to a third of the resolution and back
    keep = rng.uniform(0.33, 1.0)
    video = rearrange(torch.from_numpy(out[:num]).float(), "n k h w c -> (n k) c h w")
    grey = rearrange(soften(video, keep), "(n k) c h w -> n k h w c", n=num).numpy()
    grey += rng.uniform(0, 5) * rng.standard_normal(grey.shape, dtype=np.float32)
    out[:num] = np.clip(grey + 0.5, 0, 255).astype(np.uint8)
    return out


def _loss(net: ConvNet, frames: NDArray[np.uint8], goal: NDArray[np.float64], weight: NDArray[np.float64]) -> Tensor:
    target, w = torch.from_numpy(goal).float(), torch.from_numpy(weight).float()
    with torch.autocast("cpu", torch.bfloat16):
        predicted = net(torch.from_numpy(frames))
    error = F.smooth_l1_loss(predicted.float(), target, reduction="none", beta=0.5)
    return (error * w).sum() / w.sum().clamp(min=1.0)


def _score(
    probe: Probe, frames: NDArray[np.uint8], values: NDArray[np.float64], num_train: int, steps: int, seconds: float
) -> ProbeFit:
    predicted = probe.predict(frames)
    counted = _counted(values, probe.names, probe.caps)
    r2: dict[str, float | None] = {}
    for i, name in enumerate(probe.names):
        truth, guess = values[counted[:, i], i], predicted[counted[:, i], i]
        spread = float(np.square(truth - truth.mean()).sum()) if truth.size else 0.0
        r2[name] = 1.0 - float(np.square(truth - guess).sum()) / spread if spread > 0 else None
    return ProbeFit(r2, _mae(predicted, values, counted, probe.names), num_train, len(frames), steps, seconds)


def _mae(
    predicted: NDArray[np.floating],
    values: NDArray[np.floating],
    counted: NDArray[np.bool_],
    names: Sequence[str],
) -> dict[str, float | None]:
    error = np.where(counted, np.abs(predicted - values), 0.0)
    num = counted.sum(0)
    return {n: float(error[:, i].sum() / num[i]) if num[i] else None for i, n in enumerate(names)}
