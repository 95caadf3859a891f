"""bench speed: frames per second of the world model, of the reference and of the simulator, taken in one run."""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
from torch import Tensor

from simworld.bench.cost import counted_flop, state_bytes
from simworld.bench.plots import speed_bars
from simworld.bench.simulator_speed import SimulatorWorkers
from simworld.checkpoint import load_world_model
from simworld.data.files import write_json
from simworld.episode import EpisodeSpec
from simworld.fused import fuse
from simworld.memory import keep_freed_memory
from simworld.reference_world_model import ReferenceWorldConfig, ReferenceWorldModel
from simworld.world_model import WorldModel

Clock = Callable[[], float]


@dataclass(frozen=True)
class SpeedConfig:
    """`rounds` of every measurement in turn (A B A B ...), of which the median counts.

    context   real actions before a stream starts; the first measured frames then cost what all later ones do
    warm_up   steps of each stream before its clock starts
    flat_at   the two frames whose cost is compared, each over the `flat_window` frames around it, in one stream
    matrix    side of the square matrices whose product gives the machine's peak
    """

    rounds: int = 3
    context: int = 16
    warm_up: int = 3
    flat_at: tuple[int, int] = (30, 600)
    flat_window: int = 30
    matrix: int = 2048


class Stream:
    """b streams of a world model under random actions; `advance` imagines one frame of each."""

    def __init__(self, model: WorldModel[Any], batch: int, context: int) -> None:
        spec, generator = model.spec, torch.Generator().manual_seed(0)
        self.model, self.batch = model, batch
        frames = {
            c: torch.randint(0, 256, (batch, context + 1, h, w, 3), generator=generator, dtype=torch.uint8)
            for c, (h, w) in spec.cameras.items()
        }
        given = some_actions(spec, (batch, context), generator)
        self.state = model.start(frames, given, seed=torch.arange(batch))
        self.action = some_actions(spec, (batch,), generator)

    def advance(self) -> None:
        self.state, _ = self.model.step(self.state, self.action)


def some_actions(spec: EpisodeSpec, lead: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random actions (*lead, a) as episodes store them."""
    uniform = torch.rand(*lead, spec.action.size, generator=generator)
    if spec.action.kind == "discrete":
        return (uniform * spec.action.n).floor()
    low, high = torch.tensor(spec.action.low), torch.tensor(spec.action.high)
    return low + uniform * (high - low)


def bench_speed(
    *,
    checkpoint: str = "driving",
    out: Path,
    batches: tuple[int, ...] = (1, 8, 32),
    seconds: float = 5.0,
    make_simulator: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    workers: int | None = None,
    dtype: torch.dtype = torch.bfloat16,
    compiled: bool = False,
    config: SpeedConfig | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write ``out/report.json`` with `speed`; returns its content.

    Each figure is the median over rounds of `seconds` each; all kinds take turns within a round, because the
    machine's own speed varies. Both models run in the fastest of their forms, each of which is tried first; `compiled`
    adds compiled ones, which takes some minutes for each of `batches`. The reference has random weights, which cost
    what trained ones do. The simulator, made by `make_simulator` in `workers` processes (all cores by default), is not
    charged for its resets.
    """
    keep_freed_memory()
    config, workers = config or SpeedConfig(), workers or os.cpu_count() or 1
    model = load_world_model(checkpoint, dtype=dtype)
    forms: dict[str, dict[str, WorldModel[Any]]] = {
        "simworld": {str(dtype).removeprefix("torch."): model},
        "reference": _reference_forms(model.spec),
    }
    chosen: dict[str, dict[int, str]] = {}
    for kind, of in forms.items():
        if compiled:
            name, newest = list(of.items())[-1]
            of[f"{name}, compiled"] = fuse(copy.deepcopy(newest))
        report(f"choosing the fastest form of {kind}" + ", compiled for every batch" * compiled)
        chosen[kind] = {b: _fastest_form(of, b, config) for b in batches}
    kinds = {kind: {b: forms[kind][name] for b, name in by_batch.items()} for kind, by_batch in chosen.items()}
    rates, simulator = _rounds(kinds, make_simulator, workers, seconds, config, report)
    report(f"cost of frame {config.flat_at[1]} beside frame {config.flat_at[0]}")
    flat = measure_flatness(kinds["simworld"].get(1, model), config)
    fps = {kind: {str(b): statistics.median(r) for b, r in by_batch.items()} for kind, by_batch in rates.items()}
    plain = {kind: next(iter(of.values())) for kind, of in forms.items()}
    both = {n: statistics.median(r) for n, r in simulator.items()}
    all_cores = both.get(workers)
    peak = {str(d).removeprefix("torch."): matrix_peak_gflops(d, config.matrix) for d in (torch.float32, dtype)}
    speed = {
        "frames_per_s": _rounded(fps) | {"simulator": _round(all_cores), "simulator_one_core": _round(both.get(1))},
        "ratio": {str(b): _round(fps["simworld"][str(b)] / fps["reference"][str(b)]) for b in batches},
        "vs_simulator": _round(fps["simworld"][str(max(batches))] / all_cores) if all_cores else None,
        "flatness": _round(flat["ratio"]),
        "flatness_detail": flat,
        "work": _work(plain, fps, peak, str(dtype).removeprefix("torch."), config),
        "rounds": _rounded(rates | {"simulator": simulator}),
        "settings": {
            "checkpoint": str(checkpoint),
            "dtype": str(dtype).removeprefix("torch."),
            "sample_steps": getattr(model.config, "sample_steps", None),
            "reference": "published configuration, random weights, same cameras and actions",
            "form": {kind: {str(b): form for b, form in of.items()} for kind, of in chosen.items()},
            "simulator_workers": workers if make_simulator else None,
            "seconds": seconds,
            "threads": torch.get_num_threads(),
            "load_average": _round(os.getloadavg()[0]),
        }
        | asdict(config)
        | {"flat_at": list(config.flat_at)},
    }  # fmt: skip
    write_json(out / "report.json", {"speed": speed})
    speed_bars(speed, out / "speed.png")
    return {"speed": speed}


def _reference_forms(spec: EpisodeSpec) -> dict[str, WorldModel[Any]]:
    eager = ReferenceWorldModel(ReferenceWorldConfig(), spec).eval().requires_grad_(False)
    fast = copy.deepcopy(eager).to_dtype(torch.bfloat16)
    return {"float32 eager": eager, "bfloat16 autocast, channels_last": fast}


def _fastest_form(forms: dict[str, WorldModel[Any]], batch: int, config: SpeedConfig) -> str:
    streams = {name: Stream(model, batch, config.context) for name, model in forms.items()}
    for stream in streams.values():
        stream.advance()
    taken: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(3):
        for name, stream in streams.items():
            taken[name].append(_time(stream.advance, time.perf_counter))
    return min(taken, key=lambda name: min(taken[name]))


def _rounds(
    kinds: dict[str, dict[int, WorldModel[Any]]],
    make_simulator: Callable[[], gymnasium.Env[Any, Any]] | None,
    workers: int,
    seconds: float,
    config: SpeedConfig,
    report: Callable[[str], None],
) -> tuple[dict[str, dict[int, list[float]]], dict[int, list[float]]]:
    """Frames/s of every round: {kind: {batch: rates}}, and {number of cores: rates} of the simulator."""
    batches = list(kinds["simworld"])
    streams = {(kind, b): Stream(m[b], b, config.context) for kind, m in kinds.items() for b in batches}
    for stream in streams.values():
        for _ in range(config.warm_up):
            stream.advance()
    rates: dict[str, dict[int, list[float]]] = {kind: {b: [] for b in batches} for kind in kinds}
    simulator: dict[int, list[float]] = {}
    with SimulatorWorkers(make_simulator, workers if make_simulator else 0) as simulators:
        for number in range(config.rounds):
            for b in batches:
                for kind in kinds:
                    rates[kind][b].append(frames_per_s(streams[kind, b].advance, b, seconds))
            for n in sorted({1, workers}) if make_simulator else ():
                simulator.setdefault(n, []).append(simulators.frames_per_s(n, seconds))
            line = ", ".join(f"{kind} {b}: {r[b][-1]:.1f}" for kind, r in rates.items() for b in batches)
            report(f"round {number + 1} of {config.rounds}, frames/s: {line}" + _simulator_line(simulator))
    return rates, simulator


def _simulator_line(simulator: dict[int, list[float]]) -> str:
    return "".join(f", simulator on {n}: {rates[-1]:.1f}" for n, rates in simulator.items())


def frames_per_s(advance: Callable[[], None], batch: int, seconds: float, clock: Clock = time.perf_counter) -> float:
    """Frames of `batch` streams per second, over at least `seconds` and two steps."""
    started, steps = clock(), 0
    while (passed := clock() - started) < seconds or steps < 2:
        advance()
        steps += 1
    return batch * steps / passed


def measure_flatness(model: WorldModel[Any], config: SpeedConfig, clock: Clock = time.perf_counter) -> dict[str, Any]:
    """What frame `flat_at[1]` of one stream costs beside frame `flat_at[0]`: median seconds, their ratio, the states.

    The stream runs through once; since steps are pure, its frames around both places are then imagined again in
    turn, so that a change in the machine's own speed meets both alike. `once_through` is the ratio without that.
    """
    early, late = (max(0, at - config.flat_window // 2) for at in config.flat_at)
    stream = Stream(model, 1, 0)
    kept: dict[int, Any] = {}
    taken: list[float] = []
    for frame in range(late + config.flat_window):
        if frame in (early, late):
            kept[frame] = stream.state
        taken.append(_time(stream.advance, clock))
    again: dict[int, list[float]] = {early: [], late: []}
    at = dict(kept)
    for _ in range(config.flat_window):
        for frame in (early, late):
            stream.state = at[frame]
            again[frame].append(_time(stream.advance, clock))
            at[frame] = stream.state
    seconds = {f: statistics.median(t) for f, t in again.items()}
    passing = {f: statistics.median(taken[f : f + config.flat_window]) for f in (early, late)}
    return {
        "ratio": seconds[late] / seconds[early],
        "once_through": passing[late] / passing[early],
        "seconds": {str(at): seconds[f] for at, f in zip(config.flat_at, (early, late), strict=True)},
        "state_bytes": {str(at): state_bytes(kept[f]) for at, f in zip(config.flat_at, (early, late), strict=True)},
    }


def matrix_peak_gflops(dtype: torch.dtype, side: int, repeats: int = 8) -> float:
    """The best of some products of two square matrices, in GFLOP/s."""
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    a @ b
    best = min(_time(lambda: torch.mm(a, b), time.perf_counter) for _ in range(repeats))
    return 2 * side**3 / best / 1e9


def _work(
    models: dict[str, WorldModel[Any]],
    fps: dict[str, dict[str, float]],
    peak: dict[str, float],
    dtype: str,
    config: SpeedConfig,
) -> dict[str, Any]:
    """What a frame costs, decoding included, and which share of its dtype's matrix-product peak the model reaches."""
    gflop = {kind: counted_flop(model, config.context) / 1e9 for kind, model in models.items()}
    share = {b: gflop["simworld"] * rate / peak[dtype] for b, rate in fps["simworld"].items()}
    return {"peak_gflops": _rounded(peak), "gflop_per_frame": _rounded(gflop), "share_of_peak": _rounded(share)}


def _time(run: Callable[[], Any], clock: Clock) -> float:
    started = clock()
    run()
    return clock() - started


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _rounded(v) for k, v in value.items()}
    return [_round(v) for v in value] if isinstance(value, list) else _round(value)
