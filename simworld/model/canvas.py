"""The canvas: the pictures of all cameras, carried on by geometry and painted on by a network, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.actors import NUM_FIELDS
from simworld.model.ahead import same
from simworld.model.carrying import (
    CURVATURE,
    HEADING,
    LANE,
    LATERAL,
    NUM_CARRIED,
    SPEED,
    YAW_RATE,
    Carrier,
    Motion,
)
from simworld.model.painting import CHANNELS, paint
from simworld.model.pixels import to_model
from simworld.model.sprites import Look, Sprites, known_again
from simworld.nets.painter import Painted, Painter, PainterConfig

Pictures = dict[str, Tensor]  # {camera: float32 (b, 3, h, w)} in [-1, 1]
Frames = dict[str, Tensor]  # {camera: uint8 (b, h, w, 3)}
TRUSTED_S = 1.5  # until then the dead reckoned place in the lane counts, and from then on the estimated one


@dataclass(frozen=True)
class CanvasConfig:
    """`pure_noise`: the share of steps trained from noise alone, the condition of one-step sampling.

    `max_actors`: how many actors a frame can be conditioned on; `actor_drop`: the share of films trained without.
    `true_share`: of the films, those that learn by the recorded state instead of the model's own estimate of it.
    `shown_weight`, `fresh_weight`: of what frames show of the state, and of what is painted afresh, beside the error.
    """

    painter: PainterConfig = field(default_factory=PainterConfig)
    pure_noise: float = 0.7
    max_actors: int = 12
    actor_drop: float = 0.5
    true_share: float = 1.0
    shown_weight: float = 0.025
    fresh_weight: float = 0.3


class Cast(NamedTuple):
    """The actors that are drawn: (b, n, 9) as they are `now`, after the step, NaN where absent, and as they
    were `before` it, with the boxes {camera: (b, n, 4)} in which each of now was `seen` in the first pictures, NaN
    where in none."""

    now: Tensor
    before: Tensor
    seen: dict[str, Tensor]


class Moved(NamedTuple):
    """How the ego moves in the step, None if unknown; and what has become of its place on the road since the first
    picture, (b, 6): how it has crossed the road and turned against it, in m to the left and rad, where in its lane it
    was at first, in m, the way across by dead reckoning, how far the estimated way is off that, in m, and the time, in
    s."""

    step: Motion | None
    crossed: Tensor


class Known(NamedTuple):
    """What a step is drawn by: the encoded action (b, a), the belief (b, d) of the coming frame, the standardised state
    (b, s) before and after it, how the ego has moved, the `first` pictures, which are the newest real ones, and the
    cast, None where nobody is told or believed of."""

    action: Tensor
    belief: Tensor
    state_before: Tensor
    state: Tensor
    moved: Moved
    first: Frames
    cast: Cast | None


class Canvas(nn.Module):
    """Denoises the next pictures; noise lives on their means over cells of `patch` pixels.

    `motion_at` and `road_at`: which of the states tell how the ego moves, and how it lies on its road; [] if none do.
    """

    def __init__(
        self,
        config: CanvasConfig,
        *,
        cameras: dict[str, tuple[int, int]],
        mounts: dict[str, Mount] | None,
        state_names: tuple[str, ...],
        action_size: int,
        believed: int,
        dt_s: float,
    ) -> None:
        super().__init__()
        self.config, self.cameras, self.dt_s = config, dict(cameras), dt_s
        self.mounts = {c: m for c, m in (mounts or {}).items() if c in cameras}
        self.motion_at, self.road_at = (
            [state_names.index(name) for name in names] if set(names) <= set(state_names) else []
            for names in ((SPEED, YAW_RATE), (HEADING, CURVATURE, LATERAL, LANE))
        )
        self.carriers = nn.ModuleDict(
            {c: Carrier(self.mounts.get(c) if self.motion_at else None, size) for c, size in cameras.items()}
        )
        self.sprites = Sprites() if self.mounts and config.max_actors else None
        width = config.painter.condition
        self.told = nn.Linear(action_size + believed + 2 * len(state_names) + 2, width)
        self.condition = nn.Linear(width, width)
        self.painter = Painter(
            config.painter, carried=NUM_CARRIED, extra=3 + CHANNELS * bool(self.mounts), cameras=self.cameras
        )

    def to_dtype(self, dtype: torch.dtype) -> None:
        """The networks' precision; geometry stays float32."""
        for part in (self.told, self.condition, self.painter):
            part.to(dtype)

    @property
    def cells(self) -> dict[str, tuple[int, int]]:
        """How many cells high and wide each camera's picture is."""
        p = self.config.painter.patch
        return {c: (h // p, w // p) for c, (h, w) in self.cameras.items()}

    def coarse(self, pictures: Pictures) -> Pictures:
        """Means over cells, (b, 3, h / p, w / p): what noise is mixed with."""
        return {c: F.avg_pool2d(x, self.config.painter.patch) for c, x in pictures.items()}

    def uncrossed(self, state: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """What Moved has as `crossed` at the first picture, by its standardised state (b, s), of this mean and spread
        (s,)."""
        crossed = torch.zeros(len(state), 6, device=state.device)
        if self.road_at:
            crossed[:, 2] = (state * std + mean)[:, self.road_at[2]]
        return crossed

    def moved(self, before: Tensor, after: Tensor, crossed: Tensor, mean: Tensor, std: Tensor) -> Moved:
        """The motion between two standardised states, and what `crossed` (b, 6) becomes by it.

        By dead reckoning at first, since a place that is estimated anew at every step would make the road tremble; its
        errors grow with time, and soon it counts where between two lines the ego is estimated to be. The change is a
        quick one: half of two places, of which one is left of a line and one right of it, is neither.
        """
        if not self.motion_at:
            return Moved(None, crossed)
        between = (before + after) / 2 * std + mean
        speed, yaw_rate = between[:, self.motion_at].unbind(1)
        step = Motion.of(speed, yaw_rate, self.dt_s)
        if not self.road_at:
            return Moved(step, crossed)
        (heading, curvature), (lateral, lane) = (
            x[:, at].unbind(1) for x, at in ((between, self.road_at[:2]), (after * std + mean, self.road_at[2:]))
        )
        _, turn, first, reckoned, off, time_s = crossed.unbind(1)
        reckoned, lane, time_s = reckoned + speed * heading.sin() * self.dt_s, lane.clamp(min=1.0), time_s + self.dt_s
        change = lateral - first - reckoned - off
        off = off + change - lane * (change / lane).round()  # one lane looks as the next
        left = reckoned + off / (1 + (TRUSTED_S / time_s) ** 6)
        turn = turn + (yaw_rate - curvature * speed) * self.dt_s
        return Moved(step, torch.stack([left, turn, first, reckoned, off, time_s], dim=1))

    def forward(
        self, last: Pictures, before: Pictures, noisy: Pictures, level: Tensor, known: Known
    ) -> dict[str, Painted]:
        """The pictures after `last`, which came after `before`; noisy means (b, 3, h / p, w / p) at `level` (b,): 0
        is pure noise, 1 is clean."""
        dtype = self.told.weight.dtype
        levels = torch.stack([level, level.square()], dim=-1)
        told = torch.cat([known.action, known.belief, known.state_before, known.state, levels], dim=-1)
        condition = self.condition(F.silu(self.told(told.to(dtype))))
        out = {}
        for camera in self.cameras:
            carried, hidden = self._carried(camera, last[camera], known)
            extra = [noisy[camera]]
            if self.mounts:
                extra.append(self._painted(camera, noisy, None if known.cast is None else known.cast.now))
            out[camera] = self.painter(camera, carried, before[camera], hidden, torch.cat(extra, dim=1), condition)
        return out

    def _carried(self, camera: str, last: Tensor, known: Known) -> tuple[Tensor, Tensor]:
        """The carried pictures (b, NUM_CARRIED, 3, h, w), the cast drawn over the first; and where (b, 1, h, w) it
        hides the ground, or did."""
        carrier, cast, first = self.carriers[camera], known.cast, to_model(known.first[camera])
        assert isinstance(carrier, Carrier)
        ways = carrier.ways(known.moved.step, Motion.across(known.moved.crossed) if self.road_at else None)
        pictures = carrier(last, first, ways)
        if cast is None or self.sprites is None or carrier.mount is None:
            return pictures, torch.zeros_like(last[:, :1])
        stage, covered = carrier.stages(cast.now, cast.before)
        look = Look(cast.now, cast.seen[camera], first)
        colour, solid = self.sprites(stage, look, (carrier.mount.x_m, carrier.mount.y_m)).split([3, 1], dim=1)
        ground = pictures[:, 0] + solid * (colour - pictures[:, 0])
        hidden = carrier.uncovered(covered, stage, ways)
        return torch.cat([ground[:, None], pictures[:, 1:]], dim=1), hidden

    def begun(self, actors: Tensor | None, num: int, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
        """What Cast has as `before` and `seen` when `num` films begin with these actors (num, n, 9)."""
        nobody = torch.full((num, self.config.max_actors, NUM_FIELDS), torch.nan, device=device)
        if actors is None:
            return nobody, {c: nobody[..., :4] for c in self.cameras}
        actors, seen = self.padded(actors), {}
        for camera in self.cameras:
            carrier = self.carriers[camera]
            assert isinstance(carrier, Carrier)
            shows = self.sprites is not None and carrier.mount is not None
            seen[camera] = carrier.stage(actors).well_seen() if shows else nobody[..., :4]
        return actors, seen

    def padded(self, actors: Tensor) -> Tensor:
        """Actors (b, n, ...), or what there is of each, as many as the canvas can be told of."""
        return F.pad(actors, (0, 0, 0, self.config.max_actors - actors.shape[1]), value=torch.nan)

    def believed_cast(self, now: Tensor, before: Tensor, seen: dict[str, Tensor]) -> Cast:
        """The cast of a step after which the nearest in each lane are believed to be the actors (b, lanes, 9)."""
        n = now.shape[1]
        before, still = before[:, :n], same(before[:, :n], now[..., 1])[..., None]
        return Cast(now, before, {c: torch.where(still, s[:, :n], torch.nan) for c, s in seen.items()})

    def cast(self, now: Tensor, before: Tensor, seen: dict[str, Tensor], motion: Motion | None) -> Cast:
        """The cast of a step after which the actors (b, n, 9) are where `now` tells, known again among those before."""
        now = self.padded(now)
        if motion is None:
            return Cast(now, before, {c: torch.full_like(now[..., :4], torch.nan) for c in seen})
        rows = torch.nan_to_num(now)
        back = motion.before(*(rows[..., i] - rows[..., 3 + i] * self.dt_s for i in (1, 2)))
        which = known_again(now, back, before)[..., None]
        again = {
            c: torch.where(which >= 0, s.gather(1, which.clamp(min=0).expand(-1, -1, 4)), torch.nan)
            for c, s in seen.items()
        }
        return Cast(now, before, again)

    def _painted(self, camera: str, noisy: Pictures, actors: Tensor | None) -> Tensor:
        """Maps (b, CHANNELS, h / p, w / p) of the actors, zero where none is told or the camera's mount is unknown."""
        b, _, h, w = noisy[camera].shape
        if actors is None or camera not in self.mounts:
            return noisy[camera].new_zeros(b, CHANNELS, h, w)
        return rearrange(paint(actors, self.mounts[camera], (h, w), w / h), "b h w f -> b f h w")
