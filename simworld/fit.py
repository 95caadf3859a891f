"""fit(): trains one phase of a model, to the step the same whether or not it was interrupted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from simworld.checkpoint import load_training_state, save_training_state
from simworld.optim import Average, OptimConfig, build_optimizers, rate


class Phase(Protocol):
    """A stage of training: what is trained, for how long, and the loss of a step as a pure function of it."""

    name: str
    modules: dict[str, nn.Module]
    optim: OptimConfig
    steps: int

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        """Losses by name, the one to minimise under "loss"."""
        ...


@dataclass
class Run:
    """Where and how training runs: folder, device, precision, ranks, and who hears of it."""

    folder: Path
    device: torch.device
    autocast: torch.dtype | None
    save_every_s: float = 60.0
    report: Callable[[str], None] = print
    on_metrics: Callable[[dict[str, float]], None] | None = None
    stop_after: int | None = None  # steps in this process, to test resuming

    @property
    def rank(self) -> int:
        return dist.get_rank() if dist.is_initialized() else 0

    @property
    def world(self) -> int:
        return dist.get_world_size() if dist.is_initialized() else 1

    def barrier(self) -> None:
        if dist.is_initialized():
            dist.barrier()


class Interrupted(Exception):
    """Training stopped on purpose before its end; its state is saved."""


def fit(phase: Phase, run: Run, *, budget_s: float | None = None) -> float:
    """Train `phase` to its last step and leave averaged weights in its modules.

    The state is saved in ``folder/<phase>.safetensors`` and picked up again from there. With `budget_s` the
    phase ends when that much processor time is used, however few its steps. Returns processor seconds used.
    """
    fitting = _Fitting(phase, run, budget_s)
    fitting.resume()
    while fitting.progress() < 1:
        fitting.step()
        if run.stop_after is not None and fitting.steps_here >= run.stop_after:
            fitting.save()
            raise Interrupted(f"stopped after {run.stop_after} steps")
    fitting.save()
    fitting.adopt_average()
    return fitting.cpu_s


class _Fitting:
    """The state of one `fit`: parameters, their average, optimisers, step and time used."""

    def __init__(self, phase: Phase, run: Run, budget_s: float | None) -> None:
        self.phase, self.run, self.budget_s = phase, run, budget_s
        self.named = {f"{r}.{n}": p for r, m in phase.modules.items() for n, p in m.named_parameters()}
        self.parameters = list(self.named.values())
        self.optimizers = build_optimizers(phase.optim, phase.modules)
        self.average = Average(self.parameters, phase.optim.ema)
        self.path = run.folder / f"{phase.name}.safetensors"
        self.num_steps, self.steps_here, self.cpu_s = 0, 0, 0.0
        self.mark_s = processor_s()
        self.started_s = self.saved_s = self.told_s = time.monotonic()

    def progress(self) -> float:
        """Share of the phase that is done, 0 to 1."""
        if self.budget_s is not None:
            return self.cpu_s / self.budget_s
        return self.num_steps / self.phase.steps

    def step(self) -> None:
        done = self.progress()
        with torch.autocast(
            self.run.device.type, self.run.autocast or torch.bfloat16, enabled=self.run.autocast is not None
        ):
            losses = self.phase.loss(self.num_steps, done)
        losses["loss"].backward()
        _share_gradients(self.parameters, self.run.world)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.phase.optim.clip)
        factor = rate(self.phase.optim, self.num_steps, done)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["full_lr"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.average.update(self.parameters, self.num_steps)
        self.num_steps += 1
        self.steps_here += 1
        now = processor_s()
        self.cpu_s, self.mark_s = self.cpu_s + _mean_over_ranks(now - self.mark_s, self.run.world), now
        self._tell(losses)

    def _tell(self, losses: dict[str, Tensor]) -> None:
        """Log about every 5 s and save about every `save_every_s`; neither touches the training itself."""
        now = time.monotonic()
        if self.run.rank or (now - self.told_s < 5 and self.progress() < 1):
            return
        self.told_s = now
        numbers = {name: round(float(value.detach()), 5) for name, value in losses.items()}
        if not torch.isfinite(losses["loss"]):
            raise ValueError(f"the loss of {self.phase.name} is {numbers['loss']} at step {self.num_steps}; lower lr")
        row: dict[str, Any] = {
            "phase": self.phase.name,
            "step": self.num_steps,
            "cpu_s": round(self.cpu_s, 1),
        } | numbers
        with open(self.run.folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        left_s = (now - self.started_s) / max(self.steps_here, 1) * self.steps_left()
        self.run.report(
            f"{self.phase.name}: step {self.num_steps}, loss {numbers['loss']:.4f}, "
            f"{100 * min(1.0, self.progress()):.0f} %, {left_s / 60:.1f} min left"
        )
        if self.run.on_metrics:
            self.run.on_metrics({k: v for k, v in row.items() if not isinstance(v, str)})
        if now - self.saved_s > self.run.save_every_s:
            self.save()
            self.saved_s = time.monotonic()

    def steps_left(self) -> float:
        done = self.progress()
        return self.num_steps * (1 - done) / max(done, 1e-9) if self.budget_s else self.phase.steps - self.num_steps

    def save(self) -> None:
        """Write the whole state, from rank 0 (all ranks hold the same)."""
        if self.run.rank == 0:
            tensors: dict[str, Tensor] = {f"weight/{n}": p for n, p in self.named.items()}
            tensors |= {f"average/{n}": v for n, v in zip(self.named, self.average.values, strict=True)}
            for i, optimizer in enumerate(self.optimizers):
                for j, entry in optimizer.state_dict()["state"].items():
                    tensors |= {f"optimizer/{i}/{j}/{key}": value for key, value in entry.items()}
            save_training_state(self.path, tensors, {"step": self.num_steps, "cpu_s": self.cpu_s})

    def resume(self) -> None:
        """Take up the saved state, if there is one."""
        self.run.barrier()
        if not self.path.exists():
            return
        tensors, meta = load_training_state(self.path)
        try:
            with torch.no_grad():
                for i, (name, p) in enumerate(self.named.items()):
                    p.copy_(tensors[f"weight/{name}"])
                    self.average.values[i].copy_(tensors[f"average/{name}"])
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{self.path} belongs to another model; choose another run folder") from error
        for i, optimizer in enumerate(self.optimizers):
            state: dict[int, dict[str, Any]] = {}
            for name, value in tensors.items():
                kind, *rest = name.split("/")
                if kind == "optimizer" and int(rest[0]) == i:
                    state.setdefault(int(rest[1]), {})[rest[2]] = value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        self.num_steps, self.cpu_s = int(meta["step"]), float(meta["cpu_s"])

    @torch.no_grad()
    def adopt_average(self) -> None:
        for p, value in zip(self.parameters, self.average.values, strict=True):
            p.copy_(value)


def _share_gradients(parameters: Sequence[Tensor], world: int) -> None:
    """Mean of every gradient over all ranks, in one message."""
    if world == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    offset = 0
    for p in parameters:
        assert p.grad is not None
        p.grad.copy_((flat[offset : offset + p.numel()] / world).view_as(p))
        offset += p.numel()


def _mean_over_ranks(value: float, world: int) -> float:
    """The same number on every rank, so that all end a budget at the same step."""
    if world == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    if dist.get_backend() == "nccl":
        total = total.cuda()
    dist.all_reduce(total)
    return float(total) / world


def processor_s() -> float:
    """Processor seconds of this process, all threads."""
    times = os.times()
    return times.user + times.system
