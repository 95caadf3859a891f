import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch._inductor.select_algorithm import ExternKernelCaller

from simworld.bench.speed import Stream
from simworld.canvas_world_model import CanvasWorldModel
from simworld.fused import _by_rows, _layout, can_fuse, fuse
from tests.tiny_world import CANVAS, SPEC, lively_canvas


@pytest.mark.skipif(not can_fuse(), reason="no C++ compiler")
def test_a_fused_model_draws_the_same_film():
    model = lively_canvas()
    stream = Stream(model, 2, 3)
    first, action = stream.state, stream.action
    state, plain = first, []
    for _ in range(3):
        state, prediction = model.step(state, action)
        plain.append(prediction)
    nobody = torch.full((2, 1, 9), torch.nan)
    told = model.step(first, action, nobody)[1]
    assert fuse(model) is model
    for _ in range(2):
        state = first
        for expected in plain:
            state, prediction = model.step(state, action)
            for camera, frames in expected.frames.items():
                off = (prediction.frames[camera].int() - frames.int()).abs()
                assert int(off.max()) <= 1
            torch.testing.assert_close(prediction.outcomes.reward, expected.outcomes.reward, atol=1e-4, rtol=1e-3)
    one = Stream(lively_canvas(), 1, 3)
    alone = model.step(one.state, one.action)[1]
    assert alone.outcomes.reward.shape == (1,), "another number of streams is another layout"
    torch.testing.assert_close(
        alone.outcomes.reward, one.model.step(one.state, one.action)[1].outcomes.reward, atol=1e-4, rtol=1e-3
    )
    other = lively_canvas()
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.3)
    expected = other.step(first, action)[1]
    found = fuse(other).step(first, action)[1]
    for camera, frames in expected.frames.items():
        assert int((found.frames[camera].int() - frames.int()).abs().max()) <= 1, "not the other model's weights"
        assert int((plain[0].frames[camera].int() - frames.int()).abs().max()) > 10
    again = model.step(first, action, nobody)[1]
    assert all(bool((again.frames[c] == f).all()) for c, f in told.frames.items())


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"C\+\+ compiler"):
        fuse(CanvasWorldModel(CANVAS, SPEC))


def test_a_layout_is_all_that_a_compiled_step_relies_on():
    stream = Stream(lively_canvas(), 2, 3)
    state, action = stream.state, stream.action
    here = _layout(state, action)
    assert here == _layout(replace(state, belief=state.belief + 1), action + 1), "values may change"
    assert here == _layout(state.reseed(state.seed + 1), action)
    transposed = replace(state, belief=state.belief.t().contiguous().t())
    others = [replace(state, seed=state.step), replace(state, seen={}), transposed, stream.model.step(state, action)[1]]
    for other in (*others, replace(state, state=state.state.double()), replace(state, crossed=None)):
        assert _layout(other, action) != here


class InPieces(torch.nn.Module):
    """A step that no compiler takes as a whole."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3), requires_grad=False)

    def step(self, state, action):
        state = state + action
        torch._dynamo.graph_break()
        return state * self.weight * 2, None


@pytest.mark.skipif(not can_fuse(), reason="no C++ compiler")
def test_a_step_in_pieces_serves_every_number_of_streams():
    model = fuse(InPieces())
    for streams in (1, 4, 1, 4):
        given = torch.arange(3.0 * streams).view(streams, 3)
        assert torch.equal(model.step(given, torch.ones(streams, 3))[0], 2 * given + 2)


def test_products_of_few_rows_are_written_out():
    library, loops = object.__new__(ExternKernelCaller), SimpleNamespace()
    library.layout = loops.layout = SimpleNamespace(size=[2, 8, 64])
    assert _by_rows([library, loops]) == _by_rows([loops, library]) == [loops]
    library.layout.size = [3, 8, 64]
    assert _by_rows([library, loops]) == _by_rows([loops, library]) == [library]
    assert _by_rows([library]) == [library]
    assert _by_rows([]) == []
