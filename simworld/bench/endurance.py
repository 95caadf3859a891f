"""bench endurance: does a minute of imagination hold together, in look, spread, motion and control."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from simworld.bench.cost import state_bytes
from simworld.bench.features import Features, frechet_distance, image_features, principal_axes, probe_features
from simworld.bench.films import PROBE_FRAMES, FidelityConfig, fit_state_probe
from simworld.bench.obedience import actions_read, fit_control_probe, goes_on, some_actions
from simworld.checkpoint import load_world_model
from simworld.data.cache import FrameCache
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore
from simworld.episode import EpisodeSpec
from simworld.metrics.probe import Probe, ProbeConfig
from simworld.policy import Policy
from simworld.report.film import write_png
from simworld.rollout import rollout
from simworld.start_films import StartFilms
from simworld.world_model import WorldModel

Film = NDArray[np.uint8]
Numbers = dict[str, float | None]


@dataclass(frozen=True)
class EnduranceConfig:
    """`early` and `late` are the imagined frames compared, first and last, counted from 1; late None: the last 51.

    Films that go on for `control_frames` under recorded actions from frame `control_from`, and from the last one, show
    whether actions still move the picture. `real_starts` real episodes are driven by the same policy, up to a minute
    each, of which the first second is left out.
    `every` n: the look is judged on every n-th frame, since neighbours are nearly equal. `dims`: principal components
    of the real frames' features in which distributions are compared; more than the samples can fill would be noise.
    """

    context: int = 8
    seeds: tuple[int, ...] = (0, 1, 2)
    early: tuple[int, int] = (1, 50)
    late: tuple[int, int] | None = None
    control_from: int = 10
    control_frames: int = 20
    real_starts: int = 24
    every: int = 5
    dims: int = 32
    probed: tuple[str, ...] = ("speed_mps", "lateral_m", "gap_m")
    probe: ProbeConfig = ProbeConfig(steps=600)


def bench_endurance(
    *,
    checkpoint: str,
    data: Path,
    heldout: Path,
    out: Path,
    frames: int = 600,
    films: int = 16,
    make_policy: Callable[[EpisodeSpec], Policy] | None = None,
    make_real: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    config: EnduranceConfig | None = None,
    dtype: torch.dtype = torch.bfloat16,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write ``out/report.json`` with `endurance` and a strip of films; returns the report's content.

    `films` streams of each seed set out from held-out frames and run for `frames` steps, driven by a policy that sees
    the imagined frames or, without one, by recorded actions put end to end. Probes are fitted on `data`; real frames to
    compare with are those that the same policy meets in the env of `make_real`, or else those of `heldout`.
    `frechet_on` names the features that count: those of an image network, or, where its packages are absent, those of
    the state probe.
    """
    config = config or EnduranceConfig()
    model = load_world_model(checkpoint, dtype=dtype)
    cache, train = (EpisodeStore(path).cache(model.spec.cameras) for path in (heldout, data))
    policy = make_policy(model.spec) if make_policy else None
    report("fitting the probes on real frames")
    names = [n for n in config.probed if n in cache.spec.state_names]
    state = fit_state_probe(train, names, FidelityConfig(probe=config.probe)) if names else None
    control = fit_control_probe(train, config.probe) if cache.spec.action.kind == "continuous" else None
    kinds: dict[str, Features | None] = {
        "image_features": image_features(),
        "probe_features": probe_features(state) if state else None,
    }
    late = config.late or (max(1, frames - 50), frames)
    spans = {"early": config.early, "late": late}
    driven = None
    if policy is not None and make_real is not None:
        report(f"{config.real_starts} real episodes of the same policy")
        driven = driven_clips(make_real, policy, frames, config)
    runs = []
    for seed in config.seeds:
        report(f"seed {seed}: {frames} frames of {films} films")
        films_of_seed = run_films(model, heldout, frames, films, seed, policy, config.context, config.control_from)
        real = real_clips(cache, films * 50, seed) if driven is None else _some(driven, films * 50, seed)
        found = _judge(films_of_seed, real, spans, state, kinds, config)
        if control is not None:
            actions = some_actions(cache, films, config.control_frames, seed)
            found["inverse_dynamics_r2"] = _obeyed(model, films_of_seed, control, actions)
        runs.append(found)
        if seed == config.seeds[0]:
            _write_strip(out / "endurance.png", films_of_seed.film)
    known = [name for name, features in kinds.items() if features is not None]
    found = spread_of(runs) | {
        "frames": frames,
        "films": films * len(config.seeds),
        "driven_by": policy.name if policy else "recorded actions, end to end",
        "real_frames": f"driven by {policy.name}" if policy is not None and driven is not None else "held out",
        "spans": {name: list(span) for name, span in spans.items()},
        "control_from": {"early": config.control_from, "late": frames},
        "frechet_on": known[0] if known else None,
        "left_out": [name for name in kinds if name not in known],
    }
    write_json(out / "report.json", {"endurance": found})
    return {"endurance": found}


@dataclass(frozen=True)
class Films:
    """What was imagined: the first camera's film (b, t+1, h, w, 3), its first frame real; the actions (b, t, a);
    what each step took in s (t,), the bytes of the state after it (t,), and {frame: the state there} of some frames."""

    film: Film
    actions: NDArray[np.float32]
    seconds: NDArray[np.float64]
    state_bytes: NDArray[np.int64]
    states: dict[int, Any]


def run_films(
    model: WorldModel[Any],
    heldout: Path,
    frames: int,
    films: int,
    seed: int,
    policy: Policy | None,
    context: int,
    keep: int = 1,
) -> Films:
    """`films` streams side by side; the policy acts on what it is shown, frame by frame. The states at frame `keep` and
    at the last one are kept."""
    starts = StartFilms.from_store(heldout, num=films, context=context, seed=seed, cameras=model.spec.cameras)
    seeds = seed * 1_000_003 + np.arange(films)
    shown = {c: torch.from_numpy(f) for c, f in starts.frames.items()}
    state = model.start(shown, torch.from_numpy(starts.actions), seed=torch.from_numpy(seeds))
    recorded = chained_actions(EpisodeStore(heldout).cache(), films, frames, seed)
    observation = {c: f[:, -1] for c, f in starts.frames.items()}
    camera = next(iter(observation))
    film, actions, seconds, size, states = [observation[camera]], [], [], [], {}
    if policy is not None:
        policy.reset(seeds)
    for t in range(frames):
        action = recorded[:, t] if policy is None else policy.act(observation, [{} for _ in range(films)])
        started = time.perf_counter()
        state, prediction = model.step(state, torch.as_tensor(action, dtype=torch.float32))
        seconds.append(time.perf_counter() - started)
        size.append(state_bytes(state))
        if t + 1 in (keep, frames):
            states[t + 1] = state
        observation = {c: f.numpy() for c, f in prediction.frames.items()}
        film.append(observation[camera])
        actions.append(np.asarray(action, np.float32))
    return Films(np.stack(film, axis=1), np.stack(actions, axis=1), np.array(seconds), np.array(size, np.int64), states)


def chained_actions(cache: FrameCache, films: int, frames: int, seed: int) -> NDArray[np.float32]:
    """Recorded actions (films, frames, a): whole episodes in random order, put end to end."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(films):
        parts: list[NDArray[np.float32]] = []
        while sum(map(len, parts)) < frames:
            e = int(rng.integers(len(cache.first_row)))
            parts.append(cache.actions[cache.first_row[e] : cache.first_row[e] + cache.num_steps[e]])
        out.append(np.concatenate(parts)[:frames])
    return np.stack(out)


def real_clips(cache: FrameCache, num: int, seed: int) -> Film:
    """Clips (n, k, h, w, 3) of PROBE_FRAMES real frames from anywhere in the store, without repeats."""
    rows = np.flatnonzero(cache.steps_left >= PROBE_FRAMES - 1)
    chosen = np.sort(np.random.default_rng(seed).choice(rows, min(num, len(rows)), replace=False))
    return next(iter(cache.frames.values()))[chosen[:, None] + np.arange(PROBE_FRAMES)]


def driven_clips(
    make_real: Callable[[], gymnasium.Env[Any, Any]], policy: Policy, frames: int, config: EnduranceConfig
) -> Film:
    """Clips (n, k, h, w, 3) of PROBE_FRAMES frames that the policy meets in the real env, from the eleventh on."""
    env = make_real()
    try:
        seeds = range(config.real_starts)
        episodes = rollout(env, policy, seeds=seeds, max_steps=frames)
    finally:
        env.close()
    films = [next(iter(e.frames.values())) for e in episodes]
    clips = [clips_of(f[None], config.control_from, len(f) - 1) for f in films if len(f) > config.control_from + 1]
    if not clips:
        raise ValueError(f"no real episode of {policy.name} lasts longer than {config.control_from} steps")
    return np.concatenate(clips)


def _some(clips: Film, num: int, seed: int) -> Film:
    return clips[np.sort(np.random.default_rng(seed).choice(len(clips), min(num, len(clips)), replace=False))]


def clips_of(film: Film, first: int, last: int, every: int = 1) -> Film:
    """Clips (n, k, h, w, 3) of a film that end at frames `first` to `last`; those without a past are left out."""
    ends = range(max(first, PROBE_FRAMES - 1), last + 1, every)
    return np.concatenate([film[:, end - PROBE_FRAMES + 1 : end + 1] for end in ends])


def _judge(
    films: Films,
    real: Film,
    spans: dict[str, tuple[int, int]],
    state: Probe | None,
    kinds: dict[str, Features | None],
    config: EnduranceConfig,
) -> dict[str, Any]:
    clips = {name: clips_of(films.film, *span) for name, span in spans.items()}
    few = {name: clips_of(films.film, *span, every=config.every) for name, span in spans.items()}
    found: dict[str, Any] = {
        "frechet": {name: _distances(f, real, few, config.dims) for name, f in kinds.items() if f is not None},
        "probe_spread": {},
        "cost": _cost(films, spans),
    }
    if state is not None:
        spread = {k: state.predict(c).std(0) for k, c in (clips | {"real": real}).items()}
        for i, name in enumerate(state.names):
            by = {k: float(s[i]) for k, s in spread.items()}
            found["probe_spread"][name] = by | {"late_over_real": _ratio(by["late"], by["real"])}
    found["color"] = {k: color_of(c) for k, c in (clips | {"real": real}).items()}
    energy: Numbers = {k: motion_energy(c) for k, c in (clips | {"real": real}).items()}
    found["motion_energy"] = energy | {"late_over_real": _ratio(energy["late"], energy["real"])}
    return found


def _obeyed(
    model: WorldModel[Any], films: Films, probe: Probe, actions: NDArray[np.float32]
) -> dict[str, dict[str, float | None]]:
    """How well actions (b, t, a) are read off the frames that they lead to, early in the films and after the last, and
    off real frames."""
    r2: dict[str, Numbers] = {}
    for name, (frame, state) in zip(("early", "late"), sorted(films.states.items()), strict=True):
        film = np.concatenate([films.film[:, frame : frame + 1], goes_on(model, state, actions)], axis=1)
        r2[name] = actions_read(probe, film, actions)
    real = {} if probe.fit is None else probe.fit.held_out_r2
    return {
        name: {k: by[name] for k, by in r2.items()}
        | {"real": real.get(name), "ratio": _ratio(r2["late"][name], r2["early"][name])}
        for name in probe.names
    }


def _distances(features: Features, real: Film, clips: dict[str, Film], dims: int) -> Numbers:
    """Frechet distances from real frames: of each span, and, for scale, of one half of the real frames."""
    half = min(len(real) // 2, *(len(c) for c in clips.values()))
    of_real = features(real)
    axes = principal_axes(of_real, dims)
    here = of_real @ axes
    distance: Numbers = {k: frechet_distance(here, features(c) @ axes) for k, c in clips.items()}
    # as many real frames as there are imagined ones: fewer samples lie further apart by chance
    chosen = np.random.default_rng(0).permutation(len(here))[:half]
    distance["real_sample"] = frechet_distance(here, here[chosen])
    return distance | {"ratio": _ratio(distance["late"], distance["early"])}


def _cost(films: Films, spans: dict[str, tuple[int, int]]) -> dict[str, Numbers]:
    """Median seconds of a step and largest state of each span; a ratio near 1 is flat."""
    at = {name: slice(first - 1, last) for name, (first, last) in spans.items()}
    step_s: Numbers = {name: float(np.median(films.seconds[part])) for name, part in at.items()}
    size: Numbers = {name: float(films.state_bytes[part].max()) for name, part in at.items()}
    return {
        name: by | {"ratio": _ratio(by["late"], by["early"])}
        for name, by in (("step_s", step_s), ("state_bytes", size))
    }


def color_of(clips: Film) -> dict[str, dict[str, float]]:
    """Mean and standard deviation in grey levels of each channel."""
    flat = clips[:, -1].reshape(-1, 3).astype(np.float64)
    return {
        kind: dict(zip("rgb", map(float, values), strict=True))
        for kind, values in (("mean", flat.mean(0)), ("std", flat.std(0)))
    }


def motion_energy(clips: Film) -> float:
    """Mean absolute change from one frame to the next, in grey levels; 0 for a film that has frozen."""
    return float(np.abs(clips[:, -1].astype(np.int16) - clips[:, -2]).mean())


def _ratio(a: float | None, b: float | None) -> float | None:
    """a / b, None where that says nothing: no number, or a divisor that is not above 0."""
    return None if a is None or b is None or b <= 0 else a / b


def spread_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over runs of every number in the same nested place, and under "spread" its standard deviation."""

    def gather(pieces: list[Any], reduce: Callable[[list[float]], float]) -> Any:
        if isinstance(pieces[0], dict):
            return {key: gather([p[key] for p in pieces], reduce) for key in pieces[0]}
        known = [p for p in pieces if p is not None]
        return round(reduce(known), 5) if known else None

    return gather(runs, lambda v: float(np.mean(v))) | {"spread": gather(runs, lambda v: float(np.std(v)))}


def _write_strip(path: Path, film: Film) -> None:
    """Four films, thirteen frames each from the first to the last, twice enlarged."""
    steps = np.linspace(0, film.shape[1] - 1, 13).round().astype(int)
    rows = [np.concatenate([film[i, s] for s in steps], axis=1) for i in range(min(4, len(film)))]
    write_png(path, np.concatenate(rows, axis=0).repeat(2, axis=0).repeat(2, axis=1))
