"""The canvas: the pictures of all cameras, carried on by geometry and painted on by a network, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.carrying import NUM_CARRIED, SPEED, YAW_RATE, Carrier, Motion
from simworld.model.painting import CHANNELS, paint
from simworld.nets.painter import Painted, Painter, PainterConfig

Pictures = dict[str, Tensor]  # {camera: float32 (b, 3, h, w)} in [-1, 1]


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
    shown_weight: float = 0.06
    fresh_weight: float = 0.3


class Known(NamedTuple):
    """What a step is drawn by: the encoded action (b, a), the belief (b, d) of the coming frame, the standardised state
    (b, s) before and after it, and actors (b, n, 9) after it, None where nobody is told."""

    action: Tensor
    belief: Tensor
    state_before: Tensor
    state: Tensor
    actors: Tensor | None


class Canvas(nn.Module):
    """Denoises the next pictures; noise lives on their means over cells of `patch` pixels.

    `moves`: the places of speed and yaw rate among the states, None where those do not tell how the ego moves.
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
        tells = {SPEED, YAW_RATE} <= set(state_names)
        self.moves = (state_names.index(SPEED), state_names.index(YAW_RATE)) if tells else None
        self.carriers = nn.ModuleDict(
            {c: Carrier(self.mounts.get(c) if self.moves else None, size) for c, size in cameras.items()}
        )
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

    def coarse(self, pictures: Pictures) -> Pictures:
        """Means over cells, (b, 3, h / p, w / p): what noise is mixed with."""
        return {c: F.avg_pool2d(x, self.config.painter.patch) for c, x in pictures.items()}

    def motion(self, before: Tensor, after: Tensor, mean: Tensor, std: Tensor) -> Motion:
        """How the ego moves between two standardised states (b, s), whose mean and spread (s,) are given."""
        assert self.moves is not None
        between = (before + after) / 2 * std + mean
        return Motion.of(between[:, self.moves[0]], between[:, self.moves[1]], self.dt_s)

    def forward(
        self, last: Pictures, before: Pictures, noisy: Pictures, level: Tensor, known: Known, motion: Motion | None
    ) -> dict[str, Painted]:
        """The pictures after `last`, which came after `before`; noisy means (b, 3, h / p, w / p) at `level` (b,): 0
        is pure noise, 1 is clean."""
        dtype = self.told.weight.dtype
        levels = torch.stack([level, level.square()], dim=-1)
        told = torch.cat([known.action, known.belief, known.state_before, known.state, levels], dim=-1)
        condition = self.condition(F.silu(self.told(told.to(dtype))))
        out = {}
        for camera in self.cameras:
            carried = self.carriers[camera](last[camera], motion, known.actors)
            extra = [noisy[camera]] if not self.mounts else [noisy[camera], self._painted(camera, noisy, known.actors)]
            out[camera] = self.painter(
                camera, carried.pictures, before[camera], carried.hidden, torch.cat(extra, dim=1), condition
            )
        return out

    def _painted(self, camera: str, noisy: Pictures, actors: Tensor | None) -> Tensor:
        """Maps (b, CHANNELS, h / p, w / p) of the actors, zero where none is told or the camera's mount is unknown."""
        b, _, h, w = noisy[camera].shape
        if actors is None or camera not in self.mounts:
            return noisy[camera].new_zeros(b, CHANNELS, h, w)
        return rearrange(paint(actors, self.mounts[camera], (h, w), w / h), "b h w f -> b f h w")
