"""What a model takes over from a checkpoint that looked through other cameras."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from simworld.checkpoint import load_world_model, save_world_model
from simworld.inherit import inherit, look_as

from .test_canvas import driven_spec
from .test_guessing import LOOKING
from .tiny_world import CANVAS, SPEC, film_batch, lively_canvas

CAMERA, SIZE = next(iter(SPEC.cameras.items()))
MORE = dataclasses.replace(SPEC, cameras={**SPEC.cameras, "roof": SIZE})


def test_a_new_camera_s_eye_sees_as_the_first_one_s_and_says_nothing_yet(tmp_path: Path) -> None:
    more = lively_canvas(spec=MORE, seed=1)
    save_world_model(lively_canvas(), tmp_path)
    told: list[str] = []
    inherit(more, str(tmp_path), told.append)
    frames, _ = film_batch(2, 3)
    every = frames | {"roof": torch.zeros_like(frames[CAMERA])}
    seen = load_world_model(tmp_path).belief.see_all(frames)  # weights are kept in half precision
    torch.testing.assert_close(more.belief.see_all(every), seen)
    lender, eye = (more.belief.eyes[c].state_dict() for c in (CAMERA, "roof"))
    assert all(torch.equal(eye[name], x) for name, x in lender.items() if not name.startswith("out."))
    [line] = told
    assert "canvas.painter" in line and "belief" not in line and "heads" not in line


def test_other_actions_are_refused(tmp_path: Path) -> None:
    save_world_model(lively_canvas(), tmp_path)
    other = dataclasses.replace(SPEC, outcomes=SPEC.outcomes[::-1])
    with pytest.raises(ValueError, match="other actions or outcomes"):
        inherit(lively_canvas(CANVAS, other), str(tmp_path), print)


def test_a_lookout_is_taken_over_with_what_goes_on_from_it(tmp_path: Path) -> None:
    spec = driven_spec()
    whole = lively_canvas(LOOKING, spec, seed=1)
    save_world_model(whole, tmp_path)
    model = lively_canvas(LOOKING, spec)
    told: list[str] = []
    before = {name: x.clone() for name, x in model.state_dict().items()}
    look_as(model, str(tmp_path), told.append)
    saved = load_world_model(tmp_path).state_dict()
    for name, x in model.state_dict().items():
        of_lookout = name.partition(".")[0] in ("lookout", "forecast", "touch")
        assert torch.equal(x, saved[name] if of_lookout else before[name]), name
    assert told == [f"from {tmp_path}: forecast, lookout, touch"]


def test_who_has_no_lookout_lends_none(tmp_path: Path) -> None:
    save_world_model(lively_canvas(), tmp_path)
    with pytest.raises(ValueError, match="no lookout"):
        look_as(lively_canvas(LOOKING, driven_spec()), str(tmp_path), print)
