"""A store of more cameras than a model has serves its benches as one of the same cameras does."""

from __future__ import annotations

from simworld.bench.endurance import EnduranceConfig, bench_endurance
from simworld.bench.fidelity import bench_fidelity
from simworld.bench.films import FidelityConfig
from simworld.bench.foresight import OutcomesConfig
from simworld.bench.outcomes import bench_outcomes
from simworld.bench.steps import bench_steps
from simworld.metrics.probe import ProbeConfig

PROBE = ProbeConfig(steps=2, batch=8, width=8, hidden=8)
FILMS = FidelityConfig(films=2, seeds=(0,), context=4, horizons=(1, 10), probe=PROBE)


def test_films(checkpoint, store, wider_store, tmp_path):
    for bench in (bench_fidelity, bench_steps):
        name = bench.__name__.removeprefix("bench_")
        given = {"checkpoint": checkpoint, "out": tmp_path, "config": FILMS, "report": str}
        one, other = (bench(data=path, heldout=path, **given)[name] for path in (store, wider_store))
        assert one["psnr"] == other["psnr"] and one["state_error"] == other["state_error"]


def test_endurance(checkpoint, store, wider_store, tmp_path):
    config = EnduranceConfig(
        context=4,
        seeds=(0,),
        early=(1, 4),
        late=(9, 12),
        control_from=3,
        control_frames=4,
        probe=PROBE,
    )
    given = {"checkpoint": checkpoint, "out": tmp_path, "frames": 12, "films": 3, "config": config, "report": str}
    one, other = (bench_endurance(data=p, heldout=p, **given)["endurance"] for p in (store, wider_store))
    for name in ("color", "probe_spread", "inverse_dynamics_r2"):
        assert one[name] == other[name]


def test_outcomes(checkpoint, store, wider_store, tmp_path):
    config = OutcomesConfig(
        context=4, horizon=10, batch=8, num_resamples=10, probe=PROBE, trust_windows=8, ordinary_windows=16
    )
    given = {"checkpoint": checkpoint, "out": tmp_path, "windows": 12, "config": config, "report": str}
    one, other = (bench_outcomes(data=p, heldout=p, **given)["outcomes"] for p in (store, wider_store))
    for name in ("auroc_3s", "trust", "baselines"):
        assert one[name] == other[name]
