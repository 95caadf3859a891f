"""Encoding: latents of a whole store, once, for the phases after the codec's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from simworld.data.cache import FrameCache
from simworld.fit import Run
from simworld.latent_world_model import LatentWorldModel
from simworld.model.pixels import to_model
from simworld.progress import telling


@torch.no_grad()
def encode_all(model: LatentWorldModel, cache: FrameCache, run: Run) -> dict[str, NDArray[np.float16]]:
    """Latents of every frame, {camera: float16 (F, c, h, w)}, kept as memory-mapped files in the run folder."""
    out = {}
    for camera, frames in cache.frames.items():
        path = run.folder / f"latents.{camera}.npy"
        if run.rank == 0 and not path.exists():
            _encode_camera(model, frames, path, run)
        run.barrier()
        out[camera] = np.load(path, mmap_mode="r")
    return out


def _encode_camera(model: LatentWorldModel, frames: NDArray[np.uint8], path: Path, run: Run) -> None:
    h, w = frames.shape[1] // model.codec.scale, frames.shape[2] // model.codec.scale
    temporary = path.with_suffix(".tmp")
    latents = open_memmap(temporary, "w+", np.float16, (len(frames), model.codec.channels, h, w))
    for i in telling(range(0, len(frames), 256), "encoding frames", run.tell):
        part = to_model(torch.from_numpy(np.array(frames[i : i + 256]))).to(run.device)
        with run.autocasting():
            latents[i : i + 256] = model.codec.encode(part).float().cpu().numpy()
    latents.flush()
    temporary.rename(path)
