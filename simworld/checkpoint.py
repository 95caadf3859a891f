"""Checkpoints: a world model as config.json and model.safetensors in one folder, never pickle."""

from __future__ import annotations

import difflib
import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from simworld.canvas_state import CanvasWorldConfig
from simworld.canvas_world_model import CanvasWorldModel
from simworld.config import from_json, to_json
from simworld.data.files import read_json, write_bytes, write_json
from simworld.episode import EpisodeSpec
from simworld.latent_world_model import LatentConfig, LatentWorldModel
from simworld.memory import keep_freed_memory
from simworld.reference_world_model import ReferenceWorldConfig, ReferenceWorldModel
from simworld.world_model import WorldModel

FORMAT = "simworld-world-model"
VERSION = 1
MODELS: dict[str, tuple[type, type]] = {
    "canvas": (CanvasWorldConfig, CanvasWorldModel),
    "latent": (LatentConfig, LatentWorldModel),
    "unet": (ReferenceWorldConfig, ReferenceWorldModel),
}


def build_world_model(kind: str, config: Any, spec: EpisodeSpec) -> WorldModel:
    """A world model with fresh weights; `config` is the kind's dataclass or a plain mapping of it."""
    if kind not in MODELS:
        near = difflib.get_close_matches(kind, MODELS, n=1) or list(MODELS)
        raise ValueError(f"unknown model {kind!r}; did you mean {' or '.join(near)}?")
    config_type, model_type = MODELS[kind]
    return model_type(config if isinstance(config, config_type) else from_json(config_type, config), spec)


def save_world_model(model: WorldModel, folder: Path, *, training: dict[str, Any] | None = None) -> None:
    """Write `folder`: weights in half precision, buffers in full, and how the model came to be.

    The weights are written first and replaced whole; a reader never sees half a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind = next(name for name, (_, model_type) in MODELS.items() if type(model) is model_type)
    halved = {name for name, p in model.named_parameters() if p.dtype == torch.float32}
    tensors = {
        name: (t.half() if name in halved else t).detach().cpu().contiguous() for name, t in model.state_dict().items()
    }
    write_bytes(folder / "model.safetensors", save(tensors))
    meta = {"format": FORMAT, "version": VERSION, "model": kind, "config": to_json(model.config)}
    write_json(folder / "config.json", meta | {"spec": model.spec.to_json(), "training": training or {}})


def find_checkpoint(name: str | os.PathLike[str]) -> Path:
    """A folder with a checkpoint, or the name of one that ships with the package.

    Raises ValueError that lists the nearest names.
    """
    shipped = Path(str(resources.files("simworld.pretrained")))
    for folder in (Path(name), Path(name) / "model", shipped / str(name)):
        if (folder / "config.json").is_file():
            return folder
    names = sorted(p.parent.name for p in shipped.glob("*/config.json"))
    near = difflib.get_close_matches(str(name), names, n=3) or names
    known = f"shipped ones are {', '.join(near)}" if near else "none ships with this installation"
    raise ValueError(f"no checkpoint at {str(name)!r}: give a folder that holds config.json, or a name; {known}")


def load_world_model(
    name: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    overrides: dict[str, Any] | None = None,
) -> WorldModel:
    """Load a checkpoint for inference; `overrides` replaces top-level config fields, e.g. sample_steps.

    Raises ValueError with one sentence where the folder is not, or not wholly, a checkpoint.
    """
    folder, meta, weights = _read(name)
    try:
        spec = EpisodeSpec.from_json(meta["spec"])
        model = build_world_model(meta["model"], {**meta["config"], **(overrides or {})}, spec)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{folder} is a damaged checkpoint ({str(error).splitlines()[0]}); copy it again") from error
    try:
        missing, foreign = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        what = str(error).splitlines()[1].strip().partition(":")[0]
        raise ValueError(
            f"{folder} holds weights of another model than this simworld builds ({what}); "
            f"train on from it with train.init={folder}"
        ) from error
    if missing or foreign:
        first = (list(missing) + list(foreign))[0]
        raise ValueError(f"{folder} does not hold the weights its config describes (first mismatch: {first})")
    if torch.device(device).type == "cpu":
        keep_freed_memory()
    return model.to(device=device).to_dtype(dtype).eval().requires_grad_(False)


def load_weights(name: str | os.PathLike[str]) -> tuple[EpisodeSpec, dict[str, Tensor]]:
    """What a checkpoint was trained on, and its weights in float32, whatever model they are of.

    Raises ValueError as `load_world_model` does.
    """
    folder, meta, weights = _read(name)
    try:
        return EpisodeSpec.from_json(meta["spec"]), weights
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder} is a damaged checkpoint ({error}); copy it again") from error


def _read(name: str | os.PathLike[str]) -> tuple[Path, dict[str, Any], dict[str, Tensor]]:
    folder = find_checkpoint(name)
    meta = read_json(folder / "config.json")
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ValueError(f"{folder} is not a simworld world model (config.json lacks format {FORMAT!r})")
    if meta.get("version") != VERSION:
        raise ValueError(f"{folder} has version {meta.get('version')}; this simworld reads version {VERSION}")
    try:
        weights = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder} is a damaged checkpoint ({str(error).splitlines()[0]}); copy it again") from error
    return folder, meta, {k: w.float() for k, w in weights.items()}


def save_training_state(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """One file, replaced whole, so that a kill leaves the old state or the new one."""
    flat = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_bytes(path, save(flat, metadata={"simworld": json.dumps(meta)}))


def load_training_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Inverse of `save_training_state`; raises ValueError on a damaged file."""
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["simworld"])
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a whole training state ({error}); delete it to start again") from error
