"""A canvas in a room: cameras stand still, what is seen is touched by what the action moves."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from simworld.canvas_world_model import CanvasWorldModel
from simworld.checkpoint import load_world_model
from simworld.model.overview import Overview
from simworld.train import train

from .test_guessing import LEARNING, LOOKING
from .test_world_model import SEEDS, actions_of
from .tiny_world import SPEC, film_batch, lively_canvas, write_store

STATES = ("tip_x", "tip_y", "tip_vx", "tip_vy", "load")
ROOM = dataclasses.replace(SPEC, state_names=STATES, state_units=("m", "m", "m/s", "m/s", "kg"))
GLASS = [8.0, 0.3, 0.0, 0.0, 0.0, 0.0, 0.06, 0.06, 0.2]


def in_a_room() -> CanvasWorldModel:
    world = lively_canvas(LOOKING, ROOM)
    assert isinstance(world.lookout, Overview) and world.touch is not None and world.belief.guesses is None
    world.heads.state_mean.copy_(torch.tensor([0.1, 0.2, 0.0, 0.0, 1.0]))
    world.heads.state_std.fill_(1e-3)
    return world


def test_its_places_stand_for_the_ego() -> None:
    world = in_a_room()
    places = world.ego(torch.zeros(2, 5))
    torch.testing.assert_close(places, torch.tensor([[0.1, 0.2, 0.0, 0.0]]).expand(2, -1))
    assert world.forecast is None and not world.draws_guesses


def test_who_is_seen_stays_and_is_for_foresight_alone() -> None:
    world, then = in_a_room(), actions_of(2, 1)[:, 0]
    assert world.lookout is not None and world.touch is not None
    world.touch.learned.fill_(1.0)
    films = []
    for row in (GLASS, [torch.nan] * 9):
        spotted = torch.tensor([row, [torch.nan] * 9, [torch.nan] * 9]).expand(2, -1, -1)
        world.lookout.spot = lambda frames, ego, spotted=spotted: spotted  # type: ignore[method-assign, misc]
        state, told = world.step(world.start(*film_batch(2, 4, ROOM), seed=SEEDS[:2]), then)
        assert torch.equal(state.guesses.nan_to_num(), spotted.nan_to_num())
        films.append(told)
    glass, nothing = films
    assert all(torch.equal(glass.frames[c], nothing.frames[c]) for c in ROOM.cameras)
    assert not torch.equal(glass.outcomes.hazard["collision"], nothing.outcomes.hazard["collision"])


def test_it_learns_from_a_store_and_loads_again(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", ROOM)
    config = dataclasses.replace(LEARNING, reckoning_windows=6, touch_windows=6)
    folder = train(config, data=store, out=tmp_path / "run", report=lambda line: None)
    phases = {p.stem for p in (tmp_path / "run").glob("*.safetensors")}
    assert {"lookout", "belief", "reckoning", "touch"} <= phases and not {"tracks", "closeups", "forecast"} & phases
    world = load_world_model(folder)
    assert isinstance(world, CanvasWorldModel) and isinstance(world.lookout, Overview) and world.touch is not None
    assert float(world.touch.learned) == 1.0 and float(world.lookout.high[0]) > float(world.lookout.low[0])
    _, told = world.step(world.start(*film_batch(2, 4, ROOM), seed=SEEDS[:2]), actions_of(2, 1)[:, 0])
    assert torch.isfinite(told.outcomes.hazard["collision"]).all()
