"""Sharding: two ranks, replicated or split, reach the losses and weights of one process, from one another's states."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simworld.fit import Interrupted
from simworld.train import train

from .test_train import UNET, quiet
from .tiny_world import SPEC, TRAIN, write_store
from .two_ranks import on_two_ranks

CODEC, HALF = 4, 3  # steps of the codec's phase, and half of those of the dynamics
BELIEVED, PAINTED = 2, 3  # steps of the belief's phase, and half of those that paint
PAINTING = dataclasses.replace(TRAIN, model="canvas")

RANKS = """
from tests.test_sharding import every_shared_run
every_shared_run(Path({folder!r}))
"""


def every_shared_run(folder: Path) -> None:
    """Everything that needs two processes, so that they start only once."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    for kind in ("replicated", "fsdp"):
        config = dataclasses.replace(TRAIN, sharding=kind, recompute=kind == "fsdp")
        train(config, data=folder / "store", out=folder / f"{kind}-whole", report=quiet)
        train(config, data=folder / "store", out=folder / f"{kind}-from-one", report=quiet)
        try:
            train(config, data=folder / "store", out=folder / f"{kind}-to-one", report=quiet, stop_after=HALF)
        except Interrupted:
            dist.barrier()
        train(
            dataclasses.replace(PAINTING, sharding=kind),
            data=folder / "store",
            out=folder / f"{kind}-canvas-whole",
            report=quiet,
        )
        try:
            again = dataclasses.replace(PAINTING, sharding=kind)
            train(again, data=folder / "store", out=folder / f"{kind}-canvas-to-one", report=quiet, stop_after=PAINTED)
        except Interrupted:
            dist.barrier()
    train(dataclasses.replace(UNET, sharding="fsdp"), data=folder / "square", out=folder / "fsdp-unet", report=quiet)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process beside those of two, some begun by the one and ended by the other."""
    folder = tmp_path_factory.mktemp("ranks")
    write_store(folder / "store")
    square = write_store(folder / "square", dataclasses.replace(SPEC, cameras={"front": (16, 16)}))
    train(TRAIN, data=folder / "store", out=folder / "one", report=quiet)
    train(PAINTING, data=folder / "store", out=folder / "one-canvas", report=quiet)
    with pytest.raises(Interrupted):
        train(PAINTING, data=folder / "store", out=folder / "believed", report=quiet, stop_after=BELIEVED)
    for kind in ("replicated", "fsdp"):
        shutil.copytree(folder / "believed", folder / f"{kind}-canvas-to-one")
    train(UNET, data=square, out=folder / "one-unet", report=quiet)
    with pytest.raises(Interrupted):
        train(TRAIN, data=folder / "store", out=folder / "codec-done", report=quiet, stop_after=CODEC)
    shutil.copytree(folder / "codec-done", folder / "half")
    with pytest.raises(Interrupted):
        train(TRAIN, data=folder / "store", out=folder / "half", report=quiet, stop_after=HALF)
    for kind in ("replicated", "fsdp"):
        shutil.copytree(folder / "half", folder / f"{kind}-from-one")
        shutil.copytree(folder / "codec-done", folder / f"{kind}-to-one")
    on_two_ranks(RANKS.format(folder=str(folder)))
    for kind in ("replicated", "fsdp"):
        train(TRAIN, data=folder / "store", out=folder / f"{kind}-to-one", report=quiet)
        train(PAINTING, data=folder / "store", out=folder / f"{kind}-canvas-to-one", report=quiet)
    return folder


def last_rows(out: Path) -> dict[str, dict[str, float]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {row["phase"]: row for row in rows}


@pytest.mark.parametrize("how", ["whole", "from-one", "to-one"])
@pytest.mark.parametrize("kind", ["replicated", "fsdp"])
def test_two_ranks_reach_the_loss_and_weights_of_one(kind: str, how: str, runs: Path) -> None:
    one, two = runs / "one", runs / f"{kind}-{how}"
    for phase in ("belief", "dynamics"):
        assert_alike(one, two, phase)


@pytest.mark.parametrize("how", ["whole", "to-one"])
@pytest.mark.parametrize("kind", ["replicated", "fsdp"])
def test_two_ranks_paint_what_one_paints(kind: str, how: str, runs: Path) -> None:
    """The films under way are shared among the ranks, and handed on where there are fewer."""
    for phase in ("belief", "paint"):
        assert_alike(runs / "one-canvas", runs / f"{kind}-canvas-{how}", phase)


def test_two_ranks_reach_the_reference_of_one(runs: Path) -> None:
    """Its noise is a function of the place in the whole batch."""
    assert_alike(runs / "one-unet", runs / "fsdp-unet", "reference")


def test_recomputing_changes_nothing(runs: Path) -> None:
    out = runs / "recomputed"
    train(dataclasses.replace(TRAIN, recompute=True), data=runs / "store", out=out, report=quiet)
    assert (out / "model/model.safetensors").read_bytes() == (runs / "one/model/model.safetensors").read_bytes()


def assert_alike(one: Path, two: Path, phase: str) -> None:
    a, b = last_rows(one)[phase], last_rows(two)[phase]
    for name in a.keys() - {"phase", "cpu_s"}:
        assert b[name] == pytest.approx(a[name], abs=1e-4, rel=1e-3), name
    # the whole state of training, float32 and optimisers included, has the same names and values
    states = load_file(one / f"{phase}.safetensors"), load_file(two / f"{phase}.safetensors")
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        near = 2e-3 if value.is_floating_point() else 1  # painted frames are rounded to grey levels
        torch.testing.assert_close(
            states[1][name].double(), value.double(), atol=near, rtol=2e-3, equal_nan=True, msg=name
        )
    weights = [load_file(out / "model/model.safetensors") for out in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name].float(), value.float(), atol=2e-3, rtol=2e-3, msg=name)
