"""The last phase: how far an imagined step is to be trusted, and how often its events happen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from simworld.believing import BelievingWorldModel
from simworld.calibrate import calibrate_events
from simworld.closed_loop import ClosedLoop, Samples
from simworld.phases.common import Stage, picked


@dataclass
class TrustPhase(Stage[BelievingWorldModel[Any]]):
    """What expects the error of a frame, at the end, on what the finished model imagines from many windows.

    Hazards are calibrated on as many windows of `others` besides.
    """

    num_windows: int
    name: str = "trust"
    parts: tuple[str, ...] = ("heads.doubt",)

    def __post_init__(self) -> None:
        super().__post_init__()
        dtype = self.run.autocast or torch.float32
        self.imagined = ClosedLoop(self.model, self.cache, seed=self.seed + 1, dtype=dtype, device=self.run.device)

    @cached_property
    def samples(self) -> Samples:
        """The same ones on every rank, imagined when they are first asked for."""
        return self.imagined.samples(self.num_windows, self.run.tell)

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        seen = self.samples
        total = self.config.batch * self.config.window
        pick = picked(len(seen.features), total, self.seed, step, self.run)
        return {"loss": self.model.heads.doubt_loss(seen.features[pick], seen.log_error[pick])}

    def finish(self) -> None:
        """Calibrate trust and the hazards of events on windows of the same episodes."""
        self.model.heads.calibrate_trust(self.samples.features)
        run = self.run
        calibrate_events(
            self.model, self.caches, seed=self.seed, device=run.device, autocast=run.autocast, report=run.tell
        )
