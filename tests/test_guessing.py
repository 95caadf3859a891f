"""A canvas with a lookout: others that nobody tells of are guessed, told to the belief, and learned from."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from simworld.canvas_beliefs import NUM_SHOWN
from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import load_world_model
from simworld.data.cache import FrameCache
from simworld.fit import Interrupted
from simworld.model.actions import encode_actions
from simworld.model.lookout import LookoutConfig
from simworld.model.outcomes import shown_at
from simworld.phases import PhaseConfig
from simworld.train import train

from .test_canvas import PAINTING, driven_spec
from .test_world_model import SEEDS, actions_of
from .tiny_world import CANVAS, film_batch, lively_canvas, write_store

SPEC = driven_spec()
LOOKOUT = LookoutConfig(ago=(1, 0), width=4, most=3)
LOOKING = dataclasses.replace(CANVAS, lookout=LOOKOUT, minds=2, odometry=4, consequences=True)
SHORT = PhaseConfig(steps=3, batch=4, window=4)
LEARNING = dataclasses.replace(
    PAINTING,
    canvas=LOOKING,
    odometry=SHORT,
    lookout=SHORT,
    tracks=SHORT,
    closeups=SHORT,
    reckoning=SHORT,
    forecast=SHORT,
    touch=SHORT,
    consequences=SHORT,
)
CAR = [0.0, 9.0, 0.5, 0.0, 11.0, 0.0, 4.5, 1.8, 1500.0]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> CanvasWorldModel:
    """One that sees a car, and drives at 15 m/s."""
    made = lively_canvas(LOOKING, SPEC)
    assert made.lookout is not None and made.belief.guesses is not None
    made.heads.state_mean.copy_(torch.tensor([15.0, 0.0]))
    made.heads.state_std.fill_(1e-3)
    monkeypatch.setattr(made.lookout, "spot", lambda frames, ego: seen(len(ego)))
    return made


def film_actors(num: int) -> Tensor:
    return torch.tensor([[CAR, [torch.nan] * 9]]).expand(num, -1, -1)


def seen(num: int) -> Tensor:
    return torch.tensor([[CAR, [torch.nan] * 9, [torch.nan] * 9]]).expand(num, -1, -1)


def test_who_is_seen_is_told_to_the_belief_and_goes_on(
    world: CanvasWorldModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = world.start(*film_batch(2, 4, SPEC), seed=SEEDS[:2])
    then = actions_of(2, 1)[:, 0]
    after = world.step(state, then)[0]
    torch.testing.assert_close(after.guesses[:, 0, 1], torch.full((2,), 9.0 + 1.1 - 1.5), rtol=0, atol=1e-3)
    assert world.lookout is not None
    monkeypatch.setattr(world.lookout, "spot", lambda frames, ego: torch.full_like(seen(len(ego)), torch.nan))
    alone = world.step(world.start(*film_batch(2, 4, SPEC), seed=SEEDS[:2]), then)[0]
    assert alone.guesses.isnan().all() and not torch.equal(alone.belief, after.belief)


def test_what_is_foreseen_is_what_steps_tell(world: CanvasWorldModel) -> None:
    state, actions = world.start(*film_batch(2, 4, SPEC), seed=SEEDS[:2]), actions_of(2, 3)
    after = state
    for action, foreseen in zip(actions.unbind(1), world.foresee(state, actions), strict=True):
        after, told = world.step(after, action)
        assert torch.equal(foreseen.hazard["collision"], told.outcomes.hazard["collision"])
        assert torch.equal(foreseen.state, told.outcomes.state) and bool(foreseen.trust.isnan().all())


def test_trust_is_told_what_pictures_show_beside_what_is_held(world: CanvasWorldModel) -> None:
    state = world.start(*film_batch(2, 4, world.spec), seed=SEEDS[:2])
    seen = world.watch(state, actions_of(2, 1)[:, 0])
    at = shown_at(world.spec.state_names)
    shown, held, apart = seen.features[:, -NUM_SHOWN * len(at) :].chunk(NUM_SHOWN, dim=1)
    assert torch.equal(held, seen.state.state[:, at]) and torch.equal(apart, (shown - held).abs())
    read = world.read_off({c: torch.stack([state.before[c], state.last[c], x], dim=1) for c, x in seen.frames.items()})
    assert read is not None
    torch.testing.assert_close(shown, read[:, at], rtol=0, atol=0.05)


def test_those_told_are_guessed_of_when_nobody_tells_any_more(world: CanvasWorldModel) -> None:
    state = world.start(*film_batch(2, 4, SPEC), seed=SEEDS[:2])
    then = actions_of(2, 1)[:, 0]
    told = torch.tensor([[[3.0, 30.0, 0.0, 0.0, 9.0, 0.0, 9.0, 2.5, 16000.0]]]).expand(2, -1, -1)
    state = world.step(state, then, told)[0]
    torch.testing.assert_close(state.guesses[:, :1], told)
    assert state.guesses.shape == (2, 3, 9) and state.guesses[:, 1:].isnan().all()
    later = world.step(state, then)[0].guesses
    torch.testing.assert_close(later[:, 0, 1], torch.full((2,), 30.0 + 0.9 - 1.5), rtol=0, atol=1e-3)


def test_those_not_drawn_are_for_foresight_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(LOOKING, lookout=dataclasses.replace(LOOKING.lookout, drawn=False))
    world = lively_canvas(config, SPEC)
    assert world.lookout is not None and world.touch is not None and world.belief.guesses is None
    world.touch.learned.fill_(1.0)
    then, told = actions_of(2, 1)[:, 0], []
    for spotted in (seen(2), torch.full_like(seen(2), torch.nan)):
        monkeypatch.setattr(world.lookout, "spot", lambda frames, ego, spotted=spotted: spotted)
        told.append(world.step(world.start(*film_batch(2, 4, SPEC), seed=SEEDS[:2]), then)[1])
    car, nobody = told
    assert all(torch.equal(car.frames[c], nobody.frames[c]) for c in SPEC.cameras)
    assert not torch.equal(car.outcomes.hazard["collision"], nobody.outcomes.hazard["collision"])


def test_what_went_by_tells_how_fast_the_ego_goes(world: CanvasWorldModel) -> None:
    films, odometry = film_batch(2, 5, SPEC), world.odometry
    assert odometry is not None and odometry.out.bias is not None
    at, thought = world.canvas.motion_at, world.ego(world.start(*films, seed=SEEDS[:2]).state)
    world.heads.state_std.fill_(2.0)
    before = world.ego(world.start(*films, seed=SEEDS[:2]).state)
    odometry.out.bias[0] = 0.25  # every cell says so, in every round
    after = world.start(*films, seed=SEEDS[:2])
    torch.testing.assert_close(world.ego(after.state)[:, 0], before[:, 0] + 1.0)
    assert len(at) == 2 and float(thought[0, 0]) == pytest.approx(15.0, abs=0.1)
    frames, actions = films
    short = {c: f[:, :4] for c, f in frames.items()}, actions[:, :3]
    known = world.begun(short[0], encode_actions(short[1], SPEC.action))
    assert torch.equal(known[1], world.estimate(known[0])), "so few frames tell of no motion"


def test_consequences_speak_instead_of_the_belief_and_change_no_picture(world: CanvasWorldModel) -> None:
    assert world.consequences is not None and world.touch is not None
    state, then = world.start(*film_batch(2, 4, SPEC), seed=SEEDS[:2]), actions_of(2, 1)[:, 0]
    after, before = world.step(state, then)
    world.consequences.learned.fill_(1.0)
    now = world.step(state, then)[1]
    assert all(torch.equal(now.frames[c], before.frames[c]) for c in SPEC.cameras)
    assert torch.equal(now.outcomes.state, before.outcomes.state)
    read = world.consequences.read(after.held)
    torch.testing.assert_close(now.outcomes.hazard["collision"], read["collision"].sigmoid())
    assert not torch.equal(now.outcomes.hazard["collision"], before.outcomes.hazard["collision"])
    told = world.step(state, then, film_actors(2))[1]
    world.consequences.learned.fill_(0.0)
    assert torch.equal(told.outcomes.reward, world.step(state, then, film_actors(2))[1].outcomes.reward), (
        "told, it is silent"
    )


def test_a_canvas_without_mounts_looks_out_for_nobody() -> None:
    spec = dataclasses.replace(SPEC, mounts={})
    blind = lively_canvas(LOOKING, spec)
    assert blind.lookout is None and blind.belief.guesses is None
    assert blind.start(*film_batch(2, 4, spec), seed=SEEDS[:2]).guesses.shape == (2, 0, 9)


def test_training_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    """Stopped in the phases of odometry, the lookout, what goes on after it and touch, and amid films of the canvas."""
    store = write_store(tmp_path / "store", SPEC)
    config = dataclasses.replace(LEARNING, reckoning_windows=6, touch_windows=6)

    def made(name: str) -> bytes:
        return (tmp_path / name / "model/model.safetensors").read_bytes()

    train(config, data=store, out=tmp_path / "whole", report=lambda line: None)
    for steps in (2, 3, 3, 3, 3, 3, 3, 3, 4, 3):
        with pytest.raises(Interrupted):
            train(config, data=store, out=tmp_path / "parts", report=lambda line: None, stop_after=steps)
    train(config, data=store, out=tmp_path / "parts", report=lambda line: None)
    assert made("parts") == made("whole")
    world = load_world_model(tmp_path / "whole")
    assert isinstance(world, CanvasWorldModel) and world.config == LOOKING and world.lookout is not None
    assert world.touch is not None and [float(mind.learned) for mind in world.touch.minds] == [1.0, 1.0]
    first, other = (mind.out.bias for mind in world.touch.minds)
    assert not torch.equal(first, other), "no mind is another's copy"
    assert world.reckoning is not None and float(world.reckoning.learned) == 1.0
    assert world.consequences is not None and float(world.consequences.learned) == 1.0


def test_touch_learns_from_episodes_that_the_belief_never_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_store(tmp_path / "store", SPEC)
    rows: dict[str, int] = {}

    def note(phase: Any, run: Any, *, budget_s: float | None = None) -> float:
        rows[phase.name] = len(phase.cache.actions)
        return 0.0

    monkeypatch.setattr("simworld.curriculum.fit", note)
    monkeypatch.setattr("simworld.curriculum.FEW", 1)
    config = dataclasses.replace(LEARNING, aside=0.0, touch_aside=0.5)
    train(config, data=store, out=tmp_path / "both", report=lambda line: None)
    assert rows["belief"] == rows["lookout"] and rows["belief"] + rows["touch"] == rows["paint"]
    assert rows["tracks"] == rows["reckoning"] == rows["forecast"] == rows["touch"] == rows["consequences"]

    without = dataclasses.replace(config, belief=dataclasses.replace(SHORT, steps=0))
    train(without, data=store, out=tmp_path / "touch", report=lambda line: None)
    assert rows["touch"] == rows["paint"], "where the belief does not learn, every episode is new to it"


def test_half_of_what_goes_on_is_learned_from_drawn_actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, drawn = (write_store(tmp_path / name, SPEC) for name in ("store", "drawn"))
    config = dataclasses.replace(LEARNING, reckoning_windows=6, touch_windows=6, interventions=str(drawn))
    seen: dict[str, list[Path]] = {}

    def note(stage: Any, cache: FrameCache, rows: Any, weight: Any) -> Any:
        seen.setdefault(stage.name, []).extend([cache.path.parents[1]] * len(rows))
        return rolled(stage, cache, rows, weight)

    def calibrating(model: Any, caches: tuple[FrameCache, ...], **rest: Any) -> None:
        seen["hazards"] = [cache.path.parents[1] for cache in caches]

    rolled = importlib.import_module("simworld.phases.rolled")._rolled
    monkeypatch.setattr("simworld.phases.rolled._rolled", note)
    monkeypatch.setattr("simworld.phases.trust.calibrate_events", calibrating)
    train(config, data=store, out=tmp_path / "run", report=lambda line: None)
    assert seen["touch"] == seen["reckoning"] == 3 * [store] + 3 * [drawn]
    assert seen["hazards"] == [store, drawn]


def test_drawn_actions_of_another_env_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", SPEC)
    other = write_store(tmp_path / "other", dataclasses.replace(SPEC, state_names=SPEC.state_names[::-1]))
    config = dataclasses.replace(LEARNING, interventions=str(other))
    with pytest.raises(ValueError, match="has other state_names"):
        train(config, data=store, out=tmp_path / "run", report=lambda line: None)
