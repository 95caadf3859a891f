"""Gathering: cells that speak of the same one, the surest first, and how much each of them counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor


def each_one(sure: Tensor, most: int, same: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Of up to `most` of whom cells (b, m) are `sure`: how sure the surest is (b, 1), and the weights (b, m, 1)
    of all that speak of the `same` one as the cell (b, 1) does, (b, m)."""
    for _ in range(most):
        surest, at = sure.max(dim=1, keepdim=True)
        his = same(at)
        weight = (sure * his).square()
        yield surest, (weight / weight.sum(1, keepdim=True).clamp(min=1e-12))[..., None]
        sure = sure.masked_fill(his, 0.0)
