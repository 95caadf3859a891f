"""Optimisers: which weights Muon turns, that it steps as torch's own does, and how the rate runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from simworld.optim import Muon, OptimConfig, build_optimizers, rate, take_step


class Net(nn.Module):
    """One weight of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(40, 48)])
        self.kernel = nn.Conv2d(32, 64, 3)
        self.read = nn.Linear(7, 64)


def turned(kind: str) -> set[str]:
    net = Net()
    name_of = {id(p): name for name, p in net.named_parameters()}
    optimizers = build_optimizers(OptimConfig(kind=kind), {"net": net})  # type: ignore[arg-type]
    return {
        name_of[id(p)] for o in optimizers if isinstance(o, Muon) for group in o.param_groups for p in group["params"]
    }


def test_what_muon_turns() -> None:
    assert turned("adamw") == set()
    assert turned("muon") == {"blocks.0.weight"}
    assert turned("muon_all") == {"blocks.0.weight", "kernel.weight"}


def test_a_matrix_steps_as_torchs_own_muon_steps() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 48 * 40).view(48, 40).sin()) for _ in range(2))
    a = Muon([ours], lr=0.02, weight_decay=0.1)
    b = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        grad = torch.cos(torch.arange(48 * 40).float() * (step + 1)).view(48, 40)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs)


def test_a_kernel_is_the_matrix_of_its_outputs() -> None:
    kernel = nn.Parameter(torch.randn(32, 16, 3, 3, generator=torch.Generator().manual_seed(0)))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(1))
    matrix.grad = kernel.grad.flatten(1).clone()
    for p in (kernel, matrix):
        Muon([p], lr=0.1, weight_decay=0.0).step()
    torch.testing.assert_close(kernel.flatten(1), matrix)


def test_the_rate_rises_stays_and_falls() -> None:
    config = OptimConfig(warmup_steps=10, cooldown=0.5)
    assert [rate(config, *at) for at in ((0, 0.0), (9, 0.1), (50, 0.5), (99, 1.0))] == pytest.approx([0.1, 1, 1, 0])
    net = nn.Linear(2, 2)
    optimizers = build_optimizers(config, {"net": net})
    net(torch.ones(2)).sum().backward()
    before = net.weight.clone()
    take_step(config, optimizers, 99, 1.0)
    assert torch.equal(net.weight, before) and net.weight.grad is None
