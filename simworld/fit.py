"""fit(): trains one phase of a model, to the step the same whether or not it was interrupted."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from simworld.checkpoint import load_training_state, save_training_state
from simworld.optim import Average, OptimConfig, build_optimizers, take_step
from simworld.sharding import (
    Sharding,
    average_gradients,
    divided,
    mean_over_ranks,
    of_all_ranks,
    part_of,
    recomputed,
    share_of_rank,
    whole,
)


class Phase(Protocol):
    """A stage of training: which parts of a model, for how long, and the loss of a step as a pure function of it."""

    name: str
    parts: tuple[str, ...]
    optim: OptimConfig
    steps: int

    @property
    def model(self) -> nn.Module: ...

    def loss(self, step: int, progress: float) -> dict[str, Tensor]:
        """Losses by name, the one to minimise under "loss"."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A phase whose loss also depends on what its last step left behind: tensors of one row a sample of this rank."""

    def memory(self) -> dict[str, Tensor]: ...

    def remember(self, memory: dict[str, Tensor]) -> None: ...


@dataclass
class Run:
    """Where and how training runs: folder, device, precision, ranks, and who hears of it.

    `sharding` says what each rank holds: all parameters (replicated), or a part of each (fsdp). With `recompute`
    transformers trade a third more arithmetic for memory.
    """

    folder: Path
    device: torch.device
    autocast: torch.dtype | None
    save_every_s: float = 60.0
    report: Callable[[str], None] = print
    on_metrics: Callable[[dict[str, float]], None] | None = None
    stop_after: int | None = None  # steps in this process, to test resuming
    sharding: Sharding = "replicated"
    recompute: bool = False

    def tell(self, line: str) -> None:
        """Report from one rank."""
        if self.rank == 0:
            self.report(line)

    def autocasting(self) -> torch.autocast:
        """The precision of this run's networks, as a context."""
        return torch.autocast(self.device.type, self.autocast or torch.bfloat16, enabled=self.autocast is not None)

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


def fit(
    phase: Phase,
    run: Run,
    *,
    budget_s: float | None = None,
    marks: Sequence[float] = (),
    at_mark: Callable[[int, float], None] | None = None,
) -> float:
    """Train `phase` to its last step and leave averaged weights in its parts.

    The state is saved whole in ``folder/<phase>.safetensors`` and picked up again from there, by as many ranks as
    there are then. With `budget_s` the phase ends when that much processor time is used, however few its steps.
    Once the share `marks[i]` is done, `at_mark(steps, marks[i])` sees the averaged weights, at no charge. Returns
    processor seconds used.
    """
    with divided(phase.model, phase.parts, run.sharding, run.device), recomputed(phase.model, run.recompute):
        fitting = _Fitting(phase, run, budget_s)
        fitting.resume()
        left = sorted(marks)
        while fitting.progress() < 1:
            fitting.step()
            while at_mark and left and fitting.progress() >= left[0]:
                fitting.show_average(at_mark, left.pop(0))
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
        modules = {name: phase.model.get_submodule(name) for name in phase.parts}
        self.named = {f"{r}.{n}": p for r, m in modules.items() for n, p in m.named_parameters()}
        self.parameters = list(self.named.values())
        self.optimizers = build_optimizers(phase.optim, modules)
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
        with self.run.autocasting():
            losses = self.phase.loss(self.num_steps, done)
        losses["loss"].backward()
        average_gradients(self.parameters, self.run.world)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.phase.optim.clip)
        take_step(self.phase.optim, self.optimizers, self.num_steps, done)
        self.average.update(self.parameters, self.num_steps)
        self.num_steps += 1
        self.steps_here += 1
        self._account(losses)

    def _account(self, losses: dict[str, Tensor]) -> None:
        """Log about every 5 s and save about every `save_every_s`; neither touches the training itself.

        Time used, losses and whether to save are agreed on by all ranks, since saving what is split takes them all.
        """
        now, now_s = processor_s(), time.monotonic()
        if self.steps_here == 1:
            self.started_s = now_s  # the first step prepares what all others use
        want_save = self.run.rank == 0 and now_s - self.saved_s > self.run.save_every_s
        used_s, save, *means = mean_over_ranks([now - self.mark_s, want_save, *losses.values()], self.run.device)
        self.cpu_s, self.mark_s = self.cpu_s + used_s, now
        numbers = {name: round(value, 5) for name, value in zip(losses, means, strict=True)}
        if not math.isfinite(numbers["loss"]):
            raise ValueError(f"the loss of {self.phase.name} is {numbers['loss']} at step {self.num_steps}; lower lr")
        if self.run.rank == 0 and (now_s - self.told_s >= 5 or self.progress() >= 1):
            self.told_s = now_s
            self._tell(numbers, now_s)
        if save:
            self.save()
            self.saved_s = time.monotonic()

    def _tell(self, numbers: Mapping[str, float], now_s: float) -> None:
        row: dict[str, Any] = {
            "phase": self.phase.name,
            "step": self.num_steps,
            "cpu_s": round(self.cpu_s, 1),
        } | dict(numbers)
        with open(self.run.folder / "metrics.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        line = f"{self.phase.name}: step {self.num_steps}, loss {numbers['loss']:.4f}, "
        line += f"{100 * min(1.0, self.progress()):.0f} %"
        if self.steps_here > 1:
            left_s = (now_s - self.started_s) / (self.steps_here - 1) * self.steps_left()
            line += f", {left_s / 60:.1f} min left"
        self.run.report(line)
        if self.run.on_metrics:
            self.run.on_metrics({k: v for k, v in row.items() if not isinstance(v, str)})

    def steps_left(self) -> float:
        done = self.progress()
        return self.num_steps * (1 - done) / max(done, 1e-9) if self.budget_s else self.phase.steps - self.num_steps

    def save(self) -> None:
        """Write the whole state, from rank 0; what is split is gathered by all ranks, one tensor after the other."""
        tensors: dict[str, Tensor] = {f"weight/{n}": p for n, p in self.named.items()}
        tensors |= {f"average/{n}": v for n, v in zip(self.named, self.average.values, strict=True)}
        for i, optimizer in enumerate(self.optimizers):
            for j, entry in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{i}/{j}/{key}": value for key, value in entry.items()}
        gathered: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            full = whole(tensor)
            if self.run.rank == 0:
                gathered[name] = full.detach().cpu()
        if isinstance(self.phase, Remembering):
            gathered |= {f"memory/{name}": of_all_ranks(x).cpu() for name, x in self.phase.memory().items()}
        if self.run.rank == 0:
            save_training_state(self.path, gathered, {"step": self.num_steps, "cpu_s": self.cpu_s})

    def resume(self) -> None:
        """Take up the saved state, if there is one."""
        self.run.barrier()
        if not self.path.exists():
            return
        tensors, meta = load_training_state(self.path)
        try:
            with torch.no_grad():
                for i, (name, p) in enumerate(self.named.items()):
                    p.copy_(part_of(tensors[f"weight/{name}"], p))
                    self.average.values[i].copy_(part_of(tensors[f"average/{name}"], p))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{self.path} belongs to another model; choose another run folder") from error
        for i, optimizer in enumerate(self.optimizers):
            of = [p for group in optimizer.param_groups for p in group["params"]]
            state: dict[int, dict[str, Any]] = {}
            for name, value in tensors.items():
                kind, *rest = name.split("/")
                if kind == "optimizer" and int(rest[0]) == i:
                    entry = state.setdefault(int(rest[1]), {})
                    entry[rest[2]] = part_of(value, of[int(rest[1])]) if value.ndim else value
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
        if isinstance(self.phase, Remembering):
            memory = {n.removeprefix("memory/"): x for n, x in tensors.items() if n.startswith("memory/")}
            self.phase.remember({n: share_of_rank(x, self.run.rank, self.run.world) for n, x in memory.items()})
        self.num_steps, self.cpu_s = int(meta["step"]), float(meta["cpu_s"])

    @torch.no_grad()
    def adopt_average(self) -> None:
        for p, value in zip(self.parameters, self.average.values, strict=True):
            p.copy_(value)

    @torch.no_grad()
    def show_average(self, seen: Callable[[int, float], None], mark: float) -> None:
        """Call `seen` while the averaged weights stand in for those in training, off the clock."""
        training = [p.detach().clone() for p in self.parameters]
        self.adopt_average()
        seen(self.num_steps, mark)
        for p, value in zip(self.parameters, training, strict=True):
            p.copy_(value)
        self.mark_s = processor_s()


def processor_s() -> float:
    """Processor seconds of this process, all threads."""
    times = os.times()
    return times.user + times.system
