"""train(): the same weights however often it was stopped, killed, or shared among processes."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simworld.checkpoint import load_world_model
from simworld.fit import Interrupted, Run
from simworld.model.codec import CodecConfig
from simworld.model.reference import ReferenceConfig
from simworld.nets.unet import UNetConfig
from simworld.optim import Average, OptimConfig, build_optimizers, rate
from simworld.phases import DynamicsPhase, PhaseConfig
from simworld.recipe import TrainConfig
from simworld.reference_world_model import ReferenceWorldConfig
from simworld.start_films import StartFilms
from simworld.train import train

from .tiny_world import PIXELS, SPEC, TRAIN, lively_model, write_store
from .two_ranks import on_two_ranks

ROOT = Path(__file__).parents[1]
UNET = dataclasses.replace(
    TRAIN,
    model="unet",
    unet=ReferenceWorldConfig(
        reference=ReferenceConfig(
            unet=UNetConfig(channels=(8, 8), depths=(1, 1), attention=(False, False), cond_features=8)
        ),
        classifier_width=4,
    ),
    reference=PhaseConfig(steps=4, batch=2),
)


def quiet(line: str) -> None:
    """Training's report, unheard."""


def weights(folder: Path) -> bytes:
    return (folder / "model/model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(TRAIN, data=tiny_store, out=out, report=quiet)
    return out


def test_a_run_leaves_a_checkpoint_a_report_and_starts(uninterrupted: Path) -> None:
    model = load_world_model(uninterrupted)
    assert model.config == TRAIN.latent and model.heads.config.horizon == 4
    done = json.loads((uninterrupted / "report.json").read_text())["training"]
    assert {"cpu_min", "parameters", "frames", "losses"} <= done.keys() and done["frames"] == 4 * 31
    assert done["losses"]["dynamics"]["step"] == TRAIN.dynamics.steps
    assert (uninterrupted / "model/starts.safetensors").exists()
    # collisions end half of the tiny episodes, and nothing else does
    assert float(model.heads.p_ends_given_event[0]) == 1.0 and float(model.heads.usual_error.diff().min()) >= 0


def test_running_again_changes_nothing(uninterrupted: Path, tiny_store: Path) -> None:
    before = weights(uninterrupted)
    train(TRAIN, data=tiny_store, out=uninterrupted, report=quiet)
    assert weights(uninterrupted) == before


@pytest.mark.parametrize(
    ("phase", "learns"),
    [("belief", {"belief", "heads.hidden", "heads.out"}), ("dynamics", {"dynamics"}), ("trust", {"heads.doubt"})],
)
def test_a_phase_may_run_alone(
    phase: str, learns: set[str], uninterrupted: Path, tiny_store: Path, tmp_path: Path
) -> None:
    others = {p: dataclasses.replace(getattr(TRAIN, p), steps=0) for p in {"belief", "dynamics", "trust"} - {phase}}
    config = dataclasses.replace(TRAIN, init=str(uninterrupted), seed=1, **others)
    train(config, data=tiny_store, out=tmp_path / "run", report=quiet)
    before, after = (dict(load_world_model(f).named_parameters()) for f in (uninterrupted, tmp_path / "run"))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and all(any(name.startswith(part) for part in learns) for name in changed)


def test_what_a_checkpoint_lacks_starts_afresh_and_is_named(
    uninterrupted: Path, tiny_store: Path, tmp_path: Path
) -> None:
    belief = dataclasses.replace(TRAIN.latent.belief, size=10)
    config = dataclasses.replace(
        TRAIN, init=str(uninterrupted), latent=dataclasses.replace(TRAIN.latent, belief=belief)
    )
    told: list[str] = []
    train(config, data=tiny_store, out=tmp_path, report=told.append)
    [line] = [x for x in told if "starting afresh" in x]
    assert "belief.cell" in line and "heads.hidden" in line and "dynamics.transformer" not in line


def test_stopped_and_resumed_gives_the_same_bytes(uninterrupted: Path, tiny_store: Path, tmp_path: Path) -> None:
    """Stopped in the phases of the codec, the belief and the dynamics."""
    for steps in (3, 2, 3):
        with pytest.raises(Interrupted):
            train(TRAIN, data=tiny_store, out=tmp_path, report=quiet, stop_after=steps)
    assert not (tmp_path / "model").exists()
    train(TRAIN, data=tiny_store, out=tmp_path, report=quiet)
    assert weights(tmp_path) == weights(uninterrupted)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {root!r})
from simworld import fit
from simworld.train import train
from tests.tiny_world import TRAIN
step, write, count = fit._Fitting.step, os.replace, 0
def counted(self):
    global count
    step(self)
    count += 1
    if count in (2, 6):
        self.save()
    if count == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
def killed_while_writing(source, target):
    if count == {at} - 1 and str(target).endswith(".safetensors"):
        os.kill(os.getpid(), signal.SIGKILL)
    write(source, target)
fit._Fitting.step = counted
if {writing}:
    os.replace = killed_while_writing
train(TRAIN, data=Path({data!r}), out=Path({out!r}), report=lambda line: None)
"""


@pytest.mark.parametrize(("at", "writing"), [(8, False), (7, True)])
def test_killed_and_resumed_gives_the_same_bytes(
    at: int, writing: bool, uninterrupted: Path, tiny_store: Path, tmp_path: Path
) -> None:
    """kill -9 some steps after a save, or in the middle of writing one."""
    script = KILLED.format(root=str(ROOT), at=at, writing=writing, data=str(tiny_store), out=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "codec.safetensors").exists()
    train(TRAIN, data=tiny_store, out=tmp_path, report=quiet)
    assert weights(tmp_path) == weights(uninterrupted)


def test_another_recipe_in_the_same_folder_is_refused(uninterrupted: Path, tiny_store: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(TRAIN, seed=1, codec_share=0.5)
    with pytest.raises(ValueError, match="another codec_share, seed; choose another folder") as error:
        train(other, data=tiny_store, out=uninterrupted, report=quiet)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="another data"):
        train(TRAIN, data=write_store(tmp_path / "other"), out=uninterrupted, report=quiet)


RANK = """
from simworld.train import train
from tests.tiny_world import TRAIN
train(TRAIN, data=Path({data!r}), out=Path({out!r}), report=lambda line: None)
"""


def test_two_processes_reach_the_weights_of_one(uninterrupted: Path, tiny_store: Path, tmp_path: Path) -> None:
    on_two_ranks(RANK.format(data=str(tiny_store), out=str(tmp_path)))
    one, two = (load_file(out / "model/model.safetensors") for out in (uninterrupted, tmp_path))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name].float(), one[name].float(), atol=2e-3, rtol=2e-3, msg=name)


def test_a_batch_that_can_not_be_shared_is_refused(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simworld.data.store import EpisodeStore

    run = Run(folder=tiny_store, device=torch.device("cpu"), autocast=None)
    monkeypatch.setattr(Run, "world", 3)
    config = PhaseConfig(steps=1, batch=4, window=6)
    with pytest.raises(ValueError, match="a batch of 4 can not be shared by 3 processes"):
        DynamicsPhase(lively_model(), EpisodeStore(tiny_store).cache(), config, OptimConfig(), 0, run, {})


def test_pixels_need_no_codec_phase(tiny_store: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TRAIN, latent=PIXELS)
    train(config, data=tiny_store, out=tmp_path, report=quiet)
    assert not (tmp_path / "codec.safetensors").exists()
    assert load_world_model(tmp_path).config.codec == CodecConfig(kind="pixels")


def test_a_model_may_have_some_of_the_cameras(tiny_store: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TRAIN, latent=PIXELS, cameras=("front",))
    made = train(config, data=tiny_store, out=tmp_path / "front", report=quiet)
    spec = load_world_model(made).spec
    assert spec.cameras == {"front": SPEC.cameras["front"]} and spec.state_names == SPEC.state_names
    assert StartFilms.load(made).frames.keys() == {"front"}
    with pytest.raises(ValueError, match="the data has no camera 'frint'; did you mean front"):
        train(dataclasses.replace(config, cameras=("frint",)), data=tiny_store, out=tmp_path / "none", report=quiet)


def test_the_reference_is_stopped_and_resumed_the_same(tmp_path: Path) -> None:

    data = write_store(tmp_path / "store", dataclasses.replace(SPEC, cameras={"front": (16, 16)}))
    train(UNET, data=data, out=tmp_path / "whole", report=quiet)
    with pytest.raises(Interrupted):
        train(UNET, data=data, out=tmp_path / "parts", report=quiet, stop_after=2)
    train(UNET, data=data, out=tmp_path / "parts", report=quiet)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_going_on_from_a_checkpoint_keeps_its_codec(uninterrupted: Path, tiny_store: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TRAIN, init=str(uninterrupted), dynamics=PhaseConfig(steps=1, batch=4, window=6))
    train(config, data=tiny_store, out=tmp_path, report=quiet)
    old, new = (load_file(out / "model/model.safetensors") for out in (uninterrupted, tmp_path))
    assert all(torch.equal(old[k], new[k]) for k in old if k.startswith("codec."))
    assert any(not torch.equal(old[k], new[k]) for k in old if k.startswith("dynamics."))
    with pytest.raises(ValueError, match="another model config"):
        train(dataclasses.replace(config, latent=PIXELS), data=tiny_store, out=tmp_path / "b", report=quiet)


def test_data_that_can_not_be_trained_on_is_refused_first(tiny_store: Path, tmp_path: Path) -> None:
    from simworld.data.store import EpisodeStore

    from .tiny_world import episode_of

    short = EpisodeStore.create(tmp_path / "short", SPEC)
    short.append(episode_of(0, 12))
    with pytest.raises(ValueError, match="record longer ones"):
        train(TRAIN, data=tiny_store, out=tmp_path / "run", starts=tmp_path / "short", report=quiet)
    assert not (tmp_path / "run/codec.safetensors").exists()


def test_the_rate_warms_up_holds_and_cools_down() -> None:
    config = OptimConfig(warmup_steps=4, cooldown=0.25)
    assert [rate(config, step, 0.0) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert [rate(config, 99, p) for p in (0.5, 0.75, 0.875, 1.0, 1.1)] == [1.0, 1.0, 0.5, 0.0, 0.0]


def test_muon_takes_the_matrices_of_blocks_and_adamw_the_rest() -> None:
    model = lively_model()
    modules = {"dynamics": model.dynamics, "heads": model.heads}
    adamw, muon = build_optimizers(OptimConfig(), modules)
    names = {id(p): f"{root}.{n}" for root, m in modules.items() for n, p in m.named_parameters()}
    hidden = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    rest = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert hidden | rest == set(names.values()) and not hidden & rest
    assert all(".blocks." in n and "age_bias" not in n and n.endswith("weight") for n in hidden) and hidden
    assert len(build_optimizers(OptimConfig(kind="adamw"), modules)) == 1


def test_the_average_grows_its_memory() -> None:
    value = torch.zeros(1)
    average = Average([value], decay=0.5)
    value += 1.0
    average.update([value], step=0)  # decay (1 + 0) / (10 + 0)
    assert float(average.values[0]) == pytest.approx(0.9)
    average.update([value + 1], step=1000)  # decay 0.5
    assert float(average.values[0]) == pytest.approx(1.45)


def test_defaults_of_training_are_a_contract() -> None:
    """Runs in progress compare their recipe with these."""
    config = TrainConfig()
    assert (config.model, config.precision, config.seed, config.budget_min) == ("canvas", "bfloat16", 0, None)
    assert (config.paint.batch, config.paint.window) == (64, 50)
    assert (config.codec.batch, config.dynamics.batch, config.dynamics.window) == (16, 8, 16)
