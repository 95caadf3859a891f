"""Driving scores of one episode, real or imagined: what its state allows from state, the rest from its outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np

from simworld.episode import Episode, EpisodeSpec
from simworld.metrics import nuplan
from simworld.metrics.carla_score import CarlaScore, Infractions, carla_score
from simworld.metrics.comfort import Comfort, ComfortBounds
from simworld.metrics.crashes import Crash, find_crashes
from simworld.metrics.injury import InjuryRisk, curve_named, episode_injury
from simworld.metrics.nuplan import NuPlanScore
from simworld.metrics.ride import Missing, Ride
from simworld.metrics.rss import RssParameters
from simworld.metrics.safety import TtcSettings
from simworld.scenario import BODIES, Body

T = TypeVar("T")


@dataclass(frozen=True)
class DrivingReference:
    """What the scores need besides the episode; a score whose reference is None is left out.

    expert_progress_m  how far an expert drives in the same time (nuPlan), see `Ride.speed_limit_progress_m`
    route_length_m     length of the route to complete (CARLA)
    """

    expert_progress_m: float | None = None
    route_length_m: float | None = None


@dataclass(frozen=True)
class ScoreSettings:
    """Parameters of the scores and the ego's own size."""

    ttc: TtcSettings = field(default_factory=TtcSettings)
    rss: RssParameters = field(default_factory=RssParameters)
    comfort: ComfortBounds = field(default_factory=ComfortBounds)
    ego: Body = BODIES["car"]
    rear_axle_share: float = 0.28  # of the ego's length, from its centre to the rear axle
    age_years: float = 45.0  # of a victim, where the injury curve asks


@dataclass(frozen=True)
class LeftOut:
    """A quantity that this episode can not give, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class DrivingScores:
    """All scores of one episode. What is None is named in `left_out` with its reason, or follows from what is.

    min_ttc_s         least time to collision with an actor that counts (nuPlan's choice); infinity: none within 3 s
    min_pet_s         least post-encroachment time with an actor whose path crosses; infinity: none within 5 s
    rss_unsafe_share  share of frames with someone ahead or alongside closer than RSS allows both ways
    """

    crashes: tuple[Crash, ...]
    injury: InjuryRisk
    carla: CarlaScore
    nuplan: NuPlanScore
    min_ttc_s: float | None
    min_pet_s: float | None
    rss_unsafe_share: float | None
    comfort: Comfort | None
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values; JSON knows no infinity, so that becomes the string "inf"."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def score_episode(
    episode: Episode,
    spec: EpisodeSpec,
    *,
    curve: str = "occupant_mais3",
    reference: DrivingReference | None = None,
    settings: ScoreSettings | None = None,
    start_step: int | None = None,
) -> DrivingScores:
    """Score one episode from `start_step` on (default: after the forced prefix that its provenance records).

    curve  name of the injury risk curve (see simworld.metrics.injury.CURVES)
    Raises ValueError for an unknown curve, a spec without a collision event, or a start beyond the end.
    """
    curve_named(curve)
    given, used = reference or DrivingReference(), settings or ScoreSettings()
    start = int(episode.provenance.get("prefix_steps", 0)) if start_step is None else start_step
    if not 0 <= start < episode.num_steps:
        raise ValueError(f"start_step {start} is not among the {episode.num_steps} steps of the episode")
    ride = Ride(episode, spec, start, used.ego)
    crashes = find_crashes(episode, spec, start_step=start)
    ask = _Ask()
    axle_m = used.rear_axle_share * used.ego.length_m
    min_ttc_s = ask("min_ttc_s", lambda: ride.min_ttc_s(crashes, used.ttc, axle_m))
    comfortable = ask("comfort", lambda: ride.comfort(used.comfort))
    off_road = _happened(episode, spec, "off_road", start)
    return DrivingScores(
        crashes=crashes,
        injury=episode_injury(crashes, curve, ego_mass_kg=used.ego.mass_kg, age_years=used.age_years),
        carla=_carla(ask, ride, crashes, given),
        nuplan=_nuplan(ask, ride, crashes, given, off_road, min_ttc_s, comfortable, used.ttc.bound_s),
        min_ttc_s=min_ttc_s,
        min_pet_s=ask("min_pet_s", ride.min_pet_s),
        rss_unsafe_share=ask("rss_unsafe_share", lambda: ride.rss_unsafe_share(used.rss)),
        comfort=comfortable,
        left_out=tuple(ask.left_out),
    )


class _Ask:
    """Computes quantities one by one and remembers those that could not be had."""

    def __init__(self) -> None:
        self.left_out: list[LeftOut] = []

    def __call__(self, name: str, compute: Callable[[], T]) -> T | None:
        try:
            return compute()
        except Missing as missing:
            self.left_out.append(LeftOut(name, str(missing)))
            return None


def _carla(ask: _Ask, ride: Ride, crashes: Sequence[Crash], reference: DrivingReference) -> CarlaScore:
    """No traffic lights, stop signs or timeouts: the episode's outcomes know none."""
    partners = [c.partner for c in crashes]

    def completion() -> float:
        progress_m = ride.progress_m()
        if reference.route_length_m is None:
            raise Missing("no route length was given (reference.route_length_m)")
        return float(np.clip(100.0 * progress_m / reference.route_length_m, 0.0, 100.0))

    infractions = Infractions(
        pedestrian_collisions=partners.count("pedestrian"),
        vehicle_collisions=sum(p not in ("pedestrian", "static") for p in partners),
        static_collisions=partners.count("static"),
        off_route_share=ask("carla.off_route_share", ride.off_route_share) or 0.0,
    )
    return carla_score(ask("carla.route_completion", completion), infractions)


def _nuplan(
    ask: _Ask,
    ride: Ride,
    crashes: Sequence[Crash],
    reference: DrivingReference,
    off_road: bool | None,
    min_ttc_s: float | None,
    comfortable: Comfort | None,
    ttc_bound_s: float,
) -> NuPlanScore:
    def drivable() -> float:
        if off_road is None:
            raise Missing("the spec declares no outcome 'off_road'")
        return float(not off_road)

    def progress() -> float:
        progress_m = ride.progress_m()
        if reference.expert_progress_m is None:
            raise Missing("no expert's progress was given (reference.expert_progress_m)")
        return nuplan.progress_part(progress_m, reference.expert_progress_m)

    return nuplan.nuplan_score(
        no_at_fault_collision=ask("nuplan.no_at_fault_collision", lambda: _collision_part(ride, crashes)),
        drivable_area=ask("nuplan.drivable_area", drivable),
        direction=ask("nuplan.direction", lambda: nuplan.direction_part(ride.along_lane_m(), ride.spec.dt_s)),
        progress=ask("nuplan.progress", progress),
        time_to_collision=None if min_ttc_s is None else float(min_ttc_s > ttc_bound_s),
        speed_limit=ask(
            "nuplan.speed_limit",
            lambda: nuplan.speed_limit_part(ride.column("speed_mps"), ride.column("speed_limit_mps")),
        ),
        comfort=None if comfortable is None else float(comfortable.comfortable),
    )


def _collision_part(ride: Ride, crashes: Sequence[Crash]) -> float:
    guilty = []
    for crash in crashes:
        try:
            between_lanes: bool | None = bool(ride.between_lanes()[crash.step - ride.start])
        except Missing:
            between_lanes = None
        blame = nuplan.at_fault(crash, between_lanes=between_lanes)
        if blame is None:
            raise Missing(f"who is to blame for the crash at {crash.t_s:.1f} s hangs on the lane, which is unknown")
        if blame:
            guilty.append(crash)
    return nuplan.collision_part(guilty)


def _happened(episode: Episode, spec: EpisodeSpec, event: str, start: int) -> bool | None:
    """Whether an event outcome occurred from step `start` on; None where it is not declared."""
    if event not in {o.name for o in spec.outcomes}:
        return None
    return bool((np.nan_to_num(episode.outcomes[event][start:]) >= 0.5).any())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value
