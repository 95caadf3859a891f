"""bench speed: the figures' form, and the known answers of its clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from simworld.bench.cost import counted_flop, state_bytes
from simworld.bench.simulator_speed import SimulatorWorkers
from simworld.bench.speed import (
    SpeedConfig,
    bench_speed,
    frames_per_s,
    measure_flatness,
)
from simworld.checkpoint import load_world_model

from ..test_canvas import driven_spec
from ..test_guessing import LOOKING
from ..tiny_world import CANVAS, lively_canvas


class Clock:
    """Seconds that pass only when something is done."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """A model whose step costs `cost(frame)` seconds of a fake clock."""

    def __init__(self, spec: Any, clock: Clock, cost: Any) -> None:
        self.spec, self.clock, self.cost = spec, clock, cost

    def start(self, frames: Any, actions: torch.Tensor, *, seed: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1)

    def step(self, state: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, None]:
        self.clock.now += self.cost(float(state))
        return state + 1, None


class Still(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 0, 0.0, True, False, {}


def test_a_constant_cost_is_flat_and_a_growing_one_is_not(spec):
    config = SpeedConfig(flat_at=(30, 600), flat_window=30)
    clock = Clock()
    flat = measure_flatness(Counting(spec, clock, lambda frame: 0.01), config, clock)
    assert flat["ratio"] == pytest.approx(1.0) and flat["once_through"] == pytest.approx(1.0)
    growing = measure_flatness(Counting(spec, clock, lambda frame: 1.0 + frame), config, clock)
    assert growing["ratio"] == pytest.approx((1 + 599.5) / (1 + 29.5))
    assert growing["once_through"] == pytest.approx(growing["ratio"])


def test_rate_of_a_known_cost():
    clock = Clock()

    def advance() -> None:
        clock.now += 0.25

    assert frames_per_s(advance, 8, 1.0, clock) == pytest.approx(32.0)
    assert frames_per_s(advance, 1, 0.0, clock) == pytest.approx(4.0)  # two steps at the least


def test_state_bytes_counts_every_tensor():
    assert state_bytes((torch.zeros(2, 3), {"a": torch.zeros(5, dtype=torch.uint8)}, None)) == 24 + 5


def test_flops_of_more_sampling_steps(checkpoint):
    one, two = (counted_flop(load_world_model(checkpoint, overrides={"sample_steps": k}), 4) for k in (1, 2))
    assert one < two < 2 * one  # decoding and heads are paid once


def test_simulator_workers_count_steps(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))  # a spawned worker imports this module by name
    with SimulatorWorkers(_still, 1) as workers:
        assert workers.frames_per_s(1, 0.01) > 100


def _still() -> Still:
    return Still()


def test_report(checkpoint, tmp_path, strict):
    config = SpeedConfig(rounds=2, context=2, warm_up=1, flat_at=(4, 12), flat_window=4, matrix=64)
    speed = bench_speed(
        checkpoint=checkpoint, out=tmp_path, batches=(1, 2), seconds=0.01, config=config, report=lambda line: None
    )["speed"]
    assert strict(tmp_path / "report.json") == {"speed": speed}
    assert (tmp_path / "speed.png").stat().st_size > 1000
    assert {"frames_per_s", "ratio", "vs_simulator", "flatness", "settings"} <= set(speed)
    assert set(speed["frames_per_s"]["simworld"]) == set(speed["frames_per_s"]["reference"]) == {"1", "2"}
    assert speed["vs_simulator"] is None and speed["frames_per_s"]["simulator"] is None
    fps = speed["frames_per_s"]
    assert speed["ratio"]["2"] == pytest.approx(fps["simworld"]["2"] / fps["reference"]["2"], rel=1e-2)
    assert set(speed["settings"]["form"]["reference"]) == {"1", "2"}
    assert all(np.isfinite(v) for v in speed["work"]["share_of_peak"].values())


def test_operations_of_who_looks_out_are_counted_without_anybody_to_spot() -> None:
    alone, looking = (counted_flop(lively_canvas(config, driven_spec()), 8) for config in (CANVAS, LOOKING))
    assert 0 < alone < looking
