"""Optimisers: Muon on the hidden matrices of transformers, AdamW on everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer


@dataclass(frozen=True)
class OptimConfig:
    """`cooldown`: the share of training at its end in which the rate falls to zero in a straight line."""

    kind: Literal["muon", "adamw"] = "muon"
    lr: float = 2e-3
    matrix_lr: float = 6e-3
    weight_decay: float = 0.01
    warmup_steps: int = 50
    cooldown: float = 0.3
    ema: float = 0.998
    clip: float = 1.0


def build_optimizers(config: OptimConfig, modules: dict[str, nn.Module]) -> list[Optimizer]:
    """Muon (Jordan et al. 2024) for 2-D weights of transformer blocks if asked for, AdamW for the rest."""
    matrices: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for root, module in modules.items():
        for name, p in module.named_parameters(prefix=root):
            if config.kind == "muon" and p.ndim == 2 and ".blocks." in name and "age_bias" not in name:
                matrices.append(p)
            else:
                (decayed if p.ndim > 1 and "embed_action" not in name else plain).append(p)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers: list[Optimizer] = [AdamW([g for g in groups if g["params"]], lr=config.lr, betas=(0.9, 0.99))]
    if matrices:
        optimizers.append(
            Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers


def rate(config: OptimConfig, step: int, progress: float) -> float:
    """Factor on the learning rate: warm-up by steps, a plateau, cooldown by progress in [0, 1]."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return warmup * min(1.0, max(0.0, (1 - progress) / max(config.cooldown, 1e-9)))


class Average:
    """Exponential moving average of parameters; its memory grows from short to `decay` (as in Karras 2022)."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self.values = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, parameters: Sequence[Tensor], step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in parameters], 1 - decay)
