"""Outcome heads: losses whose minimum is known, censoring, and probabilities that say what they mean."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from simworld.chance import happens
from simworld.data.windows import NEVER
from simworld.episode import ActionSpec, EpisodeSpec, OutcomeSpec
from simworld.model.outcomes import (
    QUANTILES,
    HeadsConfig,
    OutcomeHeads,
    OutcomePrediction,
    OutcomeTargets,
    ascending,
)

HORIZON = 4
SPECS = (
    OutcomeSpec("collision", "event"),
    OutcomeSpec("impulse", "scalar", given="collision", scale=100.0),
    OutcomeSpec("side", "category", categories=("front", "left", "right"), given="collision"),
    OutcomeSpec("speed", "scalar"),
)


@pytest.fixture
def heads() -> OutcomeHeads:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return OutcomeHeads(HeadsConfig(horizon=HORIZON, width=16), SPECS, features=8)


def targets_of(steps_to_event: Tensor, steps_left: Tensor, **values: Tensor) -> OutcomeTargets:
    like = torch.zeros(steps_to_event.shape)
    nan = torch.full_like(like, torch.nan)
    return OutcomeTargets(
        reward=like,
        terminated=like > 0,
        outcomes={s.name: values.get(s.name, nan) for s in SPECS},
        steps_to_event={"collision": steps_to_event},
        steps_left=steps_left,
        value_at_event={name: values.get(name, nan) for name in ("impulse", "side")},
        state=values.get("state", like.new_zeros(*like.shape, 0)),
    )


def minimise(loss: object, raw: Tensor, steps: int = 400) -> Tensor:
    """The raw output at which a loss is least."""
    raw = raw.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(raw).backward()  # type: ignore[operator]
        optimizer.step()
    return raw.detach()


def test_hazard_loss_is_least_at_the_true_hazards(heads: OutcomeHeads) -> None:
    """Of ten streams three crash now, two at the next step, one at the one after; one is censored after one step."""
    to_event = torch.tensor([[0], [0], [0], [1], [1], [2], [NEVER], [NEVER], [NEVER], [NEVER]])
    left = torch.tensor([[0], [0], [0], [1], [1], [2], [0], [9], [9], [9]])
    raw = minimise(lambda x: heads._hazard_loss(x.expand(10, 1, HORIZON), to_event, left), torch.zeros(HORIZON))
    known = [3 / 10, 2 / 6, 1 / 4]  # at risk: 10, then 7 - 1 censored, then 4
    torch.testing.assert_close(raw.sigmoid()[:3], torch.tensor(known), atol=0.01, rtol=0)
    assert raw.sigmoid()[3] < 0.02


def test_what_lies_beyond_the_event_or_the_record_does_not_count(heads: OutcomeHeads) -> None:
    raw = torch.zeros(1, 2, HORIZON, requires_grad=True)
    heads._hazard_loss(raw, torch.tensor([[1, NEVER]]), torch.tensor([[9, 0]])).backward()
    assert raw.grad is not None
    assert (raw.grad[0, 0] != 0).tolist() == [True, True, False, False]
    assert (raw.grad[0, 1] != 0).tolist() == [True, False, False, False]


def test_hazard_loss_by_hand(heads: OutcomeHeads) -> None:
    raw = torch.tensor([[[0.3, -1.0, 0.7, 2.0]]])
    h = raw[0, 0].sigmoid()
    event_at_2 = -((1 - h[0]).log() + (1 - h[1]).log() + h[2].log())
    torch.testing.assert_close(heads._hazard_loss(raw, torch.tensor([[2]]), torch.tensor([[5]])), event_at_2)


def test_p_within_is_one_minus_survival() -> None:
    hazard = torch.tensor([[0.1, 0.5, 0.0, 1.0]])
    nothing = torch.zeros(1)
    prediction = OutcomePrediction(nothing, nothing, {"collision": hazard}, {}, {}, nothing, nothing)
    for steps, want in ((1, 0.1), (2, 0.55), (3, 0.55), (4, 1.0), (99, 1.0)):
        assert float(prediction.p_within("collision", steps)) == pytest.approx(want)


def test_quantile_loss_is_least_at_the_quantiles(heads: OutcomeHeads) -> None:
    values = torch.linspace(0, 1, 501)[:, None]
    raw = minimise(
        lambda x: heads._quantile_loss(x.expand(501, 1, -1), values), torch.full((len(QUANTILES),), 0.5), 800
    )
    torch.testing.assert_close(raw, torch.tensor(QUANTILES), atol=0.03, rtol=0)


def test_unknown_values_have_no_gradient(heads: OutcomeHeads) -> None:
    value = torch.tensor([[torch.nan, 1.0]])
    for loss, size in ((heads._quantile_loss, len(QUANTILES)), (heads._category_loss, 3)):
        raw = torch.zeros(1, 2, size, requires_grad=True)
        loss(raw, value).backward()
        assert raw.grad is not None and torch.isfinite(raw.grad).all()
        assert (raw.grad[0, 0] == 0).all() and (raw.grad[0, 1] != 0).any()


def test_category_loss_is_the_cross_entropy(heads: OutcomeHeads) -> None:
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    value = torch.tensor([[0.0, 1.0, 2.0], [2.0, 2.0, 0.0]])
    want = F.cross_entropy(logits.reshape(-1, 3), value.long().flatten())
    torch.testing.assert_close(heads._category_loss(logits, value), want)


def test_values_given_an_event_are_learned_within_the_horizon_only(heads: OutcomeHeads) -> None:
    to_event = torch.tensor([[0, HORIZON - 1, HORIZON, NEVER]])
    targets = targets_of(to_event, torch.full((1, 4), 9), impulse=torch.full((1, 4), 50.0))
    known = torch.isfinite(heads._value(SPECS[1], targets))
    assert known.tolist() == [[True, True, False, False]]


def test_hazards_of_the_next_steps_alone_may_be_told(heads: OutcomeHeads) -> None:
    targets = targets_of(torch.tensor([[0, 1]]), torch.tensor([[9, 9]]))
    now = heads.outcome_losses({"collision": torch.zeros(1, 2, 1)}, targets)
    assert now.keys() == {"collision"} and float(now["collision"]) == pytest.approx(0.6931, abs=1e-3)


def test_loss_names_every_outcome_and_is_finite(heads: OutcomeHeads) -> None:
    targets = targets_of(torch.full((2, 3), NEVER), torch.zeros(2, 3, dtype=torch.int64))
    losses = heads.loss(torch.randn(2, 3, 8), targets)
    assert set(losses) == {"reward", "terminated", *(s.name for s in SPECS)}
    assert all(torch.isfinite(x) for x in losses.values())


def test_steps_beyond_the_record_cost_nothing() -> None:
    heads = OutcomeHeads(HeadsConfig(horizon=HORIZON, width=16), SPECS, features=8, state_names=("place", "pace"))
    beyond = torch.full((2, 3), -1)
    targets = targets_of(
        torch.zeros(2, 3, dtype=torch.int64), beyond, impulse=torch.ones(2, 3), state=torch.ones(2, 3, 2)
    )
    assert all(float(x.detach()) == 0 for x in heads.loss(torch.randn(2, 3, 8), targets).values())


def test_prediction_is_ordered_scaled_and_normalised(heads: OutcomeHeads) -> None:
    heads.reward_mean.fill_(3.0)
    out = heads(50 * torch.randn(5, 8, generator=torch.Generator().manual_seed(1)))
    assert (out.scalars["impulse"].diff(dim=-1) >= 0).all() and out.scalars["impulse"].shape == (5, len(QUANTILES))
    torch.testing.assert_close(out.categories["side"].sum(-1), torch.ones(5))
    assert ((out.trust >= 0) & (out.trust <= 1)).all()
    assert (out.hazard["collision"] < 0.02).all(), "events start rare"
    assert (out.reward - 3).abs().max() < 1.5


def test_ascending_is_what_sorting_gives() -> None:
    for size in (1, 2, 5, 6):
        told = torch.randint(0, 4, (50, size)).float()
        assert torch.equal(ascending(told), told.sort(dim=-1).values)


def test_trust_is_the_rank_of_the_expected_error(heads: OutcomeHeads) -> None:
    features = torch.randn(2000, 8, generator=torch.Generator().manual_seed(1))
    heads.calibrate_trust(features)
    trust, expected = heads(features).trust, heads.expected_error(features)
    rank = expected.argsort().argsort() / 2000
    torch.testing.assert_close(trust, 1 - rank, atol=0.02, rtol=0)


def chances(hazard: float, p_terminated: float, p_ends: float, heads: OutcomeHeads, n: int = 20_000):  # type: ignore[no-untyped-def]
    spec = EpisodeSpec("toy", {}, ActionSpec("discrete", n=2), SPECS)
    heads.p_ends_given_event.fill_(p_ends)
    prediction = OutcomePrediction(
        reward=torch.zeros(n),
        p_terminated=torch.full((n,), p_terminated),
        hazard={"collision": torch.full((n, HORIZON), hazard)},
        scalars={s: torch.arange(7.0).expand(n, 7) for s in ("impulse", "speed")},
        categories={"side": torch.tensor([0.1, 0.2, 0.7]).expand(n, 3)},
        trust=torch.ones(n),
        state=torch.zeros(n, 0),
    )
    return happens(prediction, spec, heads, torch.arange(n), torch.full((n,), 3))


def test_events_happen_as_often_as_they_should(heads: OutcomeHeads) -> None:
    drawn = chances(0.2, 0.3, 0.5, heads)
    fired = drawn.outcomes["collision"] > 0
    assert abs(float(fired.float().mean()) - 0.2) < 0.012
    assert abs(float(drawn.terminated.float().mean()) - 0.3) < 0.015
    # after an event: its own half, and of the other half what is left of p_terminated
    p_other = 1 - 0.7 / 0.9
    assert abs(float(drawn.terminated[fired].float().mean()) - (1 - 0.5 * (1 - p_other))) < 0.03
    assert abs(float(drawn.terminated[~fired].float().mean()) - p_other) < 0.015
    again = chances(0.2, 0.3, 0.5, heads)
    assert torch.equal(again.terminated, drawn.terminated)


def test_an_event_that_always_ends_the_episode_ends_it(heads: OutcomeHeads) -> None:
    drawn = chances(0.3, 0.3, 1.0, heads, 2000)
    assert torch.equal(drawn.terminated, drawn.outcomes["collision"] > 0)
    assert not chances(0.3, 0.0, 0.0, heads, 2000).terminated.any()


def test_what_does_not_apply_is_nan(heads: OutcomeHeads) -> None:
    outcomes = chances(0.2, 0.3, 0.5, heads, 500).outcomes
    assert list(outcomes) == [s.name for s in SPECS]
    fired = outcomes["collision"] > 0
    for name, value in (("impulse", 3.0), ("side", 2.0)):
        assert (outcomes[name][fired] == value).all() and outcomes[name][~fired].isnan().all()
    assert (outcomes["speed"] == 3.0).all()


def test_state_is_learned_standardised_and_told_in_its_unit() -> None:
    heads = OutcomeHeads(HeadsConfig(horizon=HORIZON, width=16), SPECS, features=8, state_names=("place", "pace"))
    heads.state_mean.copy_(torch.tensor([10.0, -1.0]))
    heads.state_std.copy_(torch.tensor([5.0, 0.1]))
    features = torch.randn(1, 3, 8)
    told = heads(features).state
    assert told.shape == (1, 3, 2)
    never, left = torch.full((1, 3), NEVER), torch.zeros(1, 3, dtype=torch.int64)
    losses = heads.loss(features, targets_of(never, left, state=told.detach()))
    assert float(losses["state"].detach()) < 1e-10


def test_the_expected_error_alone_learns_from_it_and_reads_what_is_noted() -> None:
    heads = OutcomeHeads(
        HeadsConfig(horizon=HORIZON, width=16), SPECS, features=8, noted=4, marks=2, state_names=("place", "pace")
    )
    features = torch.randn(1, 3, 14)
    heads.doubt_loss(features, torch.zeros(1, 3)).backward()
    assert {n.split(".")[0] for n, p in heads.named_parameters() if p.grad is not None} == {"doubt"}
    noted = torch.cat([features[..., :8], torch.randn(1, 3, 4), features[..., 12:]], dim=-1)
    marked = torch.cat([features[..., :12], torch.randn(1, 3, 2)], dim=-1)
    for other in (noted, marked):
        assert not torch.equal(heads.expected_error(features), heads.expected_error(other))
        assert torch.equal(heads(features).reward, heads(other).reward)


def test_weights_that_knew_of_fewer_marks_make_nothing_of_the_others() -> None:
    config = HeadsConfig(horizon=HORIZON, width=16)
    old, new = (OutcomeHeads(config, SPECS, features=8, noted=4, marks=marks) for marks in (1, 3))
    new.load_state_dict(old.state_dict())
    features = torch.randn(2, 15)
    torch.testing.assert_close(new.expected_error(features), old.expected_error(features[:, :13]))


def test_what_a_frame_shows_is_judged_by_what_a_driver_looks_for() -> None:
    config = HeadsConfig(horizon=HORIZON, width=16)
    heads = OutcomeHeads(config, SPECS, features=8, state_names=("speed_mps", "num_lanes", "gap_m"))
    heads.state_std.copy_(torch.tensor([5.0, 1.0, 10.0]))
    state = torch.tensor([[10.0, 2.0, 30.0], [10.0, 2.0, torch.nan]])
    read = torch.tensor([[3.0, 9.0, 3.5], [3.0, 9.0, 3.5]])
    torch.testing.assert_close(heads.shown_error(read, state), torch.tensor([0.75, 1.0]))
    strange = OutcomeHeads(config, SPECS, features=8, state_names=("place", "pace"))
    torch.testing.assert_close(strange.shown_error(torch.tensor([1.0, 2.0]), torch.zeros(2)), torch.tensor(1.5))


def test_without_state_there_is_no_head_for_it(heads: OutcomeHeads) -> None:
    assert heads(torch.randn(2, 8)).state.shape == (2, 0)
    quiet = OutcomeHeads(
        HeadsConfig(horizon=HORIZON, width=16, state=False), SPECS, features=8, state_names=("place", "pace")
    )
    assert quiet(torch.randn(2, 8)).state.shape == (2, 0)


def test_an_outcome_may_not_take_the_name_of_a_head() -> None:
    with pytest.raises(ValueError, match="'state'"):
        OutcomeHeads(HeadsConfig(), (OutcomeSpec("state", "event"),), features=8)
