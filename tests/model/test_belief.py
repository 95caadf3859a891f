"""The belief: rolling on is what following does, actions and actors tell, copies stand in before the first frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simworld.model.belief import Belief, BeliefConfig

CONFIG = BeliefConfig(size=6, ago=(3, 1, 0), width=4, told_width=5)


@pytest.fixture
def belief() -> Belief:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Belief(CONFIG, cameras=("front", "rear"), action_size=2, actors=True).requires_grad_(False)


def film(b: int, t: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    return {
        c: torch.randint(0, 256, (b, t, *hw, 3), dtype=torch.uint8, generator=g)
        for c, hw in (("front", (16, 24)), ("rear", (8, 16)))
    }


def actor_rows(b: int, t: int) -> Tensor:
    rows = torch.rand(b, t, 3, 9, generator=torch.Generator().manual_seed(2)) + 1
    rows[:, :, 2] = torch.nan
    return rows


def test_it_sees_the_frames_so_many_steps_ago(belief: Belief) -> None:
    frames = film(2, 5)
    seen = belief.see_all(frames)
    assert seen.shape == (2, 5, 6) and float(seen.abs().max()) <= 1
    late = belief.see({c: f[:, [1, 3, 4]] for c, f in frames.items()})
    first = belief.see({c: f[:, [0, 0, 0]] for c, f in frames.items()})
    torch.testing.assert_close(seen[:, 4], late)
    torch.testing.assert_close(seen[:, 0], first)


def test_following_is_rolling_on_from_the_last_real_frame(belief: Belief) -> None:
    seen, actions, actors = belief.see_all(film(2, 4)), torch.randn(2, 5, 2), actor_rows(2, 5)
    out = belief.follow(seen, actions, actors, torch.tensor([1, 3]))
    for stream, num_seen in enumerate((1, 3)):
        now = seen[stream : stream + 1, 0]
        for t in range(5):
            now = seen[stream : stream + 1, t] if t < num_seen else now
            now = belief.roll(now, actions[stream : stream + 1, t], actors[stream : stream + 1, t])
            torch.testing.assert_close(out[stream : stream + 1, t], now)


def test_actions_and_actors_tell(belief: Belief) -> None:
    now, action, actors = belief.see_all(film(1, 1))[:, 0], torch.zeros(1, 2), actor_rows(1, 1)[:, 0]
    alone = belief.roll(now, action)
    assert not torch.equal(alone, belief.roll(now, action + 1))
    assert not torch.equal(alone, belief.roll(now, action, actors))
    # the order of the actors does not matter, nor does who is absent
    torch.testing.assert_close(belief.roll(now, action, actors), belief.roll(now, action, actors.flip(1)))
    torch.testing.assert_close(belief.roll(now, action, actors), belief.roll(now, action, actors[:, :2]))
    torch.testing.assert_close(alone, belief.roll(now, action, torch.full_like(actors, torch.nan)))


def test_gradients_are_finite_where_nobody_is_there() -> None:
    belief = Belief(CONFIG, cameras=("front",), action_size=2, actors=True)
    actors = torch.full((2, 3, 4, 9), torch.nan)
    actors[0, 1] = 1.0
    belief.follow(torch.zeros(2, 1, 6), torch.zeros(2, 3, 2), actors).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in belief.parameters() if p.grad is not None)


@pytest.mark.parametrize("ago", [(), (2, 1), (0, 1), (1, 1, 0)])
def test_frames_out_of_order_are_refused(ago: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="oldest first"):
        BeliefConfig(ago=ago)
