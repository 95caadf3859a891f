"""How far imagination agrees with MuJoCo on what braking changes, over generated scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simworld.metrics.calibration import auroc
from simworld.metrics.statistics import wilson
from simworld.policy import Policy
from simworld.replay.generate import GenerateConfig, generate
from simworld.replay.imagined import CRASH_P, Branch, Lane, imagine_lanes, start_lane
from simworld.replay.result import Replay
from simworld.replay.run import ReplayConfig, Run, open_world
from simworld.scenario import Scenario
from simworld.world_model import WorldModel

FUTURES = ("go on", "brake")


@dataclass(frozen=True)
class AgreementConfig:
    """`num` scenarios, each branched at `at_s` into going on and braking."""

    num: int = 100
    at_s: float = 2.0
    seed: int = 0
    context: int = 8
    batch: int = 32  # streams imagined at a time
    generate: GenerateConfig = field(default_factory=GenerateConfig)

    def __post_init__(self) -> None:
        if self.num < 1 or not 0.1 <= self.at_s < self.generate.duration_s:
            raise ValueError(f"num must be at least 1 and at_s within the scenario, got {self.num} and {self.at_s:g}")


def agreement(
    model: WorldModel[Any],
    brake: Policy,
    config: AgreementConfig | None = None,
    *,
    say: Callable[[object], None] = lambda line: None,
) -> dict[str, Any]:
    """Every scenario's futures in both worlds, and how often they agree on whether the ego collides."""
    config = config or AgreementConfig()
    rows: list[dict[str, Any]] = []
    pairs: list[tuple[Run, Lane]] = []
    for index in range(config.num):
        scenario = generate(config.seed, index, config.generate)
        trunk, real = _real(scenario, brake, config, model.spec.cameras)
        step = len(trunk.recording.actions)
        for label, replay, driver in zip(FUTURES, real, (None, brake), strict=True):
            rows.append(_row(scenario, label, replay))
            pairs.append((trunk, start_lane(Branch(label, scenario, driver), trunk, step)))
        if (index + 1) % 20 == 0:
            say(f"{index + 1} of {config.num} scenarios in MuJoCo")
    for first in range(0, len(pairs), config.batch):
        part = pairs[first : first + config.batch]
        dreams = imagine_lanes(
            model,
            [run for run, _ in part],
            [lane for _, lane in part],
            config.generate.duration_s,
            from_step=step,
            context=min(config.context, step),
            seed=config.seed,
        )
        for row, dream in zip(rows[first : first + config.batch], dreams, strict=True):
            row |= {"imagined": bool(dream.collisions), "p_imagined": dream.extra["imagined"]["p_collision"]}
        say(f"{first + len(part)} of {len(pairs)} futures imagined")
    return summarise(rows, config)


def _real(
    scenario: Scenario, brake: Policy, config: AgreementConfig, cameras: Mapping[str, tuple[int, int]]
) -> tuple[Run, list[Replay]]:
    settings = ReplayConfig(film=False, frames=True, cameras=cameras, seed=config.seed)
    world = open_world(scenario, settings, live=False)
    try:
        trunk = Run(world, scenario, None, settings)
        trunk.to(config.at_s)
        moment = world.snapshot()
        futures = []
        for driver in (None, brake):
            run = trunk.fork(world, scenario, moment)
            run.config = ReplayConfig(film=False, seed=config.seed)
            if driver is not None:
                run.hand_over(driver)
            run.to(config.generate.duration_s)
            futures.append(run.result("mujoco"))
    finally:
        world.close()
    return trunk, futures


def _row(scenario: Scenario, label: str, replay: Replay) -> dict[str, Any]:
    hit = replay.ego_collision()
    return {
        "scenario": scenario.name,
        "partner": scenario.actors[1].kind,
        "future": label,
        "mujoco": hit is not None,
        "t_s": None if hit is None else round(hit.t_s, 3),
    }


def summarise(rows: list[dict[str, Any]], config: AgreementConfig) -> dict[str, Any]:
    """Shares over all futures and over each kind of future, with Wilson intervals; and whether braking's effect agrees.

    `collision` goes by the contact of the imagined ego with the told actors, `collision_by_heads` by the model's own
    probability. `effect` counts the scenarios in which both worlds give the same pair of answers; `auroc` says how
    well the imagined probability of a collision ranks the futures, 0.5 being chance, None where MuJoCo knows one
    answer only.
    """

    def share(hits: list[bool]) -> dict[str, Any]:
        rate = wilson(sum(hits), len(hits))
        return {"share": sum(hits) / len(hits), "low": rate.low, "high": rate.high, "num": len(hits)}

    same = [row["mujoco"] == row["imagined"] for row in rows]
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    effect = [all(row["mujoco"] == row["imagined"] for row in pair) for pair in pairs]
    by_future = {}
    for label in FUTURES:
        own = [row for row in rows if row["future"] == label]
        by_future[label] = share([row["mujoco"] == row["imagined"] for row in own]) | {
            "mujoco_collides": sum(row["mujoco"] for row in own) / len(own),
            "imagined_collides": sum(row["imagined"] for row in own) / len(own),
            "mean_p_imagined": float(np.mean([row["p_imagined"] for row in own])),
        }
    hits = [row["mujoco"] for row in rows]
    always = max(np.mean(hits), 1 - np.mean(hits))
    return {
        "num_scenarios": len(pairs),
        "branch_at_s": config.at_s,
        "seed": config.seed,
        "collision": share(same),
        "collision_by_heads": share([row["mujoco"] == (row["p_imagined"] >= CRASH_P) for row in rows]),
        "effect": share(effect),
        "always_the_commoner_answer": float(always),
        "auroc": auroc(hits, [row["p_imagined"] for row in rows]) if len(set(hits)) == 2 else None,
        "futures": by_future,
        "rows": rows,
    }
