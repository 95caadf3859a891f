"""A scenario in the world model: frames imagined from its first real ones, the other actors told by their tracks."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.checkpoint import find_checkpoint, load_world_model
from simworld.model.outcomes import QUANTILES
from simworld.policy import Policy
from simworld.readers.inverse_dynamics import drive_model
from simworld.replay.cast import Cast
from simworld.replay.result import Collision, Replay
from simworld.replay.run import LOG, Run, notes_of
from simworld.scenario import ACTOR_CLASSES, Scenario, ScenarioActor
from simworld.world_model import Prediction, WorldModel

Floats = NDArray[np.float64]
CRASH_P = 0.5  # without told actors, an imagined collision happens when it has become likelier than not
SIDES = ("front", "rear", "left", "right")
SOON_STEPS = 10


@dataclass(frozen=True)
class Branch:
    """What differs from here on: the scenario's other actors, and who drives (None: the log)."""

    label: str
    scenario: Scenario
    driver: Policy | None = None


@dataclass
class Lane:
    """One stream of imagination: where its ego is thought to be, and what was imagined."""

    cast: Cast
    branch: Branch
    pose: Floats
    speed_mps: float
    frames: list[dict[str, NDArray[np.uint8]]] = field(default_factory=list)
    hazard: list[float] = field(default_factory=list)
    soon: list[float] = field(default_factory=list)
    delta_v_mps: list[float] = field(default_factory=list)
    impulse_ns: list[float] = field(default_factory=list)
    partner: list[int] = field(default_factory=list)
    side: list[int] = field(default_factory=list)
    trust: list[float] = field(default_factory=list)
    track: list[tuple[float, ...]] = field(default_factory=list)
    touched: tuple[int, ScenarioActor] | None = None  # the step at which the ego's box first met a told actor's


def open_model(name: str) -> WorldModel[Any]:
    """A checkpoint by folder or shipped name, in the precision in which imagined envs run it."""
    return load_world_model(find_checkpoint(name), dtype=torch.bfloat16)


def check_model(model: WorldModel[Any], run: Run) -> None:
    """Refuse a model that was not trained on what a scenario's world shows."""
    if model.spec.cameras != run.spec.cameras or model.spec.action.size != run.spec.action.size:
        raise ValueError(
            f"the checkpoint sees {dict(model.spec.cameras)} and takes {model.spec.action.size} action entries, "
            f"a scenario gives {dict(run.spec.cameras)} and {run.spec.action.size}; choose a driving checkpoint"
        )
    if model.spec.dt_s != run.spec.dt_s:
        raise ValueError(f"the checkpoint's steps last {model.spec.dt_s:g} s, a scenario's {run.spec.dt_s:g} s")


def imagine(
    model: WorldModel[Any],
    run: Run,
    branches: Sequence[Branch],
    duration_s: float,
    *,
    from_step: int,
    context: int,
    seed: int,
) -> list[Replay]:
    """Imagine on from step `from_step` of a real run, every branch with the same start and the same noise.

    run      has recorded at least `from_step` steps with the ego's cameras
    context  how many of the steps before the start the model sees
    """
    check_model(model, run)
    if run.scenario.ego_id == "" or not np.isfinite(run.recording.states[from_step]).all():
        raise ValueError(
            f"{run.scenario.name} has no ego on the road at {from_step * run.spec.dt_s:.1f} s to imagine from; "
            "give ego=POLICY"
        )
    lanes = [start_lane(branch, run, from_step) for branch in branches]
    return imagine_lanes(model, [run] * len(lanes), lanes, duration_s, from_step=from_step, context=context, seed=seed)


def imagine_lanes(
    model: WorldModel[Any],
    runs: Sequence[Run],
    lanes: list[Lane],
    duration_s: float,
    *,
    from_step: int,
    context: int,
    seed: int,
) -> list[Replay]:
    """As `imagine`, for lanes of different runs in one batch."""
    dt_s, rows = model.spec.dt_s, model.max_actors
    first = max(from_step - context, 0)
    frames = {
        c: torch.from_numpy(np.stack([np.stack(r.recording.cameras[c][first : from_step + 1]) for r in runs]))
        for c in model.spec.cameras
    }
    actions = torch.from_numpy(np.stack([_actions(r, first, from_step) for r in runs]))
    told = [np.array(r.recording.actors[first + 1 : from_step + 1], np.float32) for r in runs]
    seeds = torch.full((len(lanes),), seed, dtype=torch.int64)
    known = {"actors": torch.from_numpy(_padded(told, rows))} if rows and from_step > first else {}
    state = model.start(frames, actions, seed=seeds, **known)
    drivers = [_remembering(lane.branch.driver, run, from_step) for lane, run in zip(lanes, runs, strict=True)]
    seen = [{c: r.recording.cameras[c][from_step] for c in model.spec.cameras} for r in runs]
    for step in range(from_step, int(duration_s / dt_s + 1e-6)):
        acts = np.stack([_act(d, s, r, step) for d, s, r in zip(drivers, seen, runs, strict=True)])
        poses = [_foreseen(lane, act, run, step, dt_s) for lane, act, run in zip(lanes, acts, runs, strict=True)]
        told_now: dict[str, torch.Tensor] = {}
        if rows:
            at = (step + 1) * dt_s
            told_rows = [lane.cast.rows(at, pose[:3], rows) for lane, pose in zip(lanes, poses, strict=True)]
            told_now = {"actors": torch.from_numpy(np.stack(told_rows))}
        state, prediction = model.step(state, torch.from_numpy(acts), **told_now)
        for i, lane in enumerate(lanes):
            _keep(lane, prediction, i, model)
            _settle(lane, poses[i], prediction, i, model)
            if rows and lane.touched is None:
                ego = lane.branch.scenario.actor(lane.branch.scenario.ego_id)
                met = lane.cast.touching((step + 1) * dt_s, lane.pose, ego.body)
                lane.touched = None if met is None else (step - from_step, met)
        seen = [lane.frames[-1] for lane in lanes]
    return [_result(lane, run, model, from_step) for lane, run in zip(lanes, runs, strict=True)]


def start_lane(branch: Branch, run: Run, from_step: int) -> Lane:
    """A lane at the place of the run's ego at a step."""
    state = dict(zip(run.spec.state_names, run.recording.states[from_step].tolist(), strict=True))
    pose = np.array([state["x_m"], state["y_m"], state["heading_rad"]])
    return Lane(Cast(branch.scenario), branch, pose, state["speed_mps"])


def _actions(run: Run, first: int, last: int) -> NDArray[np.float32]:
    return np.array(run.recording.actions[first:last], np.float32).reshape(last - first, run.spec.action.size)


def _padded(told: list[NDArray[np.float32]], rows: int) -> NDArray[np.float32]:
    """Actors (b, k, rows, 9), cut or filled up with nobody."""
    out = np.full((len(told), told[0].shape[0], rows, 9), np.nan, np.float32)
    for i, one in enumerate(told):
        out[i, :, : one.shape[1]] = one[:, :rows]
    return out


def _remembering(driver: Policy | None, run: Run, from_step: int) -> Policy | None:
    """A copy of the driver that has seen the real frames of the steps it drove before the start."""
    if driver is None:
        return None
    driver = copy.deepcopy(driver)
    driver.reset(np.array([run.config.seed], np.int64))
    for step in range(from_step if run.driver is not None and run.driver.name == driver.name else 0):
        driver.act({c: run.recording.cameras[c][step][None] for c in run.spec.cameras}, [{}])
    return driver


def _act(driver: Policy | None, seen: dict[str, NDArray[np.uint8]], run: Run, step: int) -> NDArray[np.float32]:
    if driver is None:
        return run.logged(step)
    raw = np.asarray(driver.act({c: f[None] for c, f in seen.items()}, [{}]), np.float32)
    return np.clip(raw[0], -1.0, 1.0)


def _foreseen(lane: Lane, action: NDArray[np.float32], run: Run, step: int, dt_s: float) -> Floats:
    """Pose and speed (4,) of the ego after an action: the log's, or by the model of its car."""
    ego = run.scenario.actor(run.scenario.ego_id)
    at = (step + 1) * dt_s
    if lane.branch.driver is None and ego.track is not None and ego.track.covers(at):
        return ego.track.at(at)
    return drive_model(np.array([action], np.float64), lane.pose, lane.speed_mps, dt_s)[-1]


def _settle(lane: Lane, foreseen: Floats, prediction: Prediction, i: int, model: WorldModel[Any]) -> None:
    """Take over the pose; a driven ego's by dead reckoning with the model's own estimate of speed and yaw rate."""
    names = model.spec.state_names
    estimate = prediction.outcomes.state
    if lane.branch.driver is not None and estimate.shape[-1] and {"speed_mps", "yaw_rate_radps"} <= set(names):
        speed = max(float(estimate[i, names.index("speed_mps")]), 0.0)
        turn = float(estimate[i, names.index("yaw_rate_radps")]) * model.spec.dt_s
        way = (speed + lane.speed_mps) / 2 * model.spec.dt_s
        x, y, psi = lane.pose
        middle = psi + turn / 2
        foreseen = np.array([x + way * np.cos(middle), y + way * np.sin(middle), psi + turn, speed])
    lane.pose, lane.speed_mps = foreseen[:3].copy(), float(foreseen[3])
    lane.track.append(tuple(float(v) for v in foreseen))


def _keep(lane: Lane, prediction: Prediction, i: int, model: WorldModel[Any]) -> None:
    outcomes, median = prediction.outcomes, QUANTILES.index(0.5)
    lane.frames.append({c: f[i].cpu().numpy() for c, f in prediction.frames.items()})
    hazard = outcomes.hazard.get("collision")
    lane.hazard.append(0.0 if hazard is None else float(hazard[i, 0]))
    lane.soon.append(0.0 if hazard is None else float(outcomes.p_within("collision", SOON_STEPS)[i]))
    lane.trust.append(float(outcomes.trust[i]))
    for name, kept in (("delta_v", lane.delta_v_mps), ("impulse", lane.impulse_ns)):
        kept.append(float(outcomes.scalars[name][i, median]) if name in outcomes.scalars else float("nan"))
    for name, chosen in (("partner", lane.partner), ("side", lane.side)):
        chosen.append(int(outcomes.categories[name][i].argmax()) if name in outcomes.categories else 0)


def _result(lane: Lane, run: Run, model: WorldModel[Any], from_step: int) -> Replay:
    dt_s, scenario = run.spec.dt_s, lane.branch.scenario
    p_until = 1 - np.cumprod(1 - np.array(lane.hazard))
    collisions = [_collision(lane, *crash, from_step, dt_s) for crash in _crash(lane, p_until, model)]
    driven = lane.branch.driver
    absent = [a.id for a in scenario.actors if a.needs_policy and not (driven is not None and a.id == scenario.ego_id)]
    films = {}
    for camera in run.spec.cameras if run.config.film else ():
        real = run.recording.cameras[camera][: from_step + 1]
        films[camera] = np.stack([*real, *(f[camera] for f in lane.frames)][:: run.film_every])
    notes = notes_of(scenario, absent, ())
    if not model.max_actors:
        text = "not told to the model, which was trained without: it imagines them as it likes"
        notes.append({"element": "the other actors", "line": None, "instead": text})
    return Replay(
        world="imagined",
        scenario=scenario.name,
        ego=scenario.ego_id,
        driver=LOG if driven is None else driven.name,
        duration_s=(from_step + len(lane.frames)) * dt_s,
        dt_s=dt_s,
        num_actors=len(scenario.actors),
        collisions=collisions,
        absent=absent,
        notes=notes,
        films=films,
        film_dt_s=dt_s * run.film_every,
        extra={"imagined": _series(lane, p_until, from_step, dt_s)},
    )


def _crash(lane: Lane, p_until: Floats, model: WorldModel[Any]) -> list[tuple[int, str]]:
    """The step and the partner of the ego's collision, if there is one.

    Told where the others are, the ego collides when its box meets one of theirs. Untold, when the model finds a
    collision likelier than not.
    """
    if model.max_actors:
        return [] if lane.touched is None else [(lane.touched[0], lane.touched[1].id)]
    if not len(p_until) or p_until[-1] < CRASH_P:
        return []
    k = int(np.argmax(p_until >= CRASH_P))
    return [(k, ACTOR_CLASSES[lane.partner[k]])]


def _collision(lane: Lane, k: int, partner: str, from_step: int, dt_s: float) -> Collision:
    """The collision at an imagined step, as hard as the model says."""
    t_s, ego, unknown = (from_step + k + 1) * dt_s, lane.branch.scenario.ego_id, float("nan")
    side = SIDES[lane.side[k]]
    return Collision(t_s, ego, partner, lane.impulse_ns[k], unknown, lane.delta_v_mps[k], unknown, side)


def _series(lane: Lane, p_until: Floats, from_step: int, dt_s: float) -> dict[str, Any]:
    """What the model said at every step."""

    def rounded(values: Iterable[float]) -> list[float]:
        return [round(float(v), 5) for v in values]

    return {
        "from_s": round(from_step * dt_s, 4),
        "p_collision": rounded(p_until[-1:])[0] if len(p_until) else 0.0,
        "t_s": rounded([(from_step + k + 1) * dt_s for k in range(len(lane.hazard))]),
        "p_collision_now": rounded(lane.hazard),
        "p_collision_within_1s": rounded(lane.soon),
        "delta_v_mps": rounded(lane.delta_v_mps),
        "trust": rounded(lane.trust),
        "ego": [rounded(row) for row in lane.track],
    }
