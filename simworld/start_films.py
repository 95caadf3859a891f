"""StartFilms: short real films that lie beside a checkpoint, from which imagination sets out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from simworld.data.files import write_bytes
from simworld.data.store import EpisodeStore
from simworld.shapes import expect

FILE = "starts.safetensors"
ROOM = 20  # steps of the episode that are left after a start: something must be able to happen


@dataclass(frozen=True)
class StartFilms:
    """n films of k + 1 frames {camera: uint8 (n, k+1, h, w, 3)} and the k actions between, float32 (n, k, a)."""

    frames: dict[str, NDArray[np.uint8]]
    actions: NDArray[np.float32]

    def __post_init__(self) -> None:
        sizes = expect(self.actions, "n k a", name="actions of the starts")
        for camera, frames in self.frames.items():
            expect(frames, "n t h w 3", name=f"starts of {camera!r}", n=sizes["n"], t=sizes["k"] + 1)

    def __len__(self) -> int:
        return len(self.actions)

    @classmethod
    def from_store(
        cls, path: Path, *, num: int, context: int, seed: int, cameras: Collection[str] | None = None
    ) -> StartFilms:
        """`num` starts of `context` actions each, spread evenly over the store's episodes, as all its cameras or these
        show them."""
        cache = EpisodeStore(path).cache(cameras)
        rng = np.random.default_rng(seed)
        longest = np.flatnonzero(cache.num_steps >= context + ROOM)
        if not len(longest):
            raise ValueError(f"{path} holds no episode of {context + ROOM} steps to start from; record longer ones")
        episodes = np.resize(rng.permutation(longest), num)
        offset = [int(rng.integers(cache.num_steps[e] - context - ROOM + 1)) for e in episodes]
        at = (cache.first_row[episodes] + offset)[:, None] + np.arange(context + 1)
        return cls({camera: f[at] for camera, f in cache.frames.items()}, cache.actions[at[:, :-1]])

    def save(self, folder: Path) -> None:
        tensors = {f"frames/{camera}": torch.from_numpy(f) for camera, f in self.frames.items()}
        write_bytes(folder / FILE, save(tensors | {"actions": torch.from_numpy(self.actions)}))

    @classmethod
    def load(cls, folder: Path) -> StartFilms:
        """The starts beside a checkpoint; raises ValueError where there are none."""
        try:
            tensors = load_file(folder / FILE)
            actions = tensors.pop("actions").numpy()
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(
                f"{folder} holds no whole {FILE}; give starts=STORE, or films in reset(options={{'frames': ...}})"
            ) from error
        return cls({name.removeprefix("frames/"): t.numpy() for name, t in tensors.items()}, actions)
