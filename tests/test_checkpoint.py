"""Checkpoints: half precision on disk, the same films after loading, and clear words about broken ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from simworld.checkpoint import (
    build_world_model,
    find_checkpoint,
    load_training_state,
    load_world_model,
    save_training_state,
    save_world_model,
)

from .tiny_world import PIXELS, SPEC, film_batch, lively_model


@pytest.fixture
def copied(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copied"))


def edit(folder: Path, **changes: Any) -> None:
    meta = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(meta | changes))


def refused(folder: Path | str, **arguments: Any) -> str:
    """The one sentence with which a checkpoint is refused."""
    with pytest.raises(ValueError) as error:
        load_world_model(folder, **arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_weights_are_stored_in_half_precision_and_buffers_in_full(tiny_checkpoint: Path) -> None:
    tensors = load_file(tiny_checkpoint / "model.safetensors")
    model = lively_model()
    assert tensors.keys() == model.state_dict().keys()
    parameters = {name for name, _ in model.named_parameters()}
    assert {t.dtype for name, t in tensors.items() if name in parameters} == {torch.float16}
    assert {t.dtype for name, t in tensors.items() if name not in parameters} == {torch.float32}


def test_a_loaded_model_is_the_saved_one(tiny_checkpoint: Path, tmp_path: Path) -> None:
    saved, loaded = lively_model(), load_world_model(tiny_checkpoint)
    assert (loaded.config, loaded.spec, loaded.training) == (saved.config, saved.spec, False)
    for name, tensor in loaded.state_dict().items():
        torch.testing.assert_close(tensor, saved.state_dict()[name], atol=1e-4, rtol=1e-3)
    save_world_model(loaded, tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tiny_checkpoint / "model.safetensors").read_bytes()


def test_overrides_replace_config_fields(tiny_checkpoint: Path) -> None:
    assert load_world_model(tiny_checkpoint, overrides={"sample_steps": 2}).config.sample_steps == 2
    assert "sample_steps" in refused(tiny_checkpoint, overrides={"sample_step": 2})
    assert "at least 1" in refused(tiny_checkpoint, overrides={"sample_steps": 0})
    one, two = (load_world_model(tiny_checkpoint, overrides={"sample_steps": n}) for n in (1, 2))
    frames, actions = film_batch(1, 4)
    seed = torch.tensor([1])
    films = [m.step(m.start(frames, actions, seed=seed), actions[:, 0])[1].frames["front"] for m in (one, two)]
    assert not torch.equal(*films)


def test_the_folder_of_a_run_leads_to_its_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "run/model")
    assert find_checkpoint(tmp_path / "run") == tmp_path / "run/model"


def test_unknown_names_list_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "shipped"
    for name in ("driving", "push"):
        (shipped / name).mkdir(parents=True)
        (shipped / name / "config.json").write_text("{}")
    monkeypatch.setattr("simworld.checkpoint.resources.files", lambda package: shipped)
    assert find_checkpoint("push") == shipped / "push"
    said = refused("drivng")
    assert "drivng" in said and "driving" in said and "push" not in said
    assert "driving, push" in refused("xyz")
    shutil.rmtree(shipped)
    assert "none ships" in refused("driving")


def test_foreign_and_newer_folders_are_named(copied: Path) -> None:
    edit(copied, version=99)
    assert "version 99" in refused(copied)
    edit(copied, format="gpt")
    assert "not a simworld world model" in refused(copied)
    (copied / "config.json").write_text("[]")
    assert "not a simworld world model" in refused(copied)
    (copied / "config.json").write_text("{")
    assert "config.json" in refused(copied)


def test_truncated_or_missing_weights_are_named(copied: Path) -> None:
    whole = (copied / "model.safetensors").read_bytes()
    for part in (whole[: len(whole) // 2], whole[:4], b""):
        (copied / "model.safetensors").write_bytes(part)
        assert "damaged checkpoint" in refused(copied)
    (copied / "model.safetensors").unlink()
    assert "damaged checkpoint" in refused(copied)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec": None}, "not an episode spec"),
        ({"spec": {"env_id": "tiny"}}, "not an episode spec"),
        ({"config": []}, "damaged"),
        ({"config": {"dynamics": {"registers": 3}}}, "size mismatch for codec.mean"),
        ({"model": "latnt"}, "did you mean latent"),
    ],
)
def test_config_that_does_not_fit_the_weights_is_named(copied: Path, changes: dict[str, Any], said: str) -> None:
    edit(copied, **changes)
    assert said in refused(copied)


def test_unknown_model_lists_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean unet"):
        build_world_model("unett", PIXELS, SPEC)


def test_training_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "phase.safetensors"
    tensors = {"a/b": torch.randn(3, 4), "step": torch.tensor(7.0)}
    save_training_state(path, tensors, {"step": 7, "cpu_s": 0.1})
    back, meta = load_training_state(path)
    assert meta == {"step": 7, "cpu_s": 0.1}
    assert back.keys() == tensors.keys() and all(torch.equal(back[k], tensors[k]) for k in tensors)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="delete it to start again"):
        load_training_state(path)
