"""bench scale: what each size costs, how fast it could run where, and how error falls with training compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from simworld.bench.cost import Cost, cost_of, counted_flop
from simworld.bench.plots import picture_of_table, scaling_curve
from simworld.bench.roofline import GPUS, Machine, copy_bytes_per_s, frames_per_s
from simworld.bench.scale_curve import CurveConfig, train_curve
from simworld.bench.speed import Stream, matrix_peak_gflops
from simworld.bench.speed import frames_per_s as measured_frames_per_s
from simworld.checkpoint import load_world_model
from simworld.data.files import write_json
from simworld.episode import EpisodeSpec
from simworld.latent_world_model import LatentConfig
from simworld.memory import keep_freed_memory


@dataclass(frozen=True)
class ScaleConfig:
    """`cameras` {size: (number, height, width)} that each size is meant for; `window` frames are trained on at once;
    streams that are measured set out from `context` actions."""

    cameras: Mapping[str, tuple[int, int, int]] = field(
        default_factory=lambda: {"S": (1, 64, 64), "M": (1, 128, 256), "L": (3, 256, 448), "XL": (6, 1088, 1920)}
    )
    window: int = 16
    context: int = 15
    batches: tuple[int, ...] = (1, 32)
    seconds: float = 2.0
    matrix: int = 2048
    curve: CurveConfig = CurveConfig()


def bench_scale(
    *,
    sizes: Mapping[str, LatentConfig],
    checkpoint: str,
    data: Path,
    heldout: Path,
    out: Path,
    train_min: float | None = None,
    config: ScaleConfig | None = None,
    dtype: torch.dtype = torch.bfloat16,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write ``out/report.json`` with `scale`; returns its content.

    `sizes` are of model=latent. With `train_min` three small sizes of the canvas are trained on `data` for that many
    processor minutes each, by the checkpoint's belief, and a power law is fitted to their error on `heldout`.
    """
    keep_freed_memory()
    config = config or ScaleConfig()
    model = load_world_model(checkpoint, dtype=dtype)
    peak = 1e9 * matrix_peak_gflops(dtype, config.matrix)
    here = Machine(peak, copy_bytes_per_s(), float("inf"))
    machines = GPUS | {"this machine": here}
    table = {}
    for name, size in sizes.items():
        report(f"counting size {name}")
        cost = cost_of(size, with_cameras(model.spec, *config.cameras[name]), config.window)
        table[name] = _row(cost, config, machines, name)
        report(f"{name}: {_line(table[name])}")
    found: dict[str, Any] = {
        "sizes": table,
        "this_machine": {"peak_gflops": round(peak / 1e9, 1), "copy_gb_per_s": round(here.bytes_per_s / 1e9, 1)},
        "share_of_peak": _share_of_peak(model, peak, config, report),
        "threads": torch.get_num_threads(),
        "training_window": config.window,
        "curve": None,
    }
    if train_min is not None:
        curve = train_curve(
            checkpoint=checkpoint, data=data, heldout=heldout, out=out, train_min=train_min, config=config.curve,
            report=report,
        )  # fmt: skip
        found["curve"] = curve
        scaling_curve(curve, out / "curve.png")
    write_json(out / "report.json", {"scale": found})
    _draw(table, out / "scale.png")
    return {"scale": found}


def with_cameras(spec: EpisodeSpec, number: int, height: int, width: int) -> EpisodeSpec:
    """The same world seen by other cameras."""
    return replace(spec, cameras={f"camera_{i}": (height, width) for i in range(number)})


def _row(cost: Cost, config: ScaleConfig, machines: dict[str, Machine], name: str) -> dict[str, Any]:
    number, height, width = config.cameras[name]
    rates = {
        f"frames_per_s_{kind}": {
            machine: {str(b): _round(frames_per_s(cost, figures, b, eager=kind == "eager")) for b in config.batches}
            for machine, figures in machines.items()
        }
        for kind in ("at_most", "eager")
    }
    return {"cameras": f"{number} x {height} x {width}"} | asdict(cost) | rates


def _share_of_peak(model: Any, peak: float, config: ScaleConfig, report: Callable[[str], None]) -> dict[str, Any]:
    """Which share of the matrix-product peak the given weights reach, by number of streams; measured, not projected."""
    flop, shares = counted_flop(model, config.context), {}
    for batch in config.batches:
        stream = Stream(model, batch, config.context)
        stream.advance()
        rate = measured_frames_per_s(stream.advance, batch, config.seconds)
        shares[str(batch)] = {"frames_per_s": _round(rate), "share": _round(flop * rate / peak)}
        report(f"{batch} streams: {rate:.1f} frames/s, {100 * flop * rate / peak:.0f} % of the matrix-product peak")
    return shares


def _line(row: Mapping[str, Any]) -> str:
    rates = ", ".join(f"{m} {next(iter(by.values())) or '-'}" for m, by in row["frames_per_s_eager"].items())
    return (
        f"{row['parameters'] / 1e6:.1f} M parameters, {row['flop_per_frame'] / 1e9:.4g} GFLOP a frame, "
        f"cache {row['cache_bytes'] / 1e6:.4g} MB; frames/s projected, eager: {rates}"
    )


def _draw(table: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    first = next(iter(table.values()))["frames_per_s_eager"]
    columns = ["size", "cameras", "M params", "GFLOP/frame", "weights GB", "cache GB", "train GB", "recomp. GB", *first]
    rows = []
    for name, row in table.items():
        gb = [row[k] / 1e9 for k in ("weight_bytes", "cache_bytes", "activation_bytes", "recomputed_activation_bytes")]
        rates = [next(iter(by.values())) for by in row["frames_per_s_eager"].values()]
        numbers = [row["parameters"] / 1e6, row["flop_per_frame"] / 1e9, *gb, *rates]
        rows.append([name, row["cameras"], *("-" if x is None else f"{x:.3g}" for x in numbers)])
    picture_of_table(columns, rows, path)


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
