"""A ride: the part of an episode that is scored, as the quantities that the driving scores are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simworld.episode import Episode, EpisodeSpec
from simworld.metrics.comfort import MIN_SAMPLES, Comfort, ComfortBounds, comfort
from simworld.metrics.crashes import Crash
from simworld.metrics.nuplan import at_fault, relevant_actors
from simworld.metrics.rss import RssParameters, rss_unsafe
from simworld.metrics.safety import TtcSettings, post_encroachment_s, time_to_collision_s
from simworld.metrics.tracks import actor_tracks, ego_path
from simworld.scenario import Body

Floats = NDArray[np.float64]
CROSSING_RAD = np.deg2rad(30.0)  # paths at a smaller angle follow or meet each other, they do not cross


class Missing(Exception):
    """A quantity can not be had from this episode; the message says why."""


class Ride:
    """Frames `start` to the last of one episode; whatever the episode lacks raises Missing when asked for."""

    def __init__(self, episode: Episode, spec: EpisodeSpec, start: int, ego: Body) -> None:
        self.spec, self.start = spec, start
        self.num_frames = episode.num_steps + 1 - start
        self.ego_size_m = np.array([ego.length_m, ego.width_m])
        self._state = episode.state[start:].astype(np.float64)
        self._actors = episode.actors[start:].astype(np.float64)

    def column(self, name: str) -> Floats:
        """State entry (t,) over the frames of the ride."""
        if self._state.shape[1] == 0 or np.isnan(self._state).all():
            raise Missing("the episode has no state, as an imagined one")
        if name not in self.spec.state_names:
            raise Missing(f"the state has no entry {name!r}")
        values = self._state[:, self.spec.state_names.index(name)]
        if not np.isfinite(values).all():
            raise Missing(f"state entry {name!r} holds NaN or infinity")
        return values

    def actors(self) -> Floats:
        """Actors (t, n, 9) in the ego frame, n = 0 when the ego is alone; velocities are over the ground."""
        self.column("speed_mps")  # without state an empty list of actors means unknown, not alone
        return self._actors

    def progress_m(self) -> float:
        """Way made along the road."""
        return float(self._per_step(self.column("speed_mps") * np.cos(self.column("heading_error_rad"))).sum())

    def speed_limit_progress_m(self) -> float:
        """Way that a driver exactly at the speed limit makes in the same time: an expert where none was recorded."""
        return float(self._per_step(self.column("speed_limit_mps")).sum())

    def along_lane_m(self) -> Floats:
        """Way made per step in the direction of the lane that the ego is in, negative against it."""
        along = self._per_step(self.column("speed_mps") * np.cos(self.column("heading_error_rad")))
        leftmost = self.column("lane_index") >= self.column("num_lanes") - 1
        past_it = self.column("lateral_m") > self.column("lane_width_m") / 2
        oncoming = leftmost & past_it & (self.column("num_oncoming") > 0)
        return np.where(oncoming[1:], -along, along)

    def off_route_share(self) -> float:
        """Share of the way made that lay beyond an edge of the road."""
        way_m = self._per_step(np.abs(self.column("speed_mps")))
        outside = (self.column("to_right_edge_m") < 0) | (self.column("to_left_edge_m") < 0)
        return float(way_m[outside[1:]].sum() / max(way_m.sum(), 1e-9))

    def between_lanes(self) -> NDArray[np.bool_]:
        """(t,) whether part of the ego reaches out of its lane."""
        return np.abs(self.column("lateral_m")) + self.ego_size_m[1] / 2 > self.column("lane_width_m") / 2

    def comfort(self, bounds: ComfortBounds) -> Comfort:
        """Comfort of the whole ride."""
        speed_mps, yaw_rate_radps = self.column("speed_mps"), self.column("yaw_rate_radps")
        if self.num_frames < MIN_SAMPLES:
            raise Missing(f"comfort needs at least {MIN_SAMPLES} frames, there are {self.num_frames}")
        return comfort(speed_mps, yaw_rate_radps, self.spec.dt_s, bounds)

    def min_ttc_s(self, crashes: Sequence[Crash], settings: TtcSettings, rear_axle_m: float) -> float:
        """Least time to collision with an actor that counts, until the first crash; 0 if the ego is to blame for it."""
        speed_mps, between = self.column("speed_mps"), self.between_lanes()
        if any(at_fault(c, between_lanes=bool(between[c.step - self.start])) for c in crashes[:1]):
            return 0.0
        last = crashes[0].step - self.start + 1 if crashes else self.num_frames
        actors = self.actors()[:last]
        ttc = time_to_collision_s(
            np.zeros((last, 3)),
            np.stack([speed_mps[:last], np.zeros(last)], -1),
            self.ego_size_m,
            actors[..., 1:4],
            actors[..., 4:6],
            actors[..., 6:8],
            settings,
        )
        counts = relevant_actors(actors[..., 1:3], between[:last], rear_axle_m=rear_axle_m)
        return float(np.min(ttc, initial=np.inf, where=counts))

    def min_pet_s(self) -> float:
        """Least post-encroachment time over actors whose path crosses the ego's."""
        path = ego_path(self.column("speed_mps"), self.column("yaw_rate_radps"), self.spec.dt_s)
        best = np.inf
        for track in actor_tracks(self.actors(), path, self.spec.dt_s):
            ego = path[track.first : track.first + len(track.pose)]
            if len(ego) < 2 or not (np.abs(np.sin(track.pose[:, 2] - ego[:, 2])) > np.sin(CROSSING_RAD)).any():
                continue
            best = min(best, post_encroachment_s(ego, self.ego_size_m, track.pose, track.size_m, self.spec.dt_s))
        return float(best)

    def rss_unsafe_share(self, rss: RssParameters) -> float:
        """Share of frames in which RSS calls some actor ahead or alongside dangerous, in axes along the road."""
        speed_mps, heading = self.column("speed_mps"), self.column("heading_error_rad")
        actors = self.actors()
        cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
        turned = actors.copy()
        for x, y in ((1, 2), (4, 5)):
            turned[..., x] = cos * actors[..., x] - sin * actors[..., y]
            turned[..., y] = sin * actors[..., x] + cos * actors[..., y]
        turned[..., 3] += heading[:, None]
        ego_velocity = speed_mps[:, None] * np.stack([np.cos(heading), np.sin(heading)], -1)
        unsafe = rss_unsafe(
            ego_velocity, heading, self.ego_size_m, turned[..., 1:4], turned[..., 4:6], turned[..., 6:8], rss
        )
        return float(unsafe.any(-1).mean())

    def _per_step(self, speed_mps: Floats) -> Floats:
        return (speed_mps[1:] + speed_mps[:-1]) / 2 * self.spec.dt_s
