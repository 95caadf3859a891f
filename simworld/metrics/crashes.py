"""Crashes of an episode, read from its outcomes and, where it has them, from state and actors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simworld.episode import Episode, EpisodeSpec
from simworld.scenario import ACTOR_CLASSES, BODIES

Floats = NDArray[np.float64]
VULNERABLE = ("pedestrian", "cyclist")
MAX_PARTNER_M = 15.0  # centre distance within which a row of actors can be the one that was hit


@dataclass(frozen=True)
class Crash:
    """One collision of the ego during step `step`; None where the episode does not tell.

    partner, side       names of the outcome categories; side is the ego's side that was hit
    delta_v_mps         change of the ego's speed
    ego_speed_mps       at the frame before the impact
    partner_speed_mps   likewise
    closing_speed_mps   magnitude of the relative velocity at the frame before the impact
    """

    step: int
    t_s: float
    partner: str | None
    side: str | None
    delta_v_mps: float | None
    impulse_ns: float | None
    ego_speed_mps: float | None = None
    partner_speed_mps: float | None = None
    closing_speed_mps: float | None = None


def find_crashes(episode: Episode, spec: EpisodeSpec, *, start_step: int = 0) -> tuple[Crash, ...]:
    """Every collision from `start_step` on; neighbouring steps with the same partner are one collision.

    Raises ValueError where the spec declares no collision event.
    """
    declared = {o.name: o for o in spec.outcomes}
    if "collision" not in declared:
        raise ValueError(f"{spec.env_id} declares no outcome 'collision'; driving scores need one")
    hit = np.nan_to_num(episode.outcomes["collision"]) >= 0.5
    partner = _names(episode, spec, "partner")
    side = _names(episode, spec, "side")
    crashes = []
    for k in np.flatnonzero(hit):
        if k < start_step or (k > start_step and hit[k - 1] and partner[k - 1] == partner[k]):
            continue
        speeds = _speeds(episode, spec, int(k), partner[k])
        crashes.append(
            Crash(
                step=int(k),
                t_s=(int(k) + 1) * spec.dt_s,
                partner=partner[k],
                side=side[k],
                delta_v_mps=_number(episode, "delta_v", int(k)),
                impulse_ns=_number(episode, "impulse", int(k)),
                ego_speed_mps=speeds[0],
                partner_speed_mps=speeds[1],
                closing_speed_mps=speeds[2],
            )
        )
    return tuple(crashes)


def partner_mass_kg(crash: Crash) -> float | None:
    """Typical mass of the partner's class; None for something fixed or unknown."""
    return None if crash.partner in (None, "static") else BODIES[crash.partner].mass_kg


def _names(episode: Episode, spec: EpisodeSpec, outcome: str) -> list[str | None]:
    """Category names per step, None where the outcome is not declared or does not apply."""
    declared = next((o for o in spec.outcomes if o.name == outcome), None)
    if declared is None:
        return [None] * episode.num_steps
    values = episode.outcomes[outcome]
    return [declared.categories[int(v)] if np.isfinite(v) else None for v in values]


def _number(episode: Episode, outcome: str, step: int) -> float | None:
    value = float(episode.outcomes[outcome][step]) if outcome in episode.outcomes else float("nan")
    return value if np.isfinite(value) else None


def _speeds(
    episode: Episode, spec: EpisodeSpec, step: int, partner: str | None
) -> tuple[float | None, float | None, float | None]:
    """Speed of ego and partner and their relative speed at frame `step`, the last one before the impact."""
    if "speed_mps" not in spec.state_names or episode.state.shape[1] == 0:
        return None, None, None
    ego = float(episode.state[step, spec.state_names.index("speed_mps")])
    if not np.isfinite(ego):
        return None, None, None
    if partner == "static":
        return ego, 0.0, abs(ego)
    rows = episode.actors[step].astype(np.float64)
    rows = rows[np.isfinite(rows[:, 0])]
    if partner is not None:
        rows = rows[rows[:, 0] == ACTOR_CLASSES.index(partner)]  # type: ignore[arg-type]
    distance_m = np.hypot(rows[:, 1], rows[:, 2]) - np.hypot(rows[:, 6], rows[:, 7]) / 2
    if not len(rows) or distance_m.min() > MAX_PARTNER_M:
        return ego, None, None
    vx, vy = rows[int(np.argmin(distance_m)), 4:6]
    return ego, float(np.hypot(vx, vy)), float(np.hypot(vx - ego, vy))
