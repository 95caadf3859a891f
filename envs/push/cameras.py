"""Cameras: renders named cameras of a model to uint8 frames of one size, the same bytes for the same scene."""

from __future__ import annotations

import difflib
import weakref

import mujoco
import numpy as np
from numpy.typing import NDArray

SUPERSAMPLE = 2  # rendered at twice the size and averaged: thin things move smoothly instead of flickering


def check_cameras(cameras: tuple[str, ...], known: tuple[str, ...], size: tuple[int, int]) -> None:
    """Raises ValueError, with one sentence, on unknown or repeated cameras and on sizes that can't be rendered."""
    if not cameras or len(set(cameras)) != len(cameras):
        raise ValueError(f"cameras must be one or more different names of {', '.join(known)}, got {cameras}")
    for name in cameras:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown camera {name!r}; did you mean {near!r} (of {', '.join(known)})")
    if len(size) != 2 or not all(isinstance(n, int) and 8 <= n <= 1024 for n in size):
        raise ValueError(f"size must be (height, width) in pixels, each a whole number from 8 to 1024, got {size}")


class Cameras:
    """Frames {camera: uint8 (h, w, 3)} of one model; the graphics context is made at the first frame."""

    def __init__(self, model: mujoco.MjModel, cameras: tuple[str, ...], size: tuple[int, int]) -> None:
        self.cameras = cameras
        self.size = size
        self._model = model
        self._renderer: mujoco.Renderer | None = None
        model.vis.global_.offheight = max(model.vis.global_.offheight, SUPERSAMPLE * size[0])
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, SUPERSAMPLE * size[1])

    def render(self, data: mujoco.MjData) -> dict[str, NDArray[np.uint8]]:
        """One frame of every camera, as `data` stands (its kinematics must be up to date)."""
        h, w = self.size
        if self._renderer is None:
            self._renderer = mujoco.Renderer(self._model, SUPERSAMPLE * h, SUPERSAMPLE * w)
            weakref.finalize(self, self._renderer.close)  # also at exit, before the graphics library is unloaded
        frames = {}
        for camera in self.cameras:
            self._renderer.update_scene(data, camera)
            large = self._renderer.render().reshape(h, SUPERSAMPLE, w, SUPERSAMPLE, 3)
            total = large.sum(axis=(1, 3), dtype=np.uint16)
            frames[camera] = ((total + SUPERSAMPLE**2 // 2) // SUPERSAMPLE**2).astype(np.uint8)
        return frames

    def close(self) -> None:
        """Free the graphics context; a later frame makes a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
