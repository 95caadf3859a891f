"""The reader: what consecutive latents show of the env's state, and so what imagined ones ought to show.

A frame that is the mean of all that may come is blurred, and blurred frames stand still. The reader learns from real
latents to tell the state (speed, place, gap, ...); the dynamics learns to draw frames that it reads rightly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call

from simworld.model.noise import NoiseStream
from simworld.model.state_error import StateError

FRAMES, WIDTH = 3, 64


class Reader(nn.Module):
    """Latents of every camera to the standardised numbers of these names, for each frame of a window but two."""

    def __init__(self, *, channels: int, grids: dict[str, tuple[int, int]], state_names: tuple[str, ...]) -> None:
        super().__init__()
        self.eyes = nn.ModuleDict(
            {
                camera: nn.Sequential(
                    nn.Conv2d(FRAMES * channels, WIDTH, 3, padding=1),
                    nn.SiLU(),
                    nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
                    nn.SiLU(),
                    nn.AdaptiveAvgPool2d(8),
                    nn.Flatten(),
                    nn.Linear(64 * WIDTH, 2 * WIDTH),
                )
                for camera in grids
            }
        )
        self.out = nn.Linear(2 * WIDTH, len(state_names))
        self.error = StateError(state_names)

    def forward(self, latents: dict[str, Tensor]) -> Tensor:
        """{camera: (b, t, c, h, w)} to (b, t - 2, s)."""
        told = []
        for camera, eye in self.eyes.items():
            z = latents[camera]
            b, t = len(z), z.shape[1] - FRAMES + 1
            # the newest frame, and how it came about: motion is a small difference of large numbers
            steps = torch.cat([2 * z.diff(dim=1)[:, i : i + t] for i in range(FRAMES - 1)], dim=2)
            told.append(eye(rearrange(torch.cat([z[:, FRAMES - 1 :], steps], dim=2), "b t c h w -> (b t) c h w")))
        return self.out(F.silu(torch.stack(told).sum(0))).float().unflatten(0, (b, t))

    def learned(self, real: dict[str, Tensor], state: Tensor, noise: NoiseStream) -> Tensor:
        """How wrongly real latents (b, t, ...) of this standardised state (b, t, s) are read.

        Through some noise, or the dynamics would learn to please the reader with patterns that nobody sees.
        """
        amount = 0.3 * noise.uniform(1)[..., None, None, None]
        return self._off(self({k: z + amount * noise.normal(*z.shape[1:]) for k, z in real.items()}), state)

    def shown(self, imagined: dict[str, Tensor], state: Tensor) -> Tensor:
        """The same of imagined latents, from which only they learn, not the reader."""
        frozen = {name: p.detach() for name, p in self.named_parameters()}
        return self._off(functional_call(self, frozen, (imagined,)), state)

    def _off(self, read: Tensor, state: Tensor) -> Tensor:
        return self.error(read, state[:, FRAMES - 1 :]).mean()
