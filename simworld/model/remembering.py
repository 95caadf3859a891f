"""Remembering: who was spotted a moment ago, and is not spotted now, is still thought to be there.

Some are seen in one look and missed in the next, and where two cameras leave a gap between them everybody is out of
sight for a while. So those of earlier looks who are not told of by a later one go on as they were seen to, and are told
of as if they were spotted now, as far as there is room; whether they still are there is for others to say.

Letters: b batch, j looks, n spotted in a look.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from simworld.model.actors import present, within_reach
from simworld.model.carrying import Motion
from simworld.model.guesses import coasted
from simworld.model.precision import exactly


def remembered(looks: Tensor, spans_s: Sequence[float], ego: Tensor) -> Tensor:
    """looks (b, j, n, 9) of so many seconds ago, the last now, the surest first and NaN where nobody was spotted, each
    in the frame that the ego had then, and the ego's speed in m/s and yaw rate in rad/s (b, 2), to (b, j, n, 9), the
    last of which tells as well of those who were spotted in earlier ones alone, the latest first."""
    with exactly(looks.device):
        ego, now = ego.float(), looks[:, -1].float()
        for rows, span_s in reversed(list(zip(looks[:, :-1].unbind(1), spans_s[:-1], strict=True))):
            now = _beside(now, coasted(rows.float(), Motion.of(ego[:, 0], ego[:, 1], span_s)))
        return torch.cat([looks[:, :-1], now[:, None].to(looks.dtype)], dim=1)


def _beside(now: Tensor, before: Tensor) -> Tensor:
    """Those of `now` (b, n, 9), and after them those of `before` (b, n, 9) whom none of these is, as many as there is
    room for."""
    new = present(before) & ~within_reach(before, now).any(-1)
    rows = torch.cat([now, before.masked_fill(~new[..., None], torch.nan)], dim=1)
    first = (~present(rows)).to(torch.uint8).argsort(dim=1, stable=True)[:, : now.shape[1]]
    return rows.gather(1, first[..., None].expand(-1, -1, rows.shape[-1]))
