"""compare(): a perfect model has no error, and known differences are found."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from simworld.episode import Episode
from simworld.metrics.compare import after_prefix, compare, happened, succeeded


def episode(policy, seed, *, crash_at=None, steps=6, action=0.0, prefix=0, grey=100, reward=1.0, extra=None):
    t = (steps if crash_at is None else crash_at) + prefix
    crashed = np.zeros(t, bool)
    crashed[-1] = crash_at is not None
    frames = np.full((t + 1, 8, 8, 3), grey, np.uint8)
    return Episode(
        frames={"front": frames},
        actions=np.full((t, 1), action, np.float32),
        reward=np.full(t, reward, np.float32),
        terminated=crashed,
        outcomes={"collision": crashed.astype(np.float32), "impulse": np.where(crashed, 900, np.nan), **(extra or {})},
        state=np.zeros((t + 1, 0), np.float32),
        actors=np.zeros((t + 1, 0, 9), np.float32),
        provenance={"policy": policy, "seed": seed, "prefix_steps": prefix},
    )


def world(rates, *, num=10, **kwargs):
    """Policies p0, p1, ... that crash in the given number of `num` starts."""
    return [
        episode(f"p{i}", s, crash_at=3 if s < crashes else None, **kwargs)
        for i, crashes in enumerate(rates)
        for s in range(num)
    ]


def test_a_perfect_model_has_no_error():
    real = world([0, 2, 5, 9])
    result = compare(real, world([0, 2, 5, 9]))
    assert [p.policy for p in result.policies] == ["p0", "p1", "p2", "p3"]
    assert set(result.agreement) == {"success", "collision", "return"}
    for agreement in result.agreement.values():
        assert agreement.pearson.value == pytest.approx(1.0)
        assert agreement.spearman.value == pytest.approx(1.0)
        assert agreement.mmrv.value == 0.0
        assert (agreement.bias.value, agreement.bias.low, agreement.bias.high) == (0.0, 0.0, 0.0)
    for policy in result.policies:
        assert policy.rates["collision"].bias.value == 0.0
        assert policy.rates["collision"].same_outcome.value == 1.0
        assert policy.real_return == policy.imagined_return
    assert result.psnr.psnr_db == pytest.approx([58.92] * 6, abs=0.01)
    assert result.psnr.num_pairs == (40, 40, 40, 24, 24, 24)


def test_rates_bias_and_order_are_found():
    result = compare(world([0, 2, 5, 9]), world([1, 3, 6, 10]))
    p1 = result.policies[1]
    assert (p1.rates["collision"].real.value, p1.rates["collision"].imagined.value) == (0.2, 0.3)
    assert p1.rates["success"].real.value == 0.8
    assert p1.rates["success"].same_outcome.value == 0.9
    assert result.agreement["collision"].bias.value == pytest.approx(0.1)
    assert result.agreement["success"].bias.value == pytest.approx(-0.1)
    assert result.agreement["collision"].spearman.value == pytest.approx(1.0)


def test_limits_are_said_plainly():
    limits = " ".join(compare(world([0, 3]), world([0, 3])).limits)
    assert "Only 2 policies" in limits and "as few as 10 episodes" in limits and "at least 3 policies" in limits
    enough = [i for i in range(12)]
    assert compare(world(enough, num=100), world(enough, num=100)).limits == ()


def test_an_event_named_success_decides():
    t = np.zeros(6, np.float32)
    reached = episode("p", 0, extra={"success": np.array([0, 0, 1, 0, 0, 0], np.float32)})
    assert succeeded(reached)
    assert not succeeded(episode("p", 0, extra={"success": t}))
    assert not succeeded(episode("p", 0, crash_at=2)) and happened(episode("p", 0, crash_at=2), "collision")
    result = compare([reached], [reached])
    assert set(result.policies[0].rates) == {"success", "collision"}


def test_forced_steps_do_not_count():
    forced = episode("p", 0, prefix=3)
    assert after_prefix(forced).num_steps == 6
    result = compare([forced], [episode("p", 0)])
    assert result.policies[0].real_return.value == result.policies[0].imagined_return.value == 6.0
    assert len(result.psnr.psnr_db) == 6
    early = replace(forced, outcomes={"collision": np.array([1, 0, 0, 0, 0, 0, 0, 0, 0], np.float32)})
    assert compare([early], [early]).policies[0].rates["collision"].real.value == 0.0


def test_psnr_stops_where_the_actions_part():
    other = episode("p", 0, grey=110)
    other.actions[4:] = 1.0
    result = compare([episode("p", 0)], [other])
    assert result.psnr.psnr_db == pytest.approx([10 * np.log10(255**2 / 100)] * 4)
    frameless = replace(other, frames={})
    assert compare([episode("p", 0)], [frameless]).psnr.psnr_db == ()


def test_the_result_is_strict_json():
    text = json.dumps(asdict(compare(world([0, 0, 0]), world([1, 2, 3]))), allow_nan=False)
    assert [each["policy"] for each in json.loads(text)["policies"]] == ["p0", "p1", "p2"]


def test_bad_lists_are_refused():
    with pytest.raises(ValueError, match="both worlds"):
        compare([episode("a", 0)], [episode("b", 0)])
    with pytest.raises(ValueError, match="two episodes of seed 0"):
        compare([episode("a", 0), episode("a", 0)], [episode("a", 0)])
    one_sided = compare([episode("a", 0), episode("b", 0)], [episode("a", 0)])
    assert any("left out: b" in limit for limit in one_sided.limits)
