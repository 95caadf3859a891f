"""Frames per second that a machine could reach, from its peak arithmetic, memory bandwidth and cost of a launch."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from simworld.bench.cost import Cost


@dataclass(frozen=True)
class Machine:
    """Peak of dense bfloat16 products with float32 sums, memory bandwidth and memory."""

    flop_per_s: float
    bytes_per_s: float
    memory_bytes: float
    launch_s: float = 5e-6  # of one small operation in eager PyTorch, host side; of that order everywhere


# Peak dense figures as NVIDIA publishes them; where a sheet states sparsity, half of it.
GPUS = {
    # "NVIDIA L4 Tensor Core GPU" datasheet: 242 TFLOPS bfloat16 with sparsity, 300 GB/s, 24 GB
    "L4": Machine(121e12, 300e9, 24e9),
    # "NVIDIA Ada GPU Architecture" whitepaper, appendix A, GeForce RTX 4090: 165.2 TFLOPS, 1008 GB/s, 24 GB
    "RTX 4090": Machine(165.2e12, 1008e9, 24e9),
    # "NVIDIA A100 Tensor Core GPU" datasheet, 80 GB SXM: 312 TFLOPS, 2039 GB/s
    "A100 80GB SXM": Machine(312e12, 2039e9, 80e9),
    # "NVIDIA H100 Tensor Core GPU" datasheet, SXM: 1979 TFLOPS bfloat16 with sparsity, 3.35 TB/s, 80 GB
    "H100 SXM": Machine(989.5e12, 3350e9, 80e9),
}


def frames_per_s(cost: Cost, machine: Machine, batch: int, *, eager: bool = False) -> float | None:
    """The roofline (Williams, Waterman and Patterson 2009): the larger of the times for arithmetic and for memory.

    Weights are read once for all streams, every stream's cache once. Activations are taken to stay on the chip and
    launches to be free, as in a captured graph; `eager` pays for them, which is what holds small models back. None
    where weights and caches do not fit.
    """
    moved = cost.weight_bytes + batch * cost.cache_bytes
    if moved > machine.memory_bytes:
        return None
    seconds = max(batch * cost.flop_per_frame / machine.flop_per_s, moved / machine.bytes_per_s)
    if eager:
        seconds = max(seconds, cost.kernels_per_frame * machine.launch_s)
    return batch / seconds


def copy_bytes_per_s(num_bytes: int = 2**27, repeats: int = 5) -> float:
    """Memory bandwidth of this machine: the best of some copies, each of which reads and writes."""
    source = torch.ones(num_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        target.copy_(source)
        taken.append(time.perf_counter() - started)
    return 2 * num_bytes / min(taken)
