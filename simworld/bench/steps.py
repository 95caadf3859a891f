"""bench steps: quality and speed of the same weights at different numbers of network passes per frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from simworld.bench.films import FidelityConfig, draw_films, fit_state_probe, imagine, score, table
from simworld.bench.plots import horizon_lines, picture_of_table
from simworld.checkpoint import load_world_model
from simworld.data.files import write_json
from simworld.data.store import EpisodeStore

SHORT = FidelityConfig(films=16, horizons=(1, 10, 30))  # fifteen passes per frame, so fewer frames


def bench_steps(
    *,
    checkpoint: str,
    data: Path,
    heldout: Path,
    out: Path,
    steps: tuple[int, ...] = (1, 2, 4, 8),
    config: FidelityConfig | None = None,
    dtype: torch.dtype = torch.bfloat16,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Write ``out/report.json`` with `steps`; returns its content.

    Every number of steps imagines the same films of `heldout` from the same noise; the state probe is fitted on
    `data`. `frames_per_s` is the best over seeds, at as many streams as there are films. `against_most` compares
    with the largest number of steps: PSNR lost in dB, and the relative growth of each state's error.
    """
    config = config or SHORT
    models = {str(k): load_world_model(checkpoint, dtype=dtype, overrides={"sample_steps": k}) for k in steps}
    cameras = next(iter(models.values())).spec.cameras
    cache, train = (EpisodeStore(path).cache(cameras) for path in (heldout, data))
    names = [n for n in config.probed if n in cache.spec.state_names]
    report("fitting the state probe on real frames")
    probe = fit_state_probe(train, names, config) if names else None
    columns = [cache.spec.state_names.index(n) for n in names]
    scores: dict[str, list[dict[str, dict[int, float]]]] = {k: [] for k in models}
    rates: dict[str, list[float]] = {k: [] for k in models}
    for seed in config.seeds:
        batch = draw_films(cache, config, seed)
        for k, model in models.items():
            started = time.perf_counter()
            imagined = imagine(model, batch, config.context)
            rates[k].append(config.films * max(config.horizons) / (time.perf_counter() - started))
            scores[k].append(score(batch, imagined, probe, columns, config))
            report(f"seed {seed}, {k} steps: {rates[k][-1]:.1f} frames/s")
    found = table(scores) | {
        "frames_per_s": {k: round(max(r), 2) for k, r in rates.items()},
        "films": config.films * len(config.seeds),
    }
    found["against_most"] = against_most(found, str(max(steps)))
    write_json(out / "report.json", {"steps": found})
    _draw(found, out, cache.spec.dt_s)
    return {"steps": found}


def against_most(found: dict[str, Any], most: str) -> dict[str, Any]:
    """{steps: {"psnr_loss_db": {horizon: dB}, "error_growth": {state: {horizon: share}}}} beside `most` steps."""
    psnr, errors = found["psnr"], found["state_error"]
    return {
        k: {
            "psnr_loss_db": {h: round(psnr[most][h] - value, 4) for h, value in psnr[k].items()},
            "error_growth": {
                name: {h: round(e / by[most][h] - 1, 4) for h, e in by[k].items() if by[most].get(h)}
                for name, by in errors.items()
            },
        }
        for k in psnr
    }


def _draw(found: dict[str, Any], out: Path, dt_s: float) -> None:
    psnr, errors = found["psnr"], found["state_error"]
    named = {f"{k} step{'s' if k != '1' else ''}": by for k, by in psnr.items()}
    horizon_lines(named, out / "psnr.png", label="PSNR (dB)", dt_s=dt_s)
    horizons = list(next(iter(psnr.values())))
    last = horizons[-1]
    columns = ["steps", "frames/s", *(f"dB at {h}" for h in horizons), *(f"{n} at {last}" for n in errors)]
    rows = [
        [k, found["frames_per_s"][k], *by.values(), *(errors[n][k].get(last) for n in errors)]
        for k, by in psnr.items()
    ]  # fmt: skip
    picture_of_table(columns, rows, out / "steps.png")
