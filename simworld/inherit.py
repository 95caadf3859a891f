"""Going on from a checkpoint: which of its weights a model takes over, though its cameras or parts may be others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from simworld.checkpoint import load_weights
from simworld.world_model import WorldModel

LOOKS = "lookout.", "forecast.", "touch."  # what goes on from those spotted alone


def inherit(model: WorldModel[Any], init: str, report: Callable[[str], None]) -> None:
    """Give the model the weights of the checkpoint `init`; parts that are new or of another size start afresh, named.

    The belief's eye of a camera that `init` does not have begins as its first camera's, saying nothing yet. Raises
    ValueError where it has other actions or outcomes, or its config or codec is another.
    """
    spec, theirs = load_weights(init)
    old, new = spec, model.spec
    if (old.action, old.outcomes) != (new.action, new.outcomes):
        raise ValueError(f"{init} was trained on other actions or outcomes than this data has")
    for camera in new.cameras.keys() - old.cameras.keys():
        theirs |= _lent(theirs, lender=next(iter(old.cameras)), camera=camera)
    mine = model.state_dict()
    fits = {name: x for name, x in theirs.items() if name in mine and mine[name].shape == x.shape}
    if any(name not in fits for name in mine if name.startswith("codec.")) or not fits:
        raise ValueError(f"{init} was trained with another model config; give the same one to go on from it")
    model.load_state_dict(fits, strict=False)
    fresh = sorted({".".join(name.split(".")[:2]) for name in mine if name not in fits})
    if fresh:
        report(f"not in {init}, so starting afresh: {', '.join(fresh)}")


def look_as(model: WorldModel[Any], init: str, report: Callable[[str], None]) -> None:
    """Give the model the lookout of the checkpoint `init`, its forecast and its touch, none of which knows of a belief.

    Raises ValueError where either has no lookout, or one of another config.
    """
    _, theirs = load_weights(init)
    mine = model.state_dict()
    looks = {name: x for name, x in theirs.items() if name in mine and name.startswith(LOOKS)}
    if not looks or any(mine[name].shape != x.shape for name, x in looks.items()):
        raise ValueError(f"{init} has no lookout that this model could look with; give the config of its lookout")
    model.load_state_dict(looks, strict=False)
    report(f"from {init}: {', '.join(sorted({name.partition('.')[0] for name in looks}))}")


def _lent(theirs: dict[str, Tensor], *, lender: str, camera: str) -> dict[str, Tensor]:
    """The weights of the lender's eye under another camera's name: it sees alike, and what it makes of it is zero."""
    eye = f"belief.eyes.{lender}."
    seen = {name.removeprefix(eye): x for name, x in theirs.items() if name.startswith(eye)}
    return {
        f"belief.eyes.{camera}.{name}": torch.zeros_like(x) if name.startswith("out.") else x
        for name, x in seen.items()
    }
