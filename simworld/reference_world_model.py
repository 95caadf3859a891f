"""The reference as a WorldModel: the pixel U-Net's frames, and outcome heads that look at those frames."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from simworld.episode import EpisodeSpec
from simworld.model.actions import encode_actions, encoded_size
from simworld.model.noise import NoiseStream
from simworld.model.outcomes import HeadsConfig, OutcomeHeads, OutcomeTargets
from simworld.model.reference import ReferenceConfig, ReferenceModel
from simworld.world_model import Prediction, WorldModel, lay_out_channels_last


@dataclass(frozen=True)
class ReferenceWorldConfig:
    """`classifier_width`: channels of the small network that reads outcomes from frames."""

    reference: ReferenceConfig = field(default_factory=ReferenceConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    classifier_width: int = 32


@dataclass(frozen=True)
class ReferenceState:
    """past (b, n, c, h, w) in [-1, 1], oldest first; actions (b, n - 1, d) between them, encoded."""

    past: Tensor
    actions: Tensor
    seed: Tensor
    step: Tensor


class FrameClassifier(nn.Module):
    """Features (b, f) of the past frames and the next one (b, n + 1, c, h, w) and the action (b, d)."""

    def __init__(self, channels: int, width: int, action_size: int) -> None:
        super().__init__()
        sizes = [channels, width, 2 * width, 4 * width, 4 * width]
        self.convolutions = nn.Sequential(
            *(
                layer
                for a, b in zip(sizes[:-1], sizes[1:], strict=True)
                for layer in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(1, b), nn.SiLU())
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.action = nn.Linear(action_size, 64)
        self.num_features = 16 * sizes[-1] + 64

    def forward(self, frames: Tensor, action: Tensor) -> Tensor:
        seen = self.pool(self.convolutions(frames.flatten(1, 2))).flatten(1)
        return torch.cat([seen, F.silu(self.action(action)).to(seen.dtype)], dim=-1)


class ReferenceWorldModel(WorldModel[ReferenceState]):
    """Noise by (seed, step) and pure steps, like every WorldModel; three U-Net passes per frame."""

    def __init__(self, config: ReferenceWorldConfig, spec: EpisodeSpec) -> None:
        super().__init__()
        self.config, self.spec = config, spec
        self.reference = ReferenceModel(config.reference, spec)
        n, d = config.reference.num_past, encoded_size(spec.action)
        self.classifier = FrameClassifier((n + 1) * 3 * len(spec.cameras), config.classifier_width, d)
        self.heads = OutcomeHeads(config.heads, spec.outcomes, features=self.classifier.num_features)

    def to_dtype(self, dtype: torch.dtype) -> ReferenceWorldModel:
        """The networks run in `dtype` under autocast; their weights stay float32."""
        self.autocast_dtype = dtype
        lay_out_channels_last(self)
        return self

    autocast_dtype: torch.dtype = torch.float32

    def outcome_losses(self, frames: dict[str, Tensor], actions: Tensor, targets: OutcomeTargets) -> dict[str, Tensor]:
        """Losses of the heads on true frames {camera: uint8 (b, t+1, h, w, 3)}, actions (b, t, a).

        One step per window, the last: targets are (b, 1).
        """
        video = self.reference.stack_cameras(frames)[:, -self.config.reference.num_past - 1 :]
        encoded = encode_actions(actions[:, -1], self.spec.action)
        features = self.classifier(video, encoded)[:, None]
        return self.heads.loss(features, targets)

    @torch.no_grad()
    def start(
        self, frames: dict[str, Tensor], actions: Tensor, *, seed: Tensor, actors: Tensor | None = None
    ) -> ReferenceState:
        """As WorldModel says; with fewer frames than the network stacks, the first is repeated."""
        self.check_start(frames, actions)
        self.check_actors(actors, tuple(actions.shape[:2]))
        n = self.config.reference.num_past
        video = self.reference.stack_cameras({c: f[:, -n:] for c, f in frames.items()})
        encoded = encode_actions(actions, self.spec.action)[:, -(n - 1) :] if n > 1 else video.new_zeros(0)
        lacking = n - video.shape[1]
        video = torch.cat([video[:, :1]] * lacking + [video], dim=1)
        encoded = torch.cat(
            [encoded.new_zeros(len(video), n - 1 - encoded.shape[1], encoded.shape[-1]), encoded], dim=1
        )
        return ReferenceState(video, encoded, seed, torch.zeros_like(seed))

    @torch.no_grad()
    def step(
        self, state: ReferenceState, action: Tensor, actors: Tensor | None = None
    ) -> tuple[ReferenceState, Prediction]:
        self.check_actors(actors, (len(action),))
        encoded = encode_actions(action, self.spec.action)
        actions = torch.cat([state.actions, encoded[:, None]], dim=1)
        noise = NoiseStream(state.seed, state.step).normal(*state.past.shape[2:])
        low = self.autocast_dtype != torch.float32
        with torch.autocast(action.device.type, self.autocast_dtype) if low else nullcontext():
            newest = self.reference.predict_next(state.past, actions, noise)
            features = self.classifier(torch.cat([state.past, newest[:, None]], dim=1), encoded)
            outcomes = self.heads(features)
        frames = self.reference.split_cameras(newest)
        past = torch.cat([state.past[:, 1:], newest[:, None]], dim=1)
        return replace(state, past=past, actions=actions[:, 1:], step=state.step + 1), Prediction(frames, outcomes)
