"""A causal space-time transformer: tokens of a frame see each other, and their own past.

Letters: b batch, t frames, l tokens of a frame, d width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from simworld.nets.attention import AgeBias, Attention

KeysValues = tuple[Tensor, Tensor]  # each (b, l, heads, frames, head features)
Guests = tuple[Tensor, Tensor]  # tokens (b, t, n, d) that a frame's tokens see, and the bias that hides some of them


@dataclass(frozen=True)
class TransformerConfig:
    """`temporal_every` n: every n-th layer also looks back in time, over `window` frames; the others see guests."""

    width: int = 192
    layers: int = 4
    heads: int = 3
    mlp_ratio: int = 4
    temporal_every: int = 2
    window: int = 16


class Block(nn.Module):
    """Attention within the frame, attention to the past (if `temporal`), then a two-layer network.

    The condition is added to the tokens of its frame: AdaLN takes six more passes over memory per block,
    which on a CPU is a third of the time.
    """

    def __init__(self, config: TransformerConfig, *, temporal: bool) -> None:
        super().__init__()
        d = config.width
        self.sees_guests = not temporal or config.layers == 1 or config.temporal_every == 1
        self.condition = nn.Linear(d, d)
        self.space_norm = nn.LayerNorm(d)
        self.space = Attention(d, config.heads)
        self.time_norm = nn.LayerNorm(d) if temporal else None
        self.time = Attention(d, config.heads) if temporal else None
        self.age_bias = AgeBias(config.heads, config.window) if temporal else None
        self.mlp_norm = nn.LayerNorm(d)
        self.up = nn.Linear(d, config.mlp_ratio * d)
        self.down = nn.Linear(config.mlp_ratio * d, d)

    def forward(
        self, x: Tensor, condition: Tensor, past: KeysValues | None, age: Tensor | None, guests: Guests | None
    ) -> tuple[Tensor, KeysValues | None]:
        """x (b, t, l, d), condition (b, t, d); returns x and the keys and values of past and present."""
        x = x + self.condition(condition).unsqueeze(2).to(x.dtype)
        x = x + self._look_around(self.space_norm(x), guests)
        present = None
        if self.time is not None and self.time_norm is not None:
            y, present = self._look_back(self.time_norm(x), past, age)
            x = x + y
        y = F.relu(self.up(self.mlp_norm(x))).square()  # So et al. 2021, "Primer"; on a CPU far cheaper than GELU
        return x + self.down(y), present

    def _look_around(self, y: Tensor, guests: Guests | None) -> Tensor:
        b = y.shape[0]
        q, k, v = self.space.project(rearrange(y, "b t l d -> (b t) l d"))
        if guests is not None:
            _, guest_k, guest_v = self.space.project(rearrange(self.space_norm(guests[0]), "b t n d -> (b t) n d"))
            k, v = torch.cat([k, guest_k], dim=2), torch.cat([v, guest_v], dim=2)
        out = self.space.mix(q, k, v, None if guests is None else guests[1])
        return rearrange(out, "(b t) l d -> b t l d", b=b)

    def _look_back(self, y: Tensor, past: KeysValues | None, age: Tensor | None) -> tuple[Tensor, KeysValues]:
        assert self.time is not None and self.age_bias is not None
        b, t, num_tokens = y.shape[:3]
        q, k, v = self.time.project(rearrange(y, "b t l d -> (b l) t d"))
        if past is not None:
            k = torch.cat([past[0].flatten(0, 1), k], dim=2)
            v = torch.cat([past[1].flatten(0, 1), v], dim=2)
        bias = self.age_bias(t, k.shape[2])
        if age is not None:
            bias = bias + _hide_before(age, num_past=k.shape[2] - t, num_keys=k.shape[2], num_tokens=num_tokens)
        out = self.time.mix(q, k, v, bias)
        first = max(0, k.shape[2] - (self.age_bias.window - 1))  # the next frame looks back window - 1 frames
        present = k[:, :, first:].unflatten(0, (b, -1)), v[:, :, first:].unflatten(0, (b, -1))
        return rearrange(out, "(b l) t d -> b t l d", b=b), present


def _hide_before(age: Tensor, *, num_past: int, num_keys: int, num_tokens: int) -> Tensor:
    """Bias ((b l), 1, 1, k) that hides cached frames from before a stream's start; age (b,) frames are its own."""
    first = num_past - age
    hidden = torch.arange(num_keys, device=age.device)[None] < first[:, None]
    bias = torch.zeros(hidden.shape, device=age.device).masked_fill(hidden, float("-inf"))
    return bias.repeat_interleave(num_tokens, dim=0)[:, None, None]


class SpaceTimeTransformer(nn.Module):
    """A stack of blocks; the cache holds keys and values of the layers that look back."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        every = config.temporal_every
        self.blocks = nn.ModuleList(
            Block(config, temporal=i % every == every - 1 or config.layers == 1) for i in range(config.layers)
        )

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        cache: tuple[KeysValues, ...] | None = None,
        age: Tensor | None = None,
        guests: Guests | None = None,
    ) -> tuple[Tensor, tuple[KeysValues, ...]]:
        """x (b, t, l, d) after the frames in `cache`; returns x and the cache that includes them.

        age int64 (b,): how many of the cached frames are a stream's own, where streams began at different times.
        """
        pasts = iter(cache) if cache is not None else None
        presents: list[KeysValues] = []
        condition = F.silu(condition)
        for block in self.blocks:
            past = next(pasts) if pasts is not None and block.time is not None else None
            x, present = block(x, condition, past, age, guests if block.sees_guests else None)
            if present is not None:
                presents.append(present)
        return x, tuple(presents)
