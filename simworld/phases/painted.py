"""How wrong painted frames are, as the canvas learns it."""

from __future__ import annotations

import torch
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.model.canvas import Frames, Known
from simworld.model.noise import NoiseStream
from simworld.model.pixels import to_model, to_uint8

EVEN = 0.005  # the error of a picture from which on it counts less than in proportion


def painted(
    model: CanvasWorldModel,
    last: Frames,
    before: Frames,
    target: Frames,
    known: Known,
    noise: NoiseStream,
    *,
    true_state: Tensor,
) -> tuple[dict[str, Tensor], Frames]:
    """Losses of the frames {camera: uint8 (b, h, w, 3)} after `last`, their weighted sum under "loss", and the
    frames that were painted. "frame" is the error of the pictures in [-1, 1], "fresh" that of what was painted with
    nothing carried, "shown" how far they are read from the standardised state (b, s) that they ought to show.
    """
    config, canvas = model.config.canvas, model.canvas
    clean, old, older = ({c: to_model(f) for c, f in x.items()} for x in (target, last, before))
    level = noise.uniform(1)[:, 0] * (noise.uniform(1)[:, 0] >= config.pure_noise)
    mix = level[:, None, None, None]
    noisy = {c: mix * x + (1 - mix) * noise.normal(*x.shape[1:]) for c, x in canvas.coarse(clean).items()}
    drawn = canvas(old, older, noisy, level, known)
    off = torch.stack([_off(p.picture, clean[c]) for c, p in drawn.items()])
    fresh = torch.stack([_off(p.fresh, clean[c]) for c, p in drawn.items()])
    losses = {"frame": off.mean(), "fresh": fresh.mean()}
    total = _evened(off).mean() + config.fresh_weight * losses["fresh"]
    if model.reader is not None:
        film = {c: torch.stack([older[c], old[c], p.picture], dim=1) for c, p in drawn.items()}
        losses["shown"] = model.reader.shown(model.cells(film), true_state[:, None].expand(-1, 3, -1))
        total = total + config.shown_weight * losses["shown"]
    return {"loss": total} | losses, {c: to_uint8(p.picture.detach()) for c, p in drawn.items()}


def _off(picture: Tensor, clean: Tensor) -> Tensor:
    """Squared error of each picture (b,), and a tenth of the absolute one, which keeps edges."""
    error = picture - clean
    return (error.square() + 0.1 * error.abs()).mean((1, 2, 3))


def _evened(off: Tensor) -> Tensor:
    """Errors (...) of pictures as they count in training: nearly by their logarithms.

    A fast scene is off by a hundred times as much as a standing one. By the plain sum the few fastest would drown all
    others; as a likelihood whose spread is each picture's own, every one counts by how much better it could be.
    """
    return 3 * EVEN * (off / EVEN).log1p()
