"""bench scale: counted against the formula, a roofline and a power law of known answers, and the report's form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from simworld.bench.cost import Cost, cost_of, counted_flop, flop_of_frame, meta_model
from simworld.bench.roofline import Machine, frames_per_s
from simworld.bench.scale import ScaleConfig, bench_scale, with_cameras
from simworld.bench.scale_curve import CurveConfig, fit_power_law
from simworld.bench.speed import Stream
from simworld.checkpoint import load_world_model
from simworld.cli import SIZES, main, parse
from simworld.config import from_json
from simworld.latent_world_model import LatentConfig
from simworld.model.codec import CodecConfig
from simworld.nets.painter import PainterConfig
from simworld.phases import PhaseConfig


def size(name: str) -> LatentConfig:
    return from_json(LatentConfig, parse("train", [f"size={name}", "data=_", "out=_"])["train"]["latent"])


def test_the_smallest_size_is_the_default():
    assert size("S") == LatentConfig()
    with pytest.raises(SystemExit):
        main(["train", "size=L", "model=unet", "data=_", "out=_"])


@pytest.mark.parametrize("name", SIZES)
def test_counted_operations_are_those_of_the_formula(name, spec):
    model = meta_model(size(name), with_cameras(spec, *ScaleConfig().cameras[name]))
    assert counted_flop(model) == flop_of_frame(model)


def test_the_formula_knows_steps_and_pixels(spec):
    config = dataclasses.replace(size("S"), sample_steps=3, codec=CodecConfig(kind="pixels"))
    model = meta_model(config, with_cameras(spec, 2, 16, 24))
    assert counted_flop(model) == flop_of_frame(model)


def test_memory_is_that_of_a_real_stream(checkpoint):
    model = load_world_model(checkpoint, dtype=torch.bfloat16)
    cost = cost_of(model.config, model.spec, window=8)
    cache = Stream(model, 1, 8).state.cache
    assert cost.cache_bytes == sum(x.numel() * x.element_size() for pair in cache for x in pair)
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    # twice the frames keep twice the activations, and recomputing keeps fewer
    assert cost_of(model.config, model.spec, window=16).activation_bytes == pytest.approx(
        2 * cost.activation_bytes, rel=0.02
    )
    assert 0 < cost.recomputed_activation_bytes < cost.activation_bytes


def test_roofline():
    cost = Cost(0, 0, flop_per_frame=100, kernels_per_frame=8, weight_bytes=50, cache_bytes=10, activation_bytes=0,
                recomputed_activation_bytes=0)  # fmt: skip
    assert frames_per_s(cost, Machine(1000.0, 1e9, 1e9), 4) == pytest.approx(10.0)  # arithmetic is the limit
    assert frames_per_s(cost, Machine(1e9, 45.0, 1e9), 4) == pytest.approx(4 / 2.0)  # 50 + 4 x 10 bytes at 45 a second
    assert frames_per_s(cost, Machine(1e9, 1e9, 89.0), 4) is None
    assert frames_per_s(cost, Machine(1e9, 1e9, 1e9, launch_s=0.5), 4, eager=True) == pytest.approx(4 / (8 * 0.5))


def test_a_power_law_is_found_again():
    compute = np.array([1e9, 1e10, 1e11, 1e12])
    found = fit_power_law([*compute, 5e11], [*(3.0 * compute**-0.1), 9.0])  # the last is far from the frontier
    assert found["exponent"] == pytest.approx(0.1) and found["factor"] == pytest.approx(3.0)
    assert found["r2"] == pytest.approx(1.0) and found["frontier"] == [0, 1, 2, 3]
    last = found["predicted_last"]
    assert last["predicted"] == pytest.approx(last["error"])
    with pytest.raises(ValueError, match="train longer"):
        fit_power_law([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="three points"):
        fit_power_law([1.0, 2.0], [2.0, 1.0])


def test_report(canvas_checkpoint, store, tmp_path, strict):
    curve = CurveConfig(
        sizes=tuple(PainterConfig(widths=(w, w), depths=(1, 1), condition=8) for w in (4, 8, 16)),
        marks=(0.5, 1.0),
        phase=PhaseConfig(steps=100, batch=4, window=1),
        heldout_frames=8,
    )
    config = ScaleConfig(cameras={"S": (1, 64, 64)}, batches=(1, 2), seconds=0.01, matrix=64, curve=curve)
    arguments = dict(
        sizes={"S": size("S")}, checkpoint=canvas_checkpoint, data=store, heldout=store, out=tmp_path, train_min=0.01,
        config=config, report=str,
    )  # fmt: skip
    found = bench_scale(**arguments)["scale"]
    assert strict(tmp_path / "report.json") == {"scale": found}
    assert {"L4", "RTX 4090", "A100 80GB SXM", "H100 SXM", "this machine"} == set(
        found["sizes"]["S"]["frames_per_s_at_most"]
    )
    assert found["share_of_peak"]["2"]["share"] > 0
    points = found["curve"]["points"]
    assert [p["share"] for p in points] == [0.5, 1.0] * 3 and all(p["train_flop"] > 0 for p in points)
    assert (tmp_path / "curve.png").exists() and (tmp_path / "scale.png").exists()
    assert bench_scale(**arguments)["scale"]["curve"] == found["curve"]  # run again, nothing is trained anew
