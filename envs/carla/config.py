"""CarlaConfig: which server, which town and what an episode is like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CarlaConfig:
    """Defaults of simworld/Carla-v0; what has a counterpart in simworld/Driving-v0 has its name and value.

    town           map to load, e.g. "Town04"; None keeps the one that the server runs
    reload         load the map anew at every reset: without it the same seed need not give the same film
    recorder       file on the server's disk for its recorder, "{seed}" is filled in; None records nothing
    tick_s, ticks_per_step  fixed simulation step, and how many of them one action lasts
    """

    host: str = "localhost"
    port: int = 2000
    tm_port: int = 8000
    timeout_s: float = 20.0
    town: str | None = None
    reload: bool = True
    recorder: str | None = None
    ego_blueprint: str = "vehicle.tesla.model3"
    horizon: int = 600
    min_actors: int = 4
    max_actors: int = 12
    max_actor_rows: int = 16
    walker_share: float = 0.25  # of the actors
    reckless_share: float = 0.2  # of the vehicles: they tailgate and ignore lights and others
    traffic_radius_m: float = 120.0
    aftermath_s: float = 0.0
    settle_ticks: int = 20  # after spawning, until the vehicles rest on their wheels
    tick_s: float = 0.05
    ticks_per_step: int = 2
    default_limit_mps: float = 13.9  # where CARLA knows no speed limit yet

    def __post_init__(self) -> None:
        if not 0 < self.tick_s <= 0.1:
            # CARLA's physics makes at most 10 substeps of 0.01 s per tick.
            raise ValueError(f"tick_s must lie in (0, 0.1], got {self.tick_s}")
        if self.ticks_per_step < 1 or self.horizon < 1:
            raise ValueError("ticks_per_step and horizon must be at least 1")
        if not 0 <= self.min_actors <= self.max_actors:
            raise ValueError(f"min_actors {self.min_actors} and max_actors {self.max_actors} are not in order")

    @property
    def dt_s(self) -> float:
        """Time between two frames."""
        return self.tick_s * self.ticks_per_step
