"""Places: pairs of states in m that say where something is."""

from __future__ import annotations

import torch

from simworld.model.places import Places

NAMES = ("tip_x", "tip_y", "tip_vx", "tip_vy", "goal_x", "goal_y", "lean_x", "lean_y", "mass")
UNITS = ("m", "m", "m/s", "m/s", "m", "m", "rad", "rad", "kg")


def test_pairs_of_metres_are_places() -> None:
    places = Places(NAMES, UNITS)
    assert len(places) == 2 and places.at == [0, 1, 2, 3, 4, 5]
    state = torch.arange(18.0).view(2, 9)
    torch.testing.assert_close(places.of(state)[0], torch.tensor([[0.0, 1, 2, 3], [4, 5, 0, 0]]))
    assert places.of(state.expand(3, 2, 9)).shape == (3, 2, 2, 4)


def test_states_without_any_have_no_places() -> None:
    nowhere = Places(("speed_mps", "lateral_m", "only_x"), ("m/s", "m", "m"))
    assert len(nowhere) == 0 and nowhere.at == [] and nowhere.of(torch.zeros(2, 3)).shape == (2, 0, 4)
