"""Do actions matter? Films with each other's actions, and films steered left and right from one start."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from simworld.bench.films import PROBE_FRAMES, FidelityConfig, draw_films, imagine
from simworld.canvas_world_model import CanvasWorldModel
from simworld.data.cache import FrameCache
from simworld.data.windows import Batch
from simworld.latent_world_model import LatentWorldModel
from simworld.metrics.probe import Probe
from simworld.model.noise import NoiseStream
from simworld.world_model import WorldModel

TURN_STATE = "yaw_rate_radps"  # the state that steering moves
SWING, STEERED_STEPS = 0.5, 10


@torch.no_grad()
def shuffled_actions(model: WorldModel[Any], cache: FrameCache, config: FidelityConfig) -> dict[str, float]:
    """How many times larger the error is when films get each other's actions: `action_shuffle_ratio` for the training
    loss of one step, `action_shuffle_ratio_10` for the pixels 10 imagined frames ahead."""
    batch = draw_films(cache, dataclasses.replace(config, films=64), seed=101)
    shuffled = dataclasses.replace(batch, actions=batch.actions.roll(1, dims=0))
    k, camera = config.context, next(iter(batch.frames))
    real = batch.frames[camera][:, k + 10].numpy().astype(np.float32)
    losses, pixels = [], []
    for given in (batch, shuffled):
        if isinstance(model, CanvasWorldModel):
            losses.append(_one_step_error(model, given))
        elif isinstance(model, LatentWorldModel):
            noise = NoiseStream(torch.arange(len(given.actions)), torch.zeros(len(given.actions), dtype=torch.int64))
            latents = model.encode({c: f[:, :17] for c, f in given.frames.items()})
            shown = {c: f[:, :4] for c, f in given.frames.items()}
            with torch.autocast("cpu", torch.bfloat16):
                seen = model.belief.see_all(shown)
                losses.append(float(model.loss(latents, given.actions[:, :16], seen, noise)["frame"]))
        far = imagine(model, dataclasses.replace(given, actions=given.actions[:, : k + 10]), k)
        pixels.append(float(np.square(real - far[camera][:, -1]).mean()))
    out = {"action_shuffle_ratio_10": round(pixels[1] / pixels[0], 3)}
    return out | ({"action_shuffle_ratio": round(losses[1] / losses[0], 3)} if losses else {})


def _one_step_error(model: CanvasWorldModel, batch: Batch) -> float:
    """Mean squared error of frames 4 to 16, each drawn on recorded ones, by a belief that saw the first 4."""
    frames, camera = {c: f[:, :17] for c, f in batch.frames.items()}, next(iter(batch.frames))
    state = model.start(
        {c: f[:, :4] for c, f in frames.items()}, batch.actions[:, :3], seed=torch.arange(len(batch.actions))
    )
    errors = []
    for t in range(3, 16):
        state, drawn, *_ = model.watch(state, batch.actions[:, t])
        errors.append(np.square(drawn[camera].numpy().astype(np.float32) - frames[camera][:, t + 1].numpy()).mean())
        state = dataclasses.replace(
            state, last={c: f[:, t + 1] for c, f in frames.items()}, before={c: f[:, t] for c, f in frames.items()}
        )
    return float(np.mean(errors))


def steering(
    model: WorldModel[Any], cache: FrameCache, probe: Probe | None, config: FidelityConfig
) -> dict[str, float] | None:
    """Share of starts from which a probe tells the film steered left from the one steered right.

    Both films share their noise; the first action entry swings by SWING to either side for a second, the others stay.
    None where the probe tells no yaw rate.
    """
    if probe is None or TURN_STATE not in probe.names:
        return None
    column = probe.names.index(TURN_STATE)
    batch = draw_films(cache, config, seed=202)
    k, camera = config.context, next(iter(batch.frames))
    turned = []
    for side in (SWING, -SWING):
        actions = batch.actions[:, : k + STEERED_STEPS].clone()
        actions[:, k:] = batch.actions[:, k : k + 1]
        actions[:, k:, 0] = side
        film = imagine(model, dataclasses.replace(batch, actions=actions), k)[camera]
        turned.append(probe.predict(film[:, -PROBE_FRAMES:])[:, column])
    moving = batch.state[:, k, cache.spec.state_names.index("speed_mps")].numpy() > 2.0
    told = (turned[0] > turned[1])[moving]
    return {"told_apart": round(float(told.mean()), 3), "starts": int(moving.sum())}
