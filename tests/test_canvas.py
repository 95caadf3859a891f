"""The canvas as a WorldModel: pure steps, noise by (seed, step), films of their own; and its phase of training."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import build_world_model, load_world_model
from simworld.data.store import EpisodeStore
from simworld.episode import EpisodeSpec, Mount
from simworld.fit import Interrupted, Run
from simworld.model.pixels import to_model
from simworld.nets.painter import Painted
from simworld.phases import CanvasPhase
from simworld.train import train
from simworld.world_model import take_streams

from .test_world_model import SEEDS, actions_of, gap, play, tensors_of
from .tiny_world import CANVAS, SPEC, TRAIN, film_batch, lively_canvas, write_store

PAINTING = dataclasses.replace(TRAIN, model="canvas")


@pytest.fixture(scope="module")
def model() -> CanvasWorldModel:
    return lively_canvas()


def test_a_state_is_never_edited_and_branches_agree(model: CanvasWorldModel) -> None:
    state = model.start(*film_batch(3, 4), seed=SEEDS)
    before = tensors_of(state)
    _, first = play(model, state, actions_of(3, 3))
    _, second = play(model, state, actions_of(3, 3))
    assert gap(first, second) == 0
    torch.testing.assert_close(tensors_of(state), before, rtol=0, atol=0, equal_nan=True)


def test_films_follow_seed_and_actions_and_not_their_neighbours(model: CanvasWorldModel) -> None:
    frames, actions = film_batch(3, 4)
    then = actions_of(3, 6)
    _, together = play(model, model.start(frames, actions, seed=SEEDS), then)
    for i in range(3):
        alone = model.start({c: f[i : i + 1] for c, f in frames.items()}, actions[i : i + 1], seed=SEEDS[i : i + 1])
        _, film = play(model, alone, then[i : i + 1])
        assert gap(film, {c: f[i : i + 1] for c, f in together.items()}) <= 1
    _, other = play(model, model.start(frames, actions, seed=SEEDS + 1), then)
    _, turned = play(model, model.start(frames, actions, seed=SEEDS), -then)
    assert gap(together, other) > 1 and gap(together, turned) > 1


def test_a_lane_that_begins_anew_shows_the_film_of_a_fresh_stream(model: CanvasWorldModel) -> None:
    state, _ = play(model, model.start(*film_batch(3, 4), seed=SEEDS), actions_of(3, 2))
    fresh = model.start(*film_batch(1, 2, seed=40), seed=torch.tensor([99]))
    then = actions_of(3, 4)
    _, film = play(model, model.put(state, torch.tensor([1]), fresh), then)
    _, alone = play(model, fresh, then[1:2])
    assert gap({c: f[1:2] for c, f in film.items()}, alone) <= 1
    _, same = play(model, take_streams(state, torch.tensor([2, 2, 2])), then[:1].expand(3, -1, -1))
    assert all(torch.equal(f[0], f[2]) for f in same.values())


def test_an_untrained_model_nearly_repeats_the_last_frame() -> None:
    world = build_world_model("canvas", CANVAS, SPEC).eval()
    frames, actions = film_batch(3, 4)
    _, film = play(world, world.start(frames, actions, seed=SEEDS), actions_of(3, 1))
    assert gap(film, {c: f[:, -1:] for c, f in frames.items()}) <= 4


@pytest.mark.parametrize("sample_steps", [1, 2, 4])
def test_an_oracle_makes_the_sampler_return_the_truth(sample_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = lively_canvas(dataclasses.replace(CANVAS, sample_steps=sample_steps))
    state = world.start(*film_batch(3, 4), seed=SEEDS)
    truth, _ = film_batch(3, 0, seed=70)
    clean = {c: to_model(f[:, 0]) for c, f in truth.items()}
    levels: list[float] = []

    def oracle(last: Any, before: Any, noisy: Any, level: Tensor, *rest: Any) -> dict[str, Painted]:
        if levels:  # what is refined comes nearer to the means of the truth
            off = [(noisy[c] - x).abs().mean() for c, x in world.canvas.coarse(clean).items()]
            assert max(off) < 1 - float(level[0]) + 0.2
        levels.append(float(level[0]))
        return {c: Painted(x, x, torch.zeros(3, world.canvas.painter.num_noted)) for c, x in clean.items()}

    monkeypatch.setattr(world.canvas, "forward", oracle)
    _, prediction = world.step(state, actions_of(3, 1)[:, 0])
    assert gap(prediction.frames, {c: f[:, 0] for c, f in truth.items()}) == 0
    assert levels == [i / sample_steps for i in range(sample_steps)]


def driven_spec(**more: str) -> EpisodeSpec:
    """One camera with a mount, and a state that tells speed and yaw rate, and `more`: {name: unit}."""
    state = {"speed_mps": "m/s", "yaw_rate_radps": "rad/s"} | more
    return dataclasses.replace(
        SPEC,
        cameras={"front": (32, 32)},
        mounts={"front": Mount(2.0, 0.0, 1.4, 0.0, -0.09, 50.0)},
        state_names=tuple(state),
        state_units=tuple(state.values()),
    )


def test_whom_the_belief_sees_ahead_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = driven_spec(lateral_m="m", lane_width_m="m", heading_error_rad="rad", curvature_1pm="1/m")
    world = lively_canvas(dataclasses.replace(CANVAS, canvas=dataclasses.replace(CANVAS.canvas, max_actors=4)), spec)
    assert world.ahead is not None and "ahead" in world.outcome_parts
    world.heads.state_std.fill_(1e-3)  # a straight road, whatever is believed
    nobody = torch.zeros(2, 3, 14)
    nobody[..., 0] = -9.0
    somebody = nobody.clone()
    somebody[:, 0, :3] = torch.tensor([9.0, math.log(9.0) - 3.0, 0.0])
    frames, actions = film_batch(2, 4, spec)
    films = {}
    for name, told in (("nobody", nobody), ("somebody", somebody)):
        monkeypatch.setattr(world.ahead, "forward", lambda belief, told=told: told[: len(belief)])
        state, film = play(world, world.start(frames, actions, seed=SEEDS[:2]), actions_of(2, 2))
        films[name] = film["front"]
        assert state.actors[:, 0, 1].isfinite().all() == (name == "somebody") and state.actors.shape == (2, 4, 9)
    assert not torch.equal(films["nobody"], films["somebody"])
    state = world.start(frames, actions, seed=SEEDS[:2])
    told = torch.tensor([[[3.0, 30.0, 0.0, 0.0, 9.0, 0.0, 9.0, 2.5, 16000.0]]]).expand(2, -1, -1)
    drawn = world.step(state, actions_of(2, 1)[:, 0], told)[0].actors
    assert drawn[:, 0].equal(told[:, 0]) and drawn[:, 1:].isnan().all()  # what is told counts, not what is believed


def test_told_actors_and_motion_show() -> None:
    """With a mount and a state that tells speed and yaw rate, geometry takes part."""
    spec = driven_spec()
    world = lively_canvas(spec=spec)
    world.heads.state_mean.copy_(torch.tensor([15.0, 0.0]))
    state = world.start(*film_batch(2, 4, spec), seed=SEEDS[:2])
    then = actions_of(2, 1)[:, 0]
    ahead = torch.tensor([[[0.0, 9.0, 0.0, 0.0, 15.0, 0.0, 4.5, 1.8, 1500.0]]]).expand(2, -1, -1)
    untold, told = (world.step(state, then, a)[1].frames["front"] for a in (None, ahead))
    assert not torch.equal(untold, told)
    nobody = world.step(state, then, torch.full_like(ahead, torch.nan))[1].frames["front"]
    assert torch.equal(untold, nobody)
    moved = world.canvas.moved(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 6), *world.scale)
    assert moved.step is not None and float(moved.step.forward_m[0]) == pytest.approx(1.5) and not moved.crossed.any()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        lively_canvas(spec=dataclasses.replace(SPEC, cameras={"front": (12, 16)}))
    with pytest.raises(ValueError, match="sample_steps"):
        dataclasses.replace(CANVAS, sample_steps=0)
    with pytest.raises(ValueError, match="as many depths as widths"):
        dataclasses.replace(CANVAS.canvas.painter, depths=(1,))


def quiet(line: str) -> None:
    """Training's report, unheard."""


def weights(folder: Path) -> bytes:
    return (folder / "model/model.safetensors").read_bytes()


def test_stopped_and_resumed_gives_the_same_bytes(tiny_store: Path, tmp_path: Path) -> None:
    """Stopped in the belief's phase, and amid films that the canvas paints on its own frames."""
    train(PAINTING, data=tiny_store, out=tmp_path / "whole", report=quiet)
    for steps in (1, 3, 2):
        with pytest.raises(Interrupted):
            train(PAINTING, data=tiny_store, out=tmp_path / "parts", report=quiet, stop_after=steps)
    train(PAINTING, data=tiny_store, out=tmp_path / "parts", report=quiet)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert load_world_model(tmp_path / "whole").config == PAINTING.canvas


def test_no_step_of_training_reaches_into_the_next(tiny_store: Path, tmp_path: Path) -> None:
    cache = EpisodeStore(tiny_store).cache()
    config = dataclasses.replace(PAINTING.paint, window=4, unroll_from=0.0)
    phase = CanvasPhase(
        lively_canvas().requires_grad_(True),
        cache,
        config,
        PAINTING.paint_optim,
        0,
        Run(tmp_path, torch.device("cpu"), None),
    )
    for step in range(6):
        phase.loss(step, 1.0)["loss"].backward()
        assert not any(x.requires_grad for x in phase.memory().values())


def test_films_go_on_from_what_was_painted_and_end_with_their_episodes(tiny_store: Path, tmp_path: Path) -> None:
    cache = EpisodeStore(tiny_store).cache()
    config = dataclasses.replace(PAINTING.paint, window=50, unroll_from=0.0)
    phase = CanvasPhase(
        lively_canvas(), cache, config, PAINTING.paint_optim, 0, Run(tmp_path, torch.device("cpu"), None)
    )
    ends = cache.first_row + cache.num_steps
    went_on = 0
    for step in range(40):
        before = phase.memory()
        phase.loss(step, 1.0)
        now = phase.films
        assert now is not None and (now.row.numpy() <= ends[ends.searchsorted(now.row.numpy())]).all()
        if before:
            same = (now.row == before["row"] + 1).numpy()
            went_on += int(same.sum())
            for i in same.nonzero()[0]:
                assert torch.equal(now.before["front"][i], before["last/front"][i])
    assert went_on > 80


def test_young_films_draw_whom_the_model_believes_in_and_old_ones_the_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = driven_spec(lateral_m="m", lane_width_m="m", heading_error_rad="rad", curvature_1pm="1/m")
    store = write_store(tmp_path / "store", spec)
    world = lively_canvas(
        dataclasses.replace(CANVAS, canvas=dataclasses.replace(CANVAS.canvas, max_actors=3, actor_drop=1.0)), spec
    )
    world.heads.state_std.fill_(1e-3)  # nobody moves
    believed = torch.zeros(1, 3, 14)
    believed[:, 0, :3] = torch.tensor([9.0, math.log(20.0) - 3.0, 0.0])
    believed[:, 1:, 0] = -9.0
    assert world.ahead is not None
    monkeypatch.setattr(world.ahead, "forward", lambda belief: believed.expand(len(belief), -1, -1))
    monkeypatch.setattr(world.ahead, "who", lambda actors, state: torch.full((len(actors), 3, 9), 7.0))
    phase = CanvasPhase(
        world,
        EpisodeStore(store).cache(),
        dataclasses.replace(PAINTING.paint, window=9, unroll_from=0.0),
        PAINTING.paint_optim,
        0,
        Run(tmp_path, torch.device("cpu"), None),
    )
    phase.loss(0, 1.0)
    films = phase.films
    assert films is not None and (films.age == 1).all()
    assert ((films.actors[:, 0, 1] - 20).abs() < 0.1).all() and films.actors[:, 1:].isnan().all()
    films.age.fill_(10)
    films.left.fill_(2)
    films.row.copy_(torch.tensor(phase.cache.first_row[: len(films.row)]))
    phase.loss(1, 1.0)
    assert phase.films is not None and (phase.films.actors == 7.0).all()


def test_a_start_is_laid_out_as_every_later_state() -> None:
    """Else a compiler takes the first steps of a single stream for other kinds of steps, and compiles them all."""
    world = lively_canvas()
    state = world.start(*film_batch(1, 4), seed=SEEDS[:1])
    later = world.step(state, actions_of(1, 1)[:, 0])[0]
    for name in ("last", "before", "first"):
        for camera, picture in getattr(state, name).items():
            assert picture.stride() == getattr(later, name)[camera].stride()
