"""Optimisers: Muon on hidden matrices and the kernels of convolutions, AdamW on everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim._muon import _adjust_lr, _zeropower_via_newtonschulz

from simworld.sharding import part_of, whole

MOMENTUM = 0.95
NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS = (3.4445, -4.7750, 2.0315), 5
WIDE = 32


@dataclass(frozen=True)
class OptimConfig:
    """`cooldown`: the share of training at its end in which the rate falls to zero in a straight line.

    kind   muon turns the matrices of `blocks` alone, muon_all every weight with WIDE numbers in and out
    """

    kind: Literal["muon", "muon_all", "adamw"] = "muon"
    lr: float = 2e-3
    matrix_lr: float = 6e-3
    weight_decay: float = 0.01
    warmup_steps: int = 50
    cooldown: float = 0.3
    ema: float = 0.998
    clip: float = 1.0


class Muon(Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024); a convolution's kernel (out, in, h, w) is a matrix (out, in h w).

    A matrix that is split over the ranks can not be orthogonalised by parts. Its momentum stays split, its update is
    gathered (one all-gather, rows in the order of ranks), every rank orthogonalises all of it, and keeps its own rows.
    The arithmetic is done once per rank, which for large batches is a few percent of a step; in return nothing is sent
    back. `torch.optim.Muon` knows neither kernels nor split matrices; the iteration and the rate are its own.
    """

    def __init__(self, matrices: Sequence[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p.grad)
                momentum = self.state[p]["momentum_buffer"].lerp_(p.grad, 1 - MOMENTUM)
                update = whole(p.grad.lerp(momentum, MOMENTUM)).flatten(1)
                turned = _zeropower_via_newtonschulz(update, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, 1e-7).view(p.shape)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                rate = _adjust_lr(group["lr"], "match_rms_adamw", update.shape)
                p.add_(part_of(turned.to(p.dtype), p), alpha=-rate)


def build_optimizers(config: OptimConfig, modules: dict[str, nn.Module]) -> list[Optimizer]:
    """Muon for the matrices that `config.kind` names, AdamW for the rest."""
    matrices: list[Tensor] = []
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for root, module in modules.items():
        for name, p in module.named_parameters(prefix=root):
            if _turned(config, name, p):
                matrices.append(p)
            else:
                (decayed if p.ndim > 1 and "embed_action" not in name else plain).append(p)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers: list[Optimizer] = [AdamW([g for g in groups if g["params"]], lr=config.lr, betas=(0.9, 0.99))]
    if matrices:
        optimizers.append(Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers


def _turned(config: OptimConfig, name: str, p: Tensor) -> bool:
    """Whether the parameter is one of Muon's."""
    if config.kind == "muon":
        return p.ndim == 2 and ".blocks." in name and "age_bias" not in name
    # what ends in numbers with meanings of their own, as the heads do, is left alone
    return config.kind == "muon_all" and p.ndim >= 2 and min(p.shape[:2]) >= WIDE and not name.startswith("heads.out")


def rate(config: OptimConfig, step: int, progress: float) -> float:
    """Factor on the learning rate: warm-up by steps, a plateau, cooldown by progress in [0, 1]."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return warmup * min(1.0, max(0.0, (1 - progress) / max(config.cooldown, 1e-9)))


def take_step(config: OptimConfig, optimizers: Sequence[Optimizer], step: int, progress: float) -> None:
    """One step of all optimisers at the rate that is due, after which no gradient is left."""
    factor = rate(config, step, progress)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["full_lr"]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


class Average:
    """Exponential moving average of parameters; its memory grows from short to `decay` (as in Karras 2022)."""

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self.values = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, parameters: Sequence[Tensor], step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [p.detach() for p in parameters], 1 - decay)
