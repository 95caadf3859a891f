"""A scenario in CARLA, through the driving adapter: who is where at the start, then the ego's log or a policy."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from simworld.policy import Policy
from simworld.replay.guides import places
from simworld.replay.result import Collision, Replay
from simworld.replay.run import LOG, SIDES, ReplayConfig, duration_of, log_actions, notes_of
from simworld.scenario import ACTOR_CLASSES, Scenario

ENV_ID = "simworld/Carla-v0"
ABSENT = ("tank", "static")  # CARLA has no blueprint for them


def replay_in_carla(scenario: Scenario, driver: Policy | None, config: ReplayConfig, env: Any | None = None) -> Replay:
    """Replay on a live server; `env` is closed afterwards and made here unless given.

    The others start where the scenario has them, relative to the ego's lane, and keep heading and speed: CARLA moves
    them from then on. The ego starts at a spawn point of the running map.
    """
    duration_s = duration_of(scenario, config)
    if not scenario.ego_id:
        raise ValueError(f"{scenario.name} has no ego, around whom CARLA could place the others")
    if env is None:
        env = gymnasium.make(ENV_ID, disable_env_checker=True).unwrapped
    try:
        return _run(scenario, driver, config, env, duration_s)
    finally:
        env.close()


def _run(scenario: Scenario, driver: Policy | None, config: ReplayConfig, env: Any, duration_s: float) -> Replay:
    ego = scenario.actor(scenario.ego_id)
    actions = log_actions(scenario, env.episode_spec.dt_s)
    if driver is None and not len(actions):
        raise ValueError(f"the ego {ego.id} has no log to drive by; give ego=POLICY")
    placed, notes = _placed(scenario)
    frames, _ = env.reset(seed=config.seed, options={"ego_speed_mps": ego.speed_mps, "actors": placed})
    if driver is not None:
        driver.reset(np.array([config.seed], np.int64))
    films, collisions = {c: [f] for c, f in frames.items()}, []
    dt_s, t_s = env.episode_spec.dt_s, 0.0
    while t_s + dt_s <= duration_s + 1e-6:
        step = round(t_s / dt_s)
        action = _action(driver, frames, actions, step)
        frames, _, terminated, truncated, info = env.step(action)
        t_s += dt_s
        for camera, picture in frames.items():
            films[camera].append(picture)
        if info["outcomes"]["collision"] > 0.5:
            collisions.append(_collision(info["outcomes"], t_s, ego.id))
        if terminated or truncated:
            break
    absent = [a.id for a in scenario.actors if a.needs_policy and a.id != ego.id]
    return Replay(
        world="carla",
        scenario=scenario.name,
        ego=ego.id,
        driver=LOG if driver is None else driver.name,
        duration_s=t_s,
        dt_s=dt_s,
        num_actors=len(scenario.actors),
        collisions=collisions,
        absent=absent,
        notes=notes_of(scenario, absent, ()) + notes,
        film_dt_s=dt_s,
        films={c: np.stack(f) for c, f in films.items()} if config.film else {},
    )


def _placed(scenario: Scenario) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Everybody there at time 0, relative to the ego, as the adapter's `actors` option; and what was left out."""
    ego = scenario.actor(scenario.ego_id)
    x, y, heading = ego.start
    cos, sin = math.cos(heading), math.sin(heading)
    placed, notes = [], []
    for actor in scenario.actors:
        at = places(actor, np.zeros(1))[0]
        if actor.id == ego.id or actor.needs_policy:
            continue
        if actor.kind in ABSENT or not np.isfinite(at[0]):
            why = f"CARLA has no {actor.kind}" if actor.kind in ABSENT else "it is not there at the start"
            notes.append({"element": f"actor {actor.id}", "line": None, "instead": f"left out: {why}"})
            continue
        dx, dy = at[0] - x, at[1] - y
        placed.append(
            {
                "kind": actor.kind,
                "ahead_m": float(cos * dx + sin * dy),
                "left_m": float(cos * dy - sin * dx),
                "heading_rad": float(at[2] - heading),
                "speed_mps": float(at[3]),
            }
        )
    if placed:
        text = "in CARLA they keep their first heading and speed, and start relative to the lane of the ego there"
        notes.append({"element": "tracks of the other actors", "line": None, "instead": text})
    return placed, notes


def _action(
    driver: Policy | None, frames: dict[str, NDArray[np.uint8]], actions: NDArray[np.float64], step: int
) -> NDArray[np.float32]:
    if driver is None:
        row = actions[step] if step < len(actions) else np.zeros(2)
        return np.asarray(row, np.float32)
    return np.asarray(driver.act({c: f[None] for c, f in frames.items()}, [{}]), np.float32)[0]


def _collision(outcomes: dict[str, float], t_s: float, ego: str) -> Collision:
    nan = float("nan")
    partner, side = ACTOR_CLASSES[int(outcomes["partner"])], SIDES[int(outcomes["side"])]
    return Collision(t_s, ego, partner, float(outcomes["impulse"]), nan, float(outcomes["delta_v"]), nan, side)
