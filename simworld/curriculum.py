"""The order in which the parts of a world model learn, each a phase that can be resumed."""

from __future__ import annotations

from typing import Any

import torch

from simworld.believing import BelievingWorldModel
from simworld.canvas_world_model import CanvasWorldModel
from simworld.data.cache import FrameCache
from simworld.data.files import read_json, write_json
from simworld.fit import Run, fit, processor_s
from simworld.latent_world_model import LatentWorldModel
from simworld.model.codec import ConvCodec
from simworld.model.lookout import Lookout
from simworld.model.overview import Overview
from simworld.phases import (
    BeliefPhase,
    CanvasPhase,
    CloseUpsPhase,
    CodecPhase,
    ConsequencesPhase,
    DynamicsPhase,
    ForecastPhase,
    LookoutPhase,
    OdometryPhase,
    ReckoningPhase,
    ReferencePhase,
    TouchPhase,
    TracksPhase,
    TrustPhase,
    encode_all,
)
from simworld.recipe import TrainConfig
from simworld.reference_world_model import ReferenceWorldModel

FEW = 20  # episodes, fewer than which are not worth setting aside


def train_believing(
    model: BelievingWorldModel[Any],
    config: TrainConfig,
    cache: FrameCache,
    run: Run,
    interventions: tuple[FrameCache, ...] = (),
) -> dict[str, float]:
    """Lookout, tracks, close-ups, belief, reckoning, forecast, touch, consequences, then what draws its frames (for
    `latent` a codec first and all latents between), then trust; returns processor seconds by phase."""
    cache, aside = cache.parted(config.aside, FEW)
    parted = [other.parted(config.aside, FEW) for other in interventions]
    drawn, drawn_aside = (tuple(parts[i] for parts in parted) for i in (0, 1))
    seen, unseen = _parted_for_touch(model, config, cache)
    budget_s = None if config.budget_min is None else 60 * config.budget_min
    cpu_s: dict[str, float] = {}
    if isinstance(model, LatentWorldModel) and isinstance(model.codec, ConvCodec) and config.init is None:
        codec = CodecPhase(model, cache, config.codec, config.codec_optim, config.seed, run)
        cpu_s["codec"] = fit(codec, run, budget_s=None if budget_s is None else config.codec_share * budget_s)
        codec.finish()
    if isinstance(model, CanvasWorldModel) and model.lookout is not None:
        share_s = None if budget_s is None else config.lookout_share * budget_s
        cpu_s |= _look_out(model, config, seen, unseen, run, share_s)
    if config.belief.steps:
        _measure_outcomes(model, seen)
        belief = BeliefPhase(model, seen, config.belief, config.belief_optim, config.seed, run)
        cpu_s["belief"] = fit(belief, run, budget_s=None if budget_s is None else config.belief_share * budget_s)
    if isinstance(model, CanvasWorldModel):
        cpu_s |= _go_on(model, config, unseen, run, drawn)
    if isinstance(model, CanvasWorldModel) and config.paint.steps:
        paint = CanvasPhase(model, cache, config.paint, config.paint_optim, config.seed, run)
        cpu_s["paint"] = fit(paint, run, budget_s=None if budget_s is None else budget_s - sum(cpu_s.values()))
    if isinstance(model, LatentWorldModel) and config.dynamics.steps:
        latents, cpu_s["encode"] = _encoded(model, cache, run)
        dynamics = DynamicsPhase(model, cache, config.dynamics, config.dynamics_optim, config.seed, run, latents)
        cpu_s["dynamics"] = fit(dynamics, run, budget_s=None if budget_s is None else budget_s - sum(cpu_s.values()))
    if config.trust.steps:
        num = config.trust_windows
        trust = TrustPhase(model, aside, config.trust, config.trust_optim, config.seed, run, num, others=drawn_aside)
        cpu_s["trust"] = fit(trust, run)
        trust.finish()
    return cpu_s


def _look_out(
    model: CanvasWorldModel, config: TrainConfig, seen: FrameCache, unseen: FrameCache, run: Run, budget_s: float | None
) -> dict[str, float]:
    """What measures the ego's motion, and the lookout, then, unless it is an overview, tracks and close-ups on what it
    says of episodes that it never saw."""
    cpu_s: dict[str, float] = {}
    if model.odometry is not None and config.odometry.steps:
        odometry = OdometryPhase(model, seen, config.odometry, config.odometry_optim, config.seed, run)
        cpu_s["odometry"] = fit(odometry, run)
    if config.lookout.steps:
        if isinstance(model.lookout, Overview):
            model.lookout.measure(torch.tensor(seen.actors[::7]))
        lookout = LookoutPhase(model, seen, config.lookout, config.lookout_optim, config.seed, run)
        cpu_s["lookout"] = fit(lookout, run, budget_s=budget_s)
    if isinstance(model.lookout, Lookout) and config.tracks.steps:
        tracks = TracksPhase(model, unseen, config.tracks, config.tracks_optim, config.seed, run, config.touch_windows)
        cpu_s["tracks"] = fit(tracks, run)
    if isinstance(model.lookout, Lookout) and config.closeups.steps:
        num = config.touch_windows
        closeups = CloseUpsPhase(model, unseen, config.closeups, config.closeups_optim, config.seed, run, num)
        cpu_s["closeups"] = fit(closeups, run)
    return cpu_s


def _go_on(
    model: CanvasWorldModel, config: TrainConfig, unseen: FrameCache, run: Run, drawn: tuple[FrameCache, ...]
) -> dict[str, float]:
    """How the state and the others go on, and what comes of it, where the belief rolls on what it never saw."""
    cpu_s: dict[str, float] = {}
    num = config.reckoning_windows
    reckoning = ReckoningPhase(
        model, unseen, config.reckoning, config.reckoning_optim, config.seed, run, num, others=drawn
    )
    if model.reckoning is not None and config.reckoning.steps:
        cpu_s["reckoning"] = fit(reckoning, run)
        reckoning.finish()
    if model.forecast is not None and config.forecast.steps:
        forecast = ForecastPhase(
            model, unseen, config.forecast, config.forecast_optim, config.seed, run, windows=reckoning
        )
        cpu_s["forecast"] = fit(forecast, run)
    num, met = config.touch_windows, torch.tensor(unseen.actors[::7])
    touch = TouchPhase(model, unseen, config.touch, config.touch_optim, config.seed, run, num, others=drawn)
    if model.touch is not None and config.touch.steps:
        for mind in model.touch.minds:
            mind.tokens.measure(met)
        cpu_s["touch"] = fit(touch, run)
        touch.finish()
    if model.consequences is not None and config.consequences.steps:
        if model.consequences.guesses is not None:
            model.consequences.guesses.measure(met)
        consequences = ConsequencesPhase(
            model, unseen, config.consequences, config.consequences_optim, config.seed, run, windows=touch
        )
        cpu_s["consequences"] = fit(consequences, run)
        consequences.finish()
    return cpu_s


def _parted_for_touch(
    model: BelievingWorldModel[Any], config: TrainConfig, cache: FrameCache
) -> tuple[FrameCache, FrameCache]:
    """What lookout and belief learn from, and what reckoning and touch do: all episodes where one learns without the
    other."""
    after = isinstance(model, CanvasWorldModel) and any(
        part is not None and phase.steps
        for part, phase in (
            (model.reckoning, config.reckoning),
            (model.touch, config.touch),
            (model.consequences, config.consequences),
        )
    )
    if not after or not config.belief.steps:
        return cache, cache
    return cache.parted(config.touch_aside, FEW)


def _encoded(model: LatentWorldModel, cache: FrameCache, run: Run) -> tuple[dict[str, Any], float]:
    """Latents of all frames, and the processor seconds that they took when they were made."""
    mark_s, path = processor_s(), run.folder / "encode.json"
    latents = encode_all(model, cache, run)
    if run.rank == 0 and not path.exists():
        write_json(path, {"cpu_s": round(processor_s() - mark_s, 2)})
    run.barrier()
    return latents, float(read_json(path)["cpu_s"])


def train_reference(model: ReferenceWorldModel, config: TrainConfig, cache: FrameCache, run: Run) -> dict[str, float]:
    model.to_dtype(torch.float32)
    _measure_outcomes(model, cache)
    phase = ReferencePhase(model, cache, config.reference, config.reference_optim, config.seed, run)
    return {"reference": fit(phase, run, budget_s=None if config.budget_min is None else 60 * config.budget_min)}


def _measure_outcomes(model: BelievingWorldModel[Any] | ReferenceWorldModel, cache: FrameCache) -> None:
    """Reward's and state's mean and spread, the actors' scales, and how often each event ended the episode."""
    reward = torch.from_numpy(cache.reward[cache.steps_left >= 0])
    model.heads.reward_mean.copy_(reward.mean())
    model.heads.reward_std.copy_(reward.std().clamp(min=1e-3))
    if model.heads.sizes["state"]:
        state = torch.tensor(cache.state).double()
        model.heads.state_mean.copy_(state.mean(0))
        model.heads.state_std.copy_(state.std(0).clamp(min=1e-3))
    if isinstance(model, BelievingWorldModel):
        drawing = [model.dynamics.actors] if isinstance(model, LatentWorldModel) else []
        for told in (*drawing, model.belief.actors, model.belief.guesses):
            if told is not None:
                told.measure(torch.tensor(cache.actors[::7]))
    events = [o.name for o in cache.spec.outcomes if o.kind == "event"]
    for i, name in enumerate(events):
        ends = cache.terminated[cache.steps_to_event[name] == 0]
        if len(ends):
            model.heads.p_ends_given_event[i] = float(ends.mean())
