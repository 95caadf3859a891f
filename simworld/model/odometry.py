"""Odometry: how fast the ego goes and turns, by how what its cameras show went by.

A belief is one vector of a whole scene and tells speeds badly, most of all high ones, of which it has seen few. So
earlier pictures are carried to the newest one by the motion that the ego is thought to have: where that is right, what
stands on the ground is the same in all of them, and where it is not, all of it has moved alike. Every cell of every
camera says by how much the ego is faster and turns more than it was thought to, and how much its word counts, as much
of a picture shows nothing of it; then the pictures are carried once more by what they said (visual odometry; refined
as in Teed and Deng 2020, "RAFT").

Letters: b batch, k frames, h and w pixels, m cells of all cameras.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.carrying import Carrier, Motion
from simworld.model.guesses import USUAL
from simworld.model.pixels import to_model
from simworld.model.precision import exactly
from simworld.model.rays import rays_of
from simworld.model.sampling import sampled
from simworld.nets.detector import Residual

AGO = (4, 2, 1)  # steps ago of the pictures that are carried
GAIN = 4.0  # of their differences from the newest one
UNITS = (2.0, 0.04)  # in which errors of speed and yaw rate are told
ROUND = 0.1  # errors, in units, below which they are squared
ROUNDS = 2  # how often pictures are carried
FIRST, GEOMETRY = 24, 6  # channels of the finest map, and numbers that tell cells and cameras apart


class Odometry(nn.Module):
    """Frames so many steps ago as `sees` says, and the ego's speed in m/s and yaw rate in rad/s (b, 2) as they are
    thought to be, to what they are; until it learns, as they were thought. Every camera's mount is known."""

    sees = (*AGO, 0)
    usual: Tensor
    units: Tensor

    def __init__(
        self, width: int, *, cameras: dict[str, tuple[int, int]], mounts: dict[str, Mount], dt_s: float
    ) -> None:
        super().__init__()
        self.dt_s = dt_s
        self.carriers = nn.ModuleDict({c: Carrier(mounts[c], size) for c, size in cameras.items()})
        self.fine = nn.Conv2d(3 * len(self.sees), FIRST, 3, stride=2, padding=1)
        self.cells = nn.Conv2d(FIRST, width, 3, stride=2, padding=1)
        self.geometry, self.known = nn.Linear(GEOMETRY, width), nn.Linear(2, width)
        self.around = nn.Sequential(Residual(width), Residual(width), nn.GroupNorm(1, width), nn.ReLU())
        self.out = nn.Conv2d(width, 4, 1)  # speed and yaw rate, and how much each counts
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)
        self.register_buffer("units", torch.tensor(UNITS), persistent=False)
        for camera, (h, w) in cameras.items():
            self.register_buffer(f"rays_{camera}", _rays(mounts[camera], h, w), persistent=False)

    def forward(self, frames: dict[str, Tensor], ego: Tensor) -> Tensor:
        """frames {camera: uint8 (b, k, h, w, 3)}, the newest last, to (b, 2)."""
        return self.each(frames, ego.float())[-1]

    def loss(self, frames: dict[str, Tensor], ego: Tensor, true: Tensor) -> Tensor:
        """How far off the truth (b, 2) every round is, by all cameras together and by the first alone."""
        first = next(iter(frames))
        films = [frames] if len(frames) == 1 else [frames, {first: frames[first]}]
        off = torch.stack([(told - true) / self.units for film in films for told in self.each(film, ego)])
        return F.smooth_l1_loss(off, torch.zeros_like(off), beta=ROUND)

    def each(self, frames: dict[str, Tensor], ego: Tensor) -> list[Tensor]:
        """What every round tells (b, 2), by what the one before it told."""
        told = []
        for _ in range(ROUNDS):
            said = torch.cat([self._said(camera, film, ego.detach()) for camera, film in frames.items()], dim=1)
            value, counts = said.float().split(2, dim=-1)
            told.append(ego.detach() + self.units * (value * counts.softmax(dim=1)).sum(1))
            ego = told[-1]
        return told

    def _said(self, camera: str, film: Tensor, ego: Tensor) -> Tensor:
        """What the cells of a camera say (b, m, 4)."""
        pictures = torch.cat([GAIN * self._changes(camera, film, ego), to_model(film[:, -1])[:, None]], dim=1)
        x = self.cells(F.relu(self.fine(pictures.flatten(1, 2).contiguous(memory_format=torch.channels_last))))
        x = x + rearrange(self.geometry(self.get_buffer(f"rays_{camera}")), "h w c -> c h w")
        x = x + self.known(ego / self.usual)[..., None, None]
        return rearrange(self.out(self.around(x)), "b c h w -> b (h w) c")

    @torch.no_grad()
    def _changes(self, camera: str, film: Tensor, ego: Tensor) -> Tensor:
        """How the newest picture differs from those before it, carried by the ego's motion (b, k, 3, h, w)."""
        carrier = self.carriers[camera]
        assert isinstance(carrier, Carrier)
        pictures = to_model(film)
        with exactly(ego.device):
            ways = [carrier.ground(Motion.of(ego[:, 0], ego[:, 1], ago * self.dt_s)) for ago in AGO]
            places = rearrange(ways, "k b h w two -> (b k) h w two")
            carried = sampled(pictures[:, :-1].flatten(0, 1), places).unflatten(0, (len(film), -1))
        return pictures[:, -1:] - carried


def _rays(mount: Mount, h: int, w: int) -> Tensor:
    """Where the cells of a camera look, and where it looks itself (h / 4, w / 4, GEOMETRY)."""
    rays = rays_of(mount, h, w)
    heading = torch.tensor([math.cos(mount.heading_rad), math.sin(mount.heading_rad)])
    return torch.cat([rays, heading.expand(*rays.shape[:2], -1)], dim=-1)
