"""The dynamics: one transformer pass from a noisy frame, its past and an action to the clean frame.

Every frame of a window is denoised at its own noise level (diffusion forcing, Chen et al. 2024), with
the clean frames before it in the channels of its tokens. The keys and values that later frames look
back at are therefore those of the denoising pass itself: a stream needs no second pass to fill its cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from simworld.episode import Mount
from simworld.model.actors import ActorTokens, hide_absent
from simworld.model.noise import NoiseStream
from simworld.model.painting import paintings
from simworld.nets.transformer import KeysValues, SpaceTimeTransformer, TransformerConfig

Latents = dict[str, Tensor]  # {camera: (b, t, c, h, w)}, standardised


@dataclass(frozen=True)
class DynamicsConfig:
    """`history_noise`: the largest standard deviation put on past frames in training.

    `pure_noise`: the share of frames trained from noise alone, the condition of one-step sampling.
    `patch`: latent cells on a side of a token.
    `max_actors`: how many actors a frame can be conditioned on; `actor_drop`: the share of windows trained without.
    """

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    registers: int = 4
    num_past: int = 2
    history_noise: float = 0.2
    pure_noise: float = 0.7
    patch: int = 1
    max_actors: int = 12
    actor_drop: float = 0.5


class Denoised(NamedTuple):
    """clean: {camera: (b, t, c, h, w)}; registers (b, t, r * width), what was noted beside the picture."""

    clean: Latents
    registers: Tensor
    cache: tuple[KeysValues, ...]


def embed_level(level: Tensor, width: int) -> Tensor:
    """Sines and cosines of a level in [0, 1], (...) to (..., width)."""
    frequency = torch.exp(torch.linspace(0, math.log(256), width // 2, device=level.device))
    angle = math.pi * level[..., None] * frequency
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1)


def past_frames(latents: Latents, num_past: int) -> Latents:
    """Channels of the `num_past` frames before each frame but the first: (b, t, n c, h, w) for t + 1 frames.

    Before the first frame its copies stand in.
    """
    out = {}
    for camera, z in latents.items():
        padded = torch.cat([z[:, :1]] * (num_past - 1) + [z], dim=1)
        t = z.shape[1] - 1
        shifts = [padded[:, num_past - 1 - i : num_past - 1 - i + t] for i in range(num_past)]
        out[camera] = torch.cat(shifts, dim=2)
    return out


class Dynamics(nn.Module):
    """Predicts the clean latents of each frame; `grids` gives every camera's (h, w) in cells of `cell_px` pixels.

    On cameras with a mount the actors are painted as well. `believed`: size of the belief that frames are drawn by.
    """

    def __init__(
        self,
        config: DynamicsConfig,
        *,
        channels: int,
        grids: dict[str, tuple[int, int]],
        action_size: int,
        mounts: dict[str, Mount] | None = None,
        cell_px: int = 8,
        believed: int = 0,
    ) -> None:
        super().__init__()
        d = config.transformer.width
        self.config, self.channels, self.grids = config, channels, grids
        p = config.patch
        self.embed = nn.Linear((1 + config.num_past) * channels * p * p, d)
        self.place = nn.ParameterDict(
            {camera: nn.Parameter(0.02 * torch.randn((h // p) * (w // p), d)) for camera, (h, w) in grids.items()}
        )
        self.register_tokens = nn.Parameter(0.02 * torch.randn(config.registers, d))
        self.action = nn.Sequential(nn.Linear(action_size, d), nn.SiLU(), nn.Linear(d, d))
        self.level = nn.Sequential(nn.Linear(2 * 64, d), nn.SiLU(), nn.Linear(d, d))
        self.actors = ActorTokens(d) if config.max_actors else None
        seen_by = (mounts or {}) if config.max_actors else {}
        self.painted = paintings(seen_by, grids, patch=p, cell_px=cell_px, width=d)
        self.belief = nn.Sequential(nn.Linear(believed, d), nn.SiLU(), nn.Linear(d, d)) if believed else None
        self.transformer = SpaceTimeTransformer(config.transformer)
        self.final_norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 2 * channels * p * p)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():  # the skip starts open: an untrained model repeats the last frame
            self.head.bias.copy_(torch.cat([torch.zeros(channels * p * p), torch.ones(channels * p * p)]))

    @property
    def num_cells(self) -> int:
        """Tokens of a frame beside the registers."""
        return sum((h // self.config.patch) * (w // self.config.patch) for h, w in self.grids.values())

    def forward(
        self,
        noisy: Latents,
        past: Latents,
        actions: Tensor,
        level: Tensor,
        history_level: Tensor,
        cache: tuple[KeysValues, ...] | None = None,
        age: Tensor | None = None,
        actors: Tensor | None = None,
        believed: Tensor | None = None,
    ) -> Denoised:
        """noisy {camera: (b, t, c, h, w)}, past {camera: (b, t, n c, h, w)}, actions (b, t, a).

        level (b, t): 0 is pure noise, 1 is clean; history_level (b, t): noise on the past frames.
        actors (b, t, n, 9) of the frames to denoise, NaN where absent; without any, None is the same and faster.
        believed (b, t, s): the belief of each frame.
        """
        p = self.config.patch
        tokens = [
            self.embed(
                rearrange(torch.cat([noisy[k], past[k]], dim=2), "b t c (h p) (w q) -> b t (h w) (c p q)", p=p, q=p)
            )
            for k in self.grids
        ]
        # under autocast the stream of tokens stays in low precision: its memory traffic is most of the cost
        tokens = [x + self.place[k].to(x.dtype) for k, x in zip(self.grids, tokens, strict=True)]
        if actors is not None:
            tokens = [
                x + self.painted[k](actors).to(x.dtype) if k in self.painted else x
                for k, x in zip(self.grids, tokens, strict=True)
            ]
        b, t = level.shape
        tokens.append(repeat(self.register_tokens.to(tokens[0].dtype), "r d -> b t r d", b=b, t=t))
        x = torch.cat(tokens, dim=2)
        levels = embed_level(torch.stack([level, history_level], dim=-1), 64).flatten(-2)
        condition = self.level(levels.to(actions.dtype)) + self.action(actions)
        if self.belief is not None and believed is not None:
            condition = condition + self.belief(believed.to(actions.dtype))
        guests = None
        if actors is not None and self.actors is not None:
            guests = self.actors(actors).to(x.dtype), hide_absent(actors, num_tokens=x.shape[2])
        x, cache = self.transformer(x, condition.to(x.dtype), cache, age, guests)
        out = self.head(self.final_norm(x[:, :, : -self.config.registers]))
        registers = x[:, :, -self.config.registers :].flatten(2)
        return Denoised(self._unpack(out, past), registers, cache)

    def _unpack(self, out: Tensor, past: Latents) -> Latents:
        """Tokens to {camera: latents}: a change, plus the last frame through a gate."""
        clean, start, p = {}, 0, self.config.patch
        for camera, (h, w) in self.grids.items():
            tokens = (h // p) * (w // p)
            grid = rearrange(
                out[:, :, start : start + tokens], "b t (h w) (c p q) -> b t c (h p) (w q)", h=h // p, p=p, q=p
            )
            change, gate = grid.float().chunk(2, dim=2)
            clean[camera] = change + gate * past[camera][:, :, : self.channels].float()
            start += tokens
        return clean


class Levels(NamedTuple):
    """Noise level of each frame and history noise of each window, both (b, t) in [0, 1]."""

    level: Tensor
    history: Tensor


def draw_levels(config: DynamicsConfig, t: int, noise: NoiseStream) -> Levels:
    """Level per frame, biased to pure noise; history noise per window, half of them nearly clean."""
    level = noise.uniform(t) * (noise.uniform(t) >= config.pure_noise)
    history = noise.uniform(1) * torch.where(noise.uniform(1) < 0.5, 0.1, 1.0)
    return Levels(level, history.expand(-1, t))


def draw_noise(like: Latents, noise: NoiseStream) -> Latents:
    return {k: noise.normal(*z.shape[1:]) for k, z in like.items()}


def noised(clean: Latents, level: Tensor, noise: Latents) -> Latents:
    """Straight line from noise (level 0) to clean (level 1), level (b, t)."""
    mix = level[..., None, None, None]
    return {k: mix * z + (1 - mix) * noise[k] for k, z in clean.items()}


def corrupt(latents: Latents, amount: Tensor, noise: NoiseStream) -> Latents:
    """Add noise of standard deviation `amount` (b,) to every frame of a window (b, t, c, h, w)."""
    drawn = draw_noise(latents, noise)
    return {k: z + amount[:, None, None, None, None] * drawn[k] for k, z in latents.items()}
