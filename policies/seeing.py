"""A scripted expert that is told what a world model sees in the frames, instead of the truth.

What a scripted driver needs is who is where; a world model that was trained on such frames tells that of real and of
imagined ones alike. So an expert becomes a policy that sees frames only, and plays in both worlds.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import find_checkpoint, load_world_model
from simworld.policy import Observation, Policy

from .film import Film

CONTEXT = 8  # steps that are looked back


class SeeingExpert:
    """`expert`, told the state and the actors that the world model `checkpoint` sees in the last frames.

    What came before the first frame is taken to look like it, and nothing to have been done. ValueError where the
    checkpoint is none that sees who is there.
    """

    needs_state = False

    def __init__(self, expert: Policy, checkpoint: str, *, name: str) -> None:
        self.expert, self.name = expert, name
        self.checkpoint = find_checkpoint(checkpoint)
        weights = (self.checkpoint / "model.safetensors").read_bytes()
        self.fingerprint = hashlib.sha256(weights).hexdigest()[:16]
        self.spec = _seer(str(self.checkpoint)).spec
        self._film = Film(self.cameras, CONTEXT + 1, name)
        self._actions = np.zeros((0, CONTEXT, self.spec.action.size), np.float32)

    @property
    def cameras(self) -> dict[str, tuple[int, int]]:
        """The frames (h, w) that it sees by."""
        return self.spec.cameras

    def reset(self, seeds: NDArray[np.int64]) -> None:
        self.expert.reset(seeds)
        self._film.clear()
        self._actions = np.zeros((len(seeds), CONTEXT, self.spec.action.size), np.float32)

    def act(self, observation: Observation, infos: list[dict[str, Any]]) -> NDArray[np.float32]:
        frames = {camera: torch.from_numpy(film) for camera, film in self._film.add(observation).items()}
        state, actors = _seer(str(self.checkpoint)).seen(frames, torch.from_numpy(self._actions))
        told = [{"state": s, "actors": a} for s, a in zip(state.numpy(), actors.numpy(), strict=True)]
        action = self.expert.act(observation, told)
        self._actions = np.concatenate([self._actions[:, 1:], action[:, None]], axis=1)
        return action


@lru_cache(maxsize=2)
def _seer(checkpoint: str) -> CanvasWorldModel:
    """The world model, loaded once in every process."""
    model = load_world_model(checkpoint)
    if not isinstance(model, CanvasWorldModel) or model.lookout is None or not model.spec.state_names:
        raise ValueError(f"the world model in {checkpoint} does not see who is there; train it with a lookout")
    return model
