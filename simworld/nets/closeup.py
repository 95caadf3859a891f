"""A small convnet that reads numbers off stacks of small pictures of one thing, and what is known of it beside them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.nets.detector import Residual

WIDTHS, THIN, HIDDEN = (48, 64, 96), 24, 192
GAIN = 2.0  # of changes from picture to picture


class CloseUpNet(nn.Module):
    """`frames` pictures of size (h, w) and `notes` numbers in, `outputs` numbers out, all 0 before it learns."""

    def __init__(self, frames: int, size: tuple[int, int], *, notes: int, outputs: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.first = nn.Conv2d(4 * frames, first, 3, padding=1)
        self.fine = nn.Sequential(nn.Conv2d(first, second, 3, stride=2, padding=1), Residual(second), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(second, third, 3, stride=2, padding=1), Residual(third))
        self.thin = nn.Sequential(nn.GroupNorm(1, third), nn.ReLU(), nn.Conv2d(third, THIN, 1), nn.Flatten())
        self.pictures = nn.Linear(THIN * (size[0] // 4) * (size[1] // 4), HIDDEN)
        self.notes = nn.Linear(notes, HIDDEN)
        self.hidden = nn.Linear(HIDDEN, HIDDEN)
        self.out = nn.Linear(HIDDEN, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs

    def forward(self, pictures: Tensor, shown: Tensor, notes: Tensor) -> Tensor:
        """Pictures (m, k, 3, h, w) from -1 to 1, the last one now, how much of each pixel is shown (m, k, 1, h, w) and
        what is known (m, n), to float32 (m, outputs)."""
        now = pictures[:, -1:]
        changes = GAIN * (now - pictures[:, :-1]) * shown[:, :-1] * shown[:, -1:]
        x = torch.cat([now.flatten(1, 2), changes.flatten(1, 2), shown.flatten(1, 2)], dim=1)
        x = F.relu(self.first(x.contiguous(memory_format=torch.channels_last)))
        x = self.thin(self.coarse(self.fine(x)))
        x = F.relu(self.pictures(x) + self.notes(notes))
        return self.out(F.relu(self.hidden(x))).float()
