"""What if: several futures from one moment of a replay, in MuJoCo and in imagination, and what each comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from simworld.metrics.driving import ScoreSettings, score_episode
from simworld.policy import Policy
from simworld.replay.changes import Change, changed, led_anew, same_bodies
from simworld.replay.imagined import Branch, imagine
from simworld.replay.page import Table
from simworld.replay.result import Replay
from simworld.replay.run import ReplayConfig, Run, duration_of, open_world
from simworld.scenario import Scenario
from simworld.world_model import WorldModel

AS_IT_WAS = "as it was"


@dataclass(frozen=True)
class Variant:
    """One future: who drives the ego from the branch on (None: whoever did before), and changes of other actors."""

    label: str
    driver: Policy | None = None
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Futures:
    """All futures from one moment: in MuJoCo and, where a model was given, imagined; in the order of the variants."""

    at_s: float
    variants: tuple[Variant, ...]
    real: list[Replay]
    imagined: list[Replay]


def branch(
    scenario: Scenario,
    variants: Sequence[Variant],
    at_s: float,
    *,
    driver: Policy | None = None,
    config: ReplayConfig | None = None,
    model: WorldModel[Any] | None = None,
    context: int = 8,
) -> Futures:
    """Run to `at_s`, then every variant from that one state; `driver` is the ego's before the branch, None the log."""
    config = config or ReplayConfig()
    duration_s = duration_of(scenario, config)
    dt_s = 0.1
    if not dt_s <= at_s < duration_s - dt_s:
        raise ValueError(f"branch_at {at_s:g} must lie between {dt_s:g} s and the end at {duration_s:g} s")
    if model is not None:
        config = replace(config, frames=True, cameras=model.spec.cameras)
    # All futures are asked for before any time is spent on one.
    futures = [changed(scenario, v.changes, at_s, duration_s) for v in variants]
    world = open_world(scenario, config, live=True)
    try:
        trunk = Run(world, scenario, driver, config)
        trunk.to(at_s)
        moment = world.snapshot()
        real = [_future(trunk, v, f, moment, duration_s, config) for v, f in zip(variants, futures, strict=True)]
        imagined = [] if model is None else _imagined(trunk, variants, futures, duration_s, model, context)
    finally:
        world.close()
    return Futures(at_s, tuple(variants), real, imagined)


def _future(
    trunk: Run, variant: Variant, future: Scenario, moment: Any, duration_s: float, config: ReplayConfig
) -> Replay:
    """One variant in MuJoCo, in the trunk's own world unless other bodies or tracks need another."""
    scenario = trunk.scenario
    new_tracks = led_anew(scenario, future)
    same = not new_tracks and same_bodies(scenario, future)
    world = trunk.world if same else open_world(future, config, live=True, source=scenario, changed=new_tracks)
    try:
        run = trunk.fork(world, future, moment)
        if variant.driver is not None:
            run.hand_over(variant.driver)
        run.to(duration_s)
        return replace(run.result("mujoco"), driver=_who(run, variant))
    finally:
        if not same:
            world.close()


def _imagined(
    trunk: Run,
    variants: Sequence[Variant],
    futures: Sequence[Scenario],
    duration_s: float,
    model: WorldModel[Any],
    context: int,
) -> list[Replay]:
    branches = [
        Branch(v.label, f, v.driver if v.driver is not None else trunk.driver)
        for v, f in zip(variants, futures, strict=True)
    ]
    step = len(trunk.recording.actions)
    seed = trunk.config.seed
    return imagine(model, trunk, branches, duration_s, from_step=step, context=min(context, step), seed=seed)


def _who(run: Run, variant: Variant) -> str:
    if variant.driver is not None:
        return variant.driver.name
    return "log" if run.driver is None else run.driver.name


def outcome(replay: Replay, at_s: float) -> dict[str, Any]:
    """What a future comes to: the ego's collision, and scores from the branch on where the state allows them."""
    hit = next((c for c in replay.collisions if replay.ego in (c.a, c.b) and c.t_s >= at_s - 1e-6), None)
    found: dict[str, Any] = {
        "collision": hit is not None,
        "t_s": None if hit is None else round(hit.t_s, 3),
        "with": None if hit is None else (hit.b if hit.a == replay.ego else hit.a),
        "delta_v_mps": None
        if hit is None
        else round(hit.delta_v_a_mps if hit.a == replay.ego else hit.delta_v_b_mps, 3),
        "first_collision_s": replay.first_collision_s,
    }
    if "imagined" in replay.extra:
        series = replay.extra["imagined"]
        trust = series["trust"]
        found |= {
            "p_collision": series["p_collision"],
            "mean_trust": round(float(np.mean(trust)), 4) if trust else None,
        }
    elif replay.episode is not None and replay.spec is not None:
        start = round(at_s / replay.dt_s)
        if start < replay.episode.num_steps and np.isfinite(replay.episode.state[start:]).all():
            settings = ScoreSettings(ego=replay.ego_body)
            scores = score_episode(replay.episode, replay.spec, settings=settings, start_step=start).to_json()
            found["scores"] = {k: v for k, v in scores.items() if k != "crashes"}
    return found


def report(futures: Futures) -> dict[str, Any]:
    """The futures as report.json holds them under ``what_if``."""
    rows = []
    for i, variant in enumerate(futures.variants):
        row: dict[str, Any] = {
            "label": variant.label,
            "changes": [c.text for c in variant.changes],
            "mujoco": outcome(futures.real[i], futures.at_s),
        }
        if futures.imagined:
            row["imagined"] = outcome(futures.imagined[i], futures.at_s)
        rows.append(row)
    return {"branch_at_s": futures.at_s, "futures": rows}


def table(futures: Futures, title: str = "Futures") -> Table:
    """One row per future."""
    header = ["future", "collision", "with", "delta-v"]
    header += ["imagined p(collision)", "imagined delta-v", "trust"] if futures.imagined else []
    rows = []
    for i, variant in enumerate(futures.variants):
        found = outcome(futures.real[i], futures.at_s)
        row = [variant.label, "no" if not found["collision"] else f"at {found['t_s']:.2f} s", found["with"] or "–"]
        row.append("–" if found["delta_v_mps"] is None else f"{found['delta_v_mps']:.1f} m/s")
        if futures.imagined:
            dream = outcome(futures.imagined[i], futures.at_s)
            row.append(f"{dream['p_collision']:.2f}")
            row.append("–" if dream["delta_v_mps"] is None else f"{dream['delta_v_mps']:.1f} m/s")
            row.append("–" if dream["mean_trust"] is None else f"{dream['mean_trust']:.2f}")
        rows.append(row)
    return Table(title, header, rows, f"All from one state at {futures.at_s:g} s, with the same noise.")


def tips(futures: Futures) -> list[dict[str, Any]]:
    """Where neighbours of a sweep over one number differ in the ego's collision."""
    swept = [(i, v.changes[-1]) for i, v in enumerate(futures.variants) if v.changes]
    others = {v.changes[:-1] for v in futures.variants if v.changes}
    if len({(c.actor, c.what) for _, c in swept}) != 1 or len(others) != 1 or swept[0][1].what == "class":
        return []
    swept.sort(key=lambda pair: pair[1].number)
    found = []
    for (i, low), (j, high) in zip(swept, swept[1:], strict=False):
        before, after = (outcome(futures.real[k], futures.at_s)["collision"] for k in (i, j))
        if before != after:
            name = f"{low.actor}.{low.what}"
            found.append({"what": name, "from": low.number, "to": high.number, "collision": [before, after]})
    return found


def summary(futures: Futures) -> str:
    """One line on which futures crash, and where a sweep tips."""
    parts = []
    for variant, replay in zip(futures.variants, futures.real, strict=True):
        found = outcome(replay, futures.at_s)
        what = f"collision at {found['t_s']:.2f} s" if found["collision"] else "no collision"
        parts.append(f"{variant.label}: {what}")
    for tip in tips(futures):
        parts.append(f"{tip['what']} tips between {tip['from']:g} and {tip['to']:g}")
    return "; ".join(parts) + "."
