"""Sharding: every rank keeps a part of each parameter (FSDP2) and gathers what a layer needs when it needs it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Replicate
from torch.utils.checkpoint import checkpoint

Sharding = Literal["replicated", "fsdp"]
ENTRANCES = ("loss", "see", "follow")  # beside forward: before these too the parameters must be gathered


@contextmanager
def divided(model: nn.Module, parts: Sequence[str], sharding: Sharding, device: torch.device) -> Iterator[None]:
    """Inside, the submodules `parts` of `model` are split over the ranks; after it they are whole again, as trained.

    A module can not be put together again in place, so twins are split, and the originals wait in main memory.
    """
    if sharding == "replicated" or not dist.is_initialized():
        yield
        return
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    plain = {name: model.get_submodule(name) for name in parts}
    for name, module in plain.items():
        model.set_submodule(name, _split(copy.deepcopy(module), mesh))
        module.cpu()
    try:
        yield
        with torch.no_grad():
            for name, module in plain.items():
                for p, twin in zip(module.parameters(), model.get_submodule(name).parameters(), strict=True):
                    p.copy_(whole(twin))
    finally:
        for name, module in plain.items():
            model.set_submodule(name, module.to(device))


def _split(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Every block of a transformer is gathered by itself, everything else together."""
    for p in module.parameters():
        p.data = p.data.contiguous()  # convolutions may lie channels last, which FSDP2 does not split
    for block in blocks_of(module):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for entrance in ENTRANCES:
        if hasattr(module, entrance):
            register_fsdp_forward_method(module, entrance)
    return module


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """The blocks of the transformers within."""
    return [block for name, block in module.named_modules() if name.rpartition(".")[0].endswith("blocks")]


@contextmanager
def recomputed(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Inside, a transformer's block keeps its input alone and is computed again in the backward pass.

    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost": a third more arithmetic, far less memory.
    """
    blocks = blocks_of(model) if wanted else []
    for block in blocks:
        again = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        block.forward = again  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where it is split, every rank must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor that every rank holds, split as `like` is; nothing is sent."""
    if not isinstance(like, DTensor):
        return tensor
    everywhere = DTensor.from_local(tensor.to(like.device), like.device_mesh, [Replicate()], run_check=False)
    return everywhere.redistribute(placements=like.placements)


def of_all_ranks(rows: Tensor) -> Tensor:
    """The rows (b, ...) of all ranks, in their order; every rank must call this."""
    if not dist.is_initialized():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def share_of_rank(rows: Tensor, rank: int, world: int) -> Tensor:
    """This rank's part of the rows of all."""
    return rows.chunk(world)[rank]


def average_gradients(parameters: Sequence[Tensor], world: int) -> None:
    """Mean of every gradient over all ranks, in one message; those of split parameters are averaged already."""
    if world == 1 or isinstance(parameters[0], DTensor):
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


def mean_over_ranks(values: Sequence[float | Tensor], device: torch.device) -> list[float]:
    """The same numbers on every rank, so that all of them come to the same decisions."""
    own = [v.detach().double() if isinstance(v, Tensor) else torch.tensor(v, dtype=torch.float64) for v in values]
    numbers = torch.stack([v.to(device) for v in own])  # read back in one piece: this stands in the training loop
    if not dist.is_initialized():
        return numbers.tolist()
    dist.all_reduce(numbers)
    return [x / dist.get_world_size() for x in numbers.tolist()]
