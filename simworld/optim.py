"""Optimisers: Muon on the hidden matrices of transformers, AdamW on everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Muon, Optimizer
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz

from simworld.sharding import part_of, whole


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


class ShardedMuon(Muon):
    """Muon for matrices that are split over the ranks: momentum stays split, only the step is made of whole matrices.

    A matrix can not be orthogonalised by parts. Its update is gathered (one all-gather, rows in the order of ranks),
    every rank orthogonalises all of it, and keeps its own rows. The arithmetic is done once per rank, which for large
    batches is a few percent of a step; in return nothing is sent back.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p.grad)
                momentum = self.state[p]["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                update = whole(p.grad.lerp(momentum, group["momentum"]))
                # torch's own iteration, so that one process and many take the same step
                turned = _zeropower_via_newtonschulz(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                rate = _adjust_lr(group["lr"], group["adjust_lr_fn"], p.shape)
                p.add_(part_of(turned.to(p.dtype), p), alpha=-rate)


def build_optimizers(config: OptimConfig, modules: dict[str, nn.Module]) -> list[Optimizer]:
    """Muon (Jordan et al. 2024) for 2-D weights of blocks if asked for, AdamW for the rest."""
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
        kind = ShardedMuon if isinstance(matrices[0], DTensor) else Muon
        optimizers.append(
            kind(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
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
