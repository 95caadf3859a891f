"""Films of replays for people: what the ego sees and the view from above, several replays at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from simworld.replay.result import Replay
from simworld.report.film import INK, MUTED, PAPER, WARN, label_font

Frames = NDArray[np.uint8]

VIEW_PX = 256
HEAD_PX = 34
GAP_PX = 4


def film_of(replays: Sequence[Replay], labels: Sequence[str], *, across: bool) -> Iterator[Frames]:
    """One film of all replays, as long as the longest, picture by picture (H, W, 3).

    across  each replay is a column, its views above each other; otherwise a row, its views side by side
    """
    num = max(len(next(iter(r.films.values()))) for r in replays)
    return (_picture(replays, labels, step, across) for step in range(num))


def strip_of(replay: Replay, num: int = 6) -> Frames:
    """Moments of a replay, from its start to its end, beside each other."""
    length = len(next(iter(replay.films.values())))
    steps = sorted({round(s) for s in np.linspace(0, length - 1, num)})
    tiles = [_tile(replay, "", step, across=True) for step in steps]
    return np.concatenate([np.asarray(t) for t in tiles], axis=1)


def _picture(replays: Sequence[Replay], labels: Sequence[str], step: int, across: bool) -> Frames:
    tiles = [_tile(r, label, step, across) for r, label in zip(replays, labels, strict=True)]
    width, height = (max(t.size[k] for t in tiles) for k in (0, 1))
    size = (len(tiles) * width, height) if across else (width, len(tiles) * height)
    picture = Image.new("RGB", size, PAPER)
    for i, tile in enumerate(tiles):
        picture.paste(tile, (i * width, 0) if across else (0, i * height))
    return np.asarray(picture)


def _tile(replay: Replay, label: str, step: int, across: bool) -> Image.Image:
    """The views of one replay under a line that says which it is, when it is and what has happened."""
    views = list(replay.films.items())
    side = VIEW_PX + GAP_PX
    size = (side, HEAD_PX + len(views) * side) if across else (len(views) * side, HEAD_PX + side)
    tile = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(tile)
    for i, (_, film) in enumerate(views):
        view = Image.fromarray(film[min(step, len(film) - 1)])
        resample = Image.Resampling.NEAREST if view.width < VIEW_PX else Image.Resampling.BICUBIC
        view = view.resize((VIEW_PX, VIEW_PX), resample)
        if step >= len(film):
            view = Image.blend(view, Image.new("RGB", view.size, PAPER), 0.65)
        tile.paste(view, (0, HEAD_PX + i * side) if across else (i * side, HEAD_PX))
    at = f"{step * replay.film_dt_s:.1f} s"
    draw.text((3, 2), f"{label}, {at}" if label else at, INK, label_font(12))
    happened = [c for c in replay.collisions if c.t_s <= step * replay.film_dt_s]
    if happened:
        first = happened[0]
        draw.text((3, 17), f"collision {first.a} and {first.b}, {first.t_s:.1f} s", WARN, label_font(12))
    else:
        draw.text((3, 17), "no collision", MUTED, label_font(12))
    return tile
