"""Multi-head attention over one axis, with a bias instead of position codes.

Suffixes: b batch, q query, k key, h head, d features of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention (..., l, width) with normalised queries and keys.

    Henry et al. 2020, "Query-Key Normalization": bounded logits keep Muon's large updates stable.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_norm = nn.LayerNorm(width // heads, bias=False)
        self.key_norm = nn.LayerNorm(width // heads, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(b, l, width) to queries, keys and values, each (b, h, l, d)."""
        q_bhld, k_bhld, v_bhld = rearrange(self.qkv(x), "b l (three h d) -> three b h l d", three=3, h=self.heads)
        return self.query_norm(q_bhld), self.key_norm(k_bhld), v_bhld

    def mix(self, q_bhqd: Tensor, k_bhkd: Tensor, v_bhkd: Tensor, bias_hqk: Tensor | None) -> Tensor:
        """Attend; `bias_hqk` is added to the logits (-inf hides a key). Returns (b, q, width)."""
        bias = None if bias_hqk is None else bias_hqk.to(q_bhqd.dtype)
        y_bhqd = attend(q_bhqd, k_bhkd, v_bhkd, bias)
        return self.out(rearrange(y_bhqd, "b h q d -> b q (h d)"))

    def forward(self, x: Tensor, bias_hqk: Tensor | None = None) -> Tensor:
        return self.mix(*self.project(x), bias_hqk)


def attend(q_bhqd: Tensor, k_bhkd: Tensor, v_bhkd: Tensor, bias_hqk: Tensor | None) -> Tensor:
    """Scaled dot-product attention (b, h, q, d).

    On a CPU the fused kernel's backward pass is about 8 times slower than three plain operations.
    """
    if q_bhqd.device.type != "cpu" or not q_bhqd.requires_grad:
        return F.scaled_dot_product_attention(q_bhqd, k_bhkd, v_bhkd, attn_mask=bias_hqk)
    logits_bhqk = (q_bhqd * q_bhqd.shape[-1] ** -0.5) @ k_bhkd.transpose(-1, -2)
    if bias_hqk is not None:
        logits_bhqk = logits_bhqk + bias_hqk
    return logits_bhqk.softmax(dim=-1).to(v_bhkd.dtype) @ v_bhkd


class AgeBias(nn.Module):
    """A learned logit per head and age (queries look back 0 to window - 1 steps, never ahead).

    Ages instead of absolute positions let a stream run for ever without recomputing its cache.
    """

    def __init__(self, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.zeros(heads, window))

    def forward(self, num_queries: int, num_keys: int) -> Tensor:
        """Bias (h, q, k) for the last `num_queries` of `num_keys` steps."""
        if num_queries == 1 and num_keys <= self.window:  # a stream's newest frame: nothing is ahead or too old
            return self.table[:, :num_keys].flip(1)[:, None]
        device = self.table.device
        key = torch.arange(num_keys, device=device)
        query = torch.arange(num_keys - num_queries, num_keys, device=device)
        age = query[:, None] - key[None, :]
        bias = self.table[:, age.clamp(0, self.window - 1)]
        return bias.masked_fill((age < 0) | (age >= self.window), float("-inf"))
