"""The phase of close-ups: who was spotted by the finished lookout and its tracks, and who was there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.futures import frames_ago
from simworld.model.actors import meant, present
from simworld.model.closeup import ASIDE, CloseUp, as_thought, pixel_m
from simworld.model.lookout import Lookout
from simworld.model.noise import NoiseStream
from simworld.phases.belief import relit
from simworld.phases.common import Stage, drawn_once, picked
from simworld.phases.lookout import about_known
from simworld.progress import telling

OFF = (0.8, 1.6)  # pixels, and pixels a second, by which boards are put up wrong and moved wrong


@dataclass
class CloseUpsPhase(Stage[CanvasWorldModel]):
    """Many moments, spotted once; their close-ups are taken anew each time, a little off, in any light, and mirrored
    half of the time; of half of them they are the second ones."""

    num_windows: int
    name: str = "closeups"
    parts: tuple[str, ...] = ("lookout.closeups",)

    @cached_property
    def spotted(self) -> tuple[NDArray[np.int64], Tensor, Tensor, Tensor]:
        """Rows (n,), those who are spotted (n, m, 9), the ego's motion as it is believed to be and as it is (n, 2), the
        same on every rank, when first asked for."""
        rows = drawn_once(self.cache, self.config, self.num_windows, self.seed + 4)
        parts = [self._spot(x) for x in telling(rows, "closeups: spotting in windows", self.run.tell)]
        spotted, ego, moved = (torch.cat(x) for x in zip(*parts, strict=True))
        return np.concatenate(rows), spotted, ego, moved

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        lookout = self.model.lookout
        assert isinstance(lookout, Lookout)
        chosen = picked(self.num_windows, self.config.batch, self.seed, step, self.run)
        spotted, ego, moved = (x[chosen] for x in self.spotted[1:])
        noise = NoiseStream(chosen + 1_000_003 * self.seed, torch.full_like(chosen, step))
        rows = self.spotted[0][chosen.cpu().numpy()]
        at = frames_ago(self.cache, rows, lookout.config.close)
        frames = {c: relit(f, noise) for c, f in self.frames_at(at).items()}
        spotted, again = _shaken(spotted, noise), noise.uniform(1)[:, 0] < 0.5
        with torch.no_grad():
            once, _ = lookout.closeups.look(spotted[again], {c: f[again] for c, f in frames.items()}, ego[again], 1)
        spotted[again] = once
        seen = lookout.closeups.taken(spotted, frames, ego)
        actors, there = torch.from_numpy(self.cache.actors[rows]).to(self.run.device), present(spotted)
        true, known = (x[there] for x in meant(spotted, as_thought(actors, ego, moved)))
        seen, true = _mirrored(seen, true, noise.uniform(spotted.shape[1])[there] < 0.5)
        return {"loss": lookout.closeups.loss(seen, true, known)}

    def _spot(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        lookout, device = self.model.lookout, self.run.device
        assert isinstance(lookout, Lookout)
        place = torch.from_numpy(rows).to(device)
        state = torch.from_numpy(self.cache.state[rows]).to(device)
        ego = about_known(self.model, state, NoiseStream(place, torch.full_like(place, self.seed)))
        with self.run.autocasting():
            spotted = lookout.tracked(self.frames_at(frames_ago(self.cache, rows, lookout.sees)), ego).float()
        return spotted, ego, state[:, self.model.canvas.motion_at].nan_to_num()


def _shaken(spotted: Tensor, noise: NoiseStream) -> Tensor:
    """Spotted actors (b, m, 9) somewhat elsewhere, and faster or slower."""
    off = noise.normal(spotted.shape[1], 4) * pixel_m(spotted)[..., None]
    place, velocity = off.split(2, dim=-1)
    rows = [spotted[..., :1], spotted[..., 1:3] + OFF[0] * place, spotted[..., 3:4]]
    return torch.cat([*rows, spotted[..., 4:6] + OFF[1] * velocity, spotted[..., 6:]], dim=-1)


def _mirrored(seen: CloseUp, true: Tensor, which: Tensor) -> tuple[CloseUp, Tensor]:
    """Close-ups of m actors and the truth (m, 9), those of `which` (m,) as a mirror shows them."""
    twins = zip((*seen, true), (*seen.mirrored(), true * true.new_tensor(ASIDE)), strict=True)
    *parts, true = (torch.where(which.view(-1, *[1] * (x.ndim - 1)), mirrored, x) for x, mirrored in twins)
    return CloseUp(*parts), true
