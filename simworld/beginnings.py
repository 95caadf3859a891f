"""Where imagined episodes begin: in films that the caller of `reset` gives, or in one of many, drawn for each lane."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simworld.episode import ActionSpec
from simworld.shapes import expect
from simworld.start_films import StartFilms

Film = tuple[dict[str, NDArray[np.uint8]], NDArray[np.float32]]  # frames {camera: (b, k+1, h, w, 3)}, actions (b, k, a)


class Beginnings:
    """Films of `context` actions, at most, from the folder of a store, as these of its cameras show them, or from start
    films, read when first drawn."""

    def __init__(
        self, starts: str | os.PathLike[str] | StartFilms | None, context: int, cameras: Collection[str]
    ) -> None:
        self._path = None if starts is None or isinstance(starts, StartFilms) else Path(starts)
        self._films = starts if isinstance(starts, StartFilms) else None
        self._context, self._cameras = context, cameras

    def draw(self, rngs: Sequence[np.random.Generator]) -> Film:
        """One film for each of the generators."""
        films = self._films = self._films or self._read()
        chosen = [int(rng.integers(len(films))) for rng in rngs]
        first = films.actions.shape[1] - min(self._context, films.actions.shape[1])
        return {c: f[chosen, first:] for c, f in films.frames.items()}, films.actions[chosen, first:]

    def _read(self) -> StartFilms:
        if self._path is None:
            raise ValueError("this env has no starts; give starts=STORE, or reset(options={'frames': ...})")
        if (self._path / "meta").is_dir():
            return StartFilms.from_store(self._path, num=256, context=self._context, seed=0, cameras=self._cameras)
        return StartFilms.load(self._path)


def lanes_of(options: Mapping[str, Any], num_envs: int) -> NDArray[np.int64]:
    """Which lanes a reset with these options is of; ValueError for options that would be ignored."""
    foreign = sorted(set(options) - {"frames", "actions", "reset_mask"})
    if foreign:
        raise ValueError(f"reset has no option {foreign[0]!r}; it takes frames, actions and reset_mask")
    if "actions" in options and "frames" not in options:
        raise ValueError("options['actions'] need the frames between which they were taken: give options['frames']")
    mask = np.asarray(options.get("reset_mask", np.ones(num_envs, bool)))
    expect(mask, "b", name="options['reset_mask']", b=num_envs)
    if mask.dtype != np.bool_ or not mask.any():
        raise ValueError("options['reset_mask'] must be bool, and True in at least one lane")
    return np.flatnonzero(mask)


def given(options: Mapping[str, Any], num_envs: int, action: ActionSpec) -> Film:
    """The films of all lanes in reset's options, checked; without actions they must be single frames."""
    if not isinstance(options["frames"], Mapping):
        raise ValueError("options['frames'] must be a mapping from camera to frames")
    frames = {c: np.asarray(f) for c, f in options["frames"].items()}
    actions = np.asarray(options.get("actions", np.zeros((num_envs, 0, action.size))), np.float32)
    expect(actions, "b k a", name="options['actions']", b=num_envs, a=action.size)
    if not np.isfinite(actions).all():
        raise ValueError("options['actions'] hold NaN or infinity")
    for camera, f in frames.items():
        if f.dtype != np.uint8:
            raise ValueError(f"options['frames'][{camera!r}] must be uint8, got {f.dtype}")
        expect(f, "b t h w 3", name=f"options['frames'][{camera!r}]", b=num_envs, t=actions.shape[1] + 1)
    return frames, actions
