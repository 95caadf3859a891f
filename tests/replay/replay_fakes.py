"""Scenarios of two actors on a straight line, and a world model that expects a collision when it is told of one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from simworld.episode import ActionSpec, EpisodeSpec, OutcomeSpec
from simworld.model.outcomes import QUANTILES, OutcomePrediction
from simworld.scenario import ACTOR_CLASSES, BODIES, Body, Lane, Road, Scenario, ScenarioActor, Track
from simworld.world_model import Prediction, WorldModel

STATE = ("speed_mps", "yaw_rate_radps")
REACH_M = 4.6  # between the middles of two cars that touch


def moving(
    ident: str,
    start: tuple[float, float],
    v: tuple[float, float],
    *,
    t0: float = 0.0,
    t1: float = 4.0,
    kind: str = "car",
    body: Body | None = None,
) -> ScenarioActor:
    """An actor at constant velocity while t0 <= t <= t1; `start` is where it is at t0."""
    t = np.array([t0, t1])
    heading = math.atan2(v[1], v[0])
    pose = np.array([[start[0] + v[0] * (k - t0), start[1] + v[1] * (k - t0), heading] for k in t])
    speed = math.hypot(*v)
    return ScenarioActor(
        ident,
        kind,
        body or BODIES[kind],
        tuple(pose[0]),
        speed,
        Track(t, pose, np.full(2, speed)),  # type: ignore[arg-type]
    )


def scene(*actors: ScenarioActor, ego: str = "ego", duration_s: float = 4.0, road: bool = True) -> Scenario:
    """Actors on a straight road along x."""
    x = np.array([[-100.0, 0.0], [400.0, 0.0]])
    lanes = (Lane("1", x, np.full(2, 3.5), left_mark="solid", right_mark="solid"),) if road else ()
    return Scenario("scene", Road(lanes), actors, ego, duration_s)


def rear_end(gap_m: float = 30.0, ego_mps: float = 20.0, lead_mps: float = 10.0, kind: str = "car") -> Scenario:
    """The ego drives into whoever is `gap_m` ahead, bumper to bumper."""
    middle = gap_m + (BODIES["car"].length_m + BODIES[kind].length_m) / 2
    return scene(moving("ego", (0, 0), (ego_mps, 0)), moving("Lead", (middle, 0), (lead_mps, 0), kind=kind))


class FakeState(NamedTuple):
    seed: Tensor
    step: Tensor
    speed: Tensor


class FakeModel(WorldModel[FakeState]):
    """Repeats what it is told: a collision where an actor is near, the speed that the brake leaves."""

    def __init__(self, actors: int = 4, *, estimates: bool = True) -> None:
        nn.Module.__init__(self)
        self.spec = EpisodeSpec(
            "fake",
            {"front": (64, 64)},
            ActionSpec("continuous", (-1.0, -1.0), (1.0, 1.0)),
            (
                OutcomeSpec("collision", "event"),
                OutcomeSpec("delta_v", "scalar", unit="m/s", given="collision"),
                OutcomeSpec("partner", "category", categories=ACTOR_CLASSES, given="collision"),
            ),
            state_names=STATE,
        )
        self._actors, self._estimates = actors, estimates
        self.started: dict[str, Any] = {}
        self.told: list[Tensor | None] = []

    @property
    def max_actors(self) -> int:
        return self._actors

    def to_dtype(self, dtype: torch.dtype) -> FakeModel:
        return self

    def start(
        self, frames: dict[str, Tensor], actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> FakeState:
        self.check_start(frames, actions)
        self.check_actors(actors, tuple(actions.shape[:2]))
        self.started = {"frames": frames, "actions": actions, "actors": actors, "seed": seed}
        self.told = []
        return FakeState(seed, torch.zeros_like(seed), torch.full((len(seed),), 20.0))

    def step(self, state: FakeState, action: Tensor, actors: Tensor | None = None) -> tuple[FakeState, Prediction]:
        self.told.append(actors)
        known = self.check_actors(actors, (len(action),))
        b = len(action)
        near, kind = torch.full((b,), 1e3), torch.zeros(b)
        if known is not None:
            near = torch.linalg.norm(torch.nan_to_num(known[:, 0, 1:3], nan=1e3), dim=-1)
            kind = torch.nan_to_num(known[:, 0, 0])
        speed = (state.speed + 8.0 * action[:, 1].clamp(max=0) * self.spec.dt_s).clamp(min=0)
        hazard = torch.where(near < REACH_M, 0.9, 0.0)[:, None].repeat(1, 12)
        partner = nn.functional.one_hot(kind.long(), len(ACTOR_CLASSES)).float()
        outcomes = OutcomePrediction(
            reward=torch.zeros(b),
            p_terminated=torch.zeros(b),
            hazard={"collision": hazard},
            scalars={"delta_v": torch.full((b, len(QUANTILES)), 5.0)},
            categories={"partner": partner},
            trust=torch.full((b,), 0.5),
            state=torch.stack([speed, torch.zeros(b)], 1) if self._estimates else torch.zeros(b, 0),
        )
        grey = {c: torch.full((b, *hw, 3), 7, dtype=torch.uint8) for c, hw in self.spec.cameras.items()}
        return FakeState(state.seed, state.step + 1, speed), Prediction(grey, outcomes)
