"""Known answers for rates, correlations, MMRV and bias."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from simworld.metrics.statistics import (
    Estimate,
    mean_estimate,
    mmrv,
    pearson,
    rate_difference,
    signed_bias,
    spearman,
    wilson,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    "events, trials, low, high",
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_known_intervals(events, trials, low, high):
    # 81 of 263 is the worked example of Newcombe 1998, table I.
    rate = wilson(events, trials)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)
    assert rate.value == events / trials


def test_wilson_agrees_with_scipy():
    ours, theirs = wilson(7, 31), stats.binomtest(7, 31).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_wilson_without_trials_and_with_nonsense():
    assert wilson(0, 0).value is None
    with pytest.raises(ValueError, match="num_events"):
        wilson(3, 2)


def test_rate_difference_newcombe_example():
    # Newcombe 1998b, table II (a): 56/70 - 48/80 gives 0.0524 to 0.3339.
    estimate = rate_difference(real=wilson(48, 80), imagined=wilson(56, 70))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)


def test_pearson_and_fisher_interval():
    x, y = np.arange(10.0), np.array([0, 2, 1, 3, 5, 4, 6, 8, 7, 9.0])
    result = pearson(x, y, rng=rng())
    theirs = stats.pearsonr(x, y)
    low, high = theirs.confidence_interval()
    assert result.value == pytest.approx(theirs.statistic)
    assert (result.fisher_z.low, result.fisher_z.high) == pytest.approx((low, high))
    assert result.bootstrap.low < result.value < result.bootstrap.high
    drops = [stats.pearsonr(np.delete(x, i), np.delete(y, i)).statistic for i in range(10)]
    assert (result.drop_one.low, result.drop_one.high) == pytest.approx((min(drops), max(drops)))


def test_spearman_with_ties():
    x, y = np.array([1, 2, 2, 3, 4.0]), np.array([5, 6, 7, 8, 7.0])
    assert spearman(x, y, rng=rng()).value == pytest.approx(stats.spearmanr(x, y).statistic)


def test_bootstrap_is_a_function_of_the_rng():
    x, y = np.arange(6.0), np.array([0, 1, 0, 3, 5, 2.0])
    assert pearson(x, y, rng=rng()) == pearson(x, y, rng=rng())


def test_perfect_agreement():
    x = np.array([0.1, 0.4, 0.7, 0.9])
    assert pearson(x, x, rng=rng()).value == 1.0
    assert mmrv(x, x, rng=rng()).value == 0.0


def test_mmrv_is_weighted_by_the_real_gap():
    # Policies a and b swap order; the real gap is 0.2, the imagined gap 0.5: two of three pay 0.2.
    assert mmrv([0.3, 0.5, 0.9], [0.6, 0.1, 0.9], rng=rng()).value == pytest.approx(0.4 / 3)
    # A tie where the real side has an order: only the really better policy is violated.
    assert mmrv([0.2, 0.4, 0.9], [0.5, 0.5, 0.9], rng=rng()).value == pytest.approx(0.2 / 3)
    # A tie on the real side costs nothing, whatever the imagined side says.
    assert mmrv([0.5, 0.5, 0.9], [0.1, 0.3, 0.9], rng=rng()).value == 0.0


@pytest.mark.parametrize("statistic", [pearson, spearman, mmrv])
def test_too_few_policies_give_a_reason(statistic):
    result = statistic([0.1, 0.2], [0.1, 0.2], rng=rng())
    assert result.value is None and "at least 3 policies" in result.reason
    json.dumps(asdict(result), allow_nan=False)


def test_zero_variance_gives_a_reason():
    result = pearson([0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4], rng=rng())
    assert result.value is None and "same in the real world" in result.reason
    assert "imagined" in pearson([0.1, 0.2, 0.3], [1, 1, 1], rng=rng()).reason
    json.dumps(asdict(result), allow_nan=False)


def test_three_policies_have_no_fisher_interval():
    result = pearson([0.1, 0.5, 0.8], [0.2, 0.4, 0.9], rng=rng())
    assert result.fisher_z is None and result.value is not None and "too few" in result.reason


def test_signed_bias_recovers_a_known_bias():
    generator = rng()
    real = (generator.random((8, 200)) < 0.5).astype(float)
    imagined = (generator.random((8, 200)) < 0.6).astype(float)
    estimate = signed_bias(real, imagined, rng=rng())
    assert estimate.value == pytest.approx(imagined.mean() - real.mean())
    assert 0 < estimate.low < 0.1 < estimate.high < 0.2


def test_signed_bias_of_equal_tables_is_zero_and_skips_missing_runs():
    table = np.array([[0.0, 1.0, np.nan], [1.0, 1.0, 0.0]])
    assert signed_bias(table, table, rng=rng()) == Estimate(0.0, 0.0, 0.0)
    nothing = np.full((2, 3), np.nan)
    assert signed_bias(nothing, table, rng=rng()).value is None


def test_mean_estimate():
    assert mean_estimate([]).value is None
    assert mean_estimate([2.0]).low is None
    estimate = mean_estimate([1.0, 2.0, 3.0, np.nan])
    assert (estimate.value, estimate.high) == pytest.approx((2.0, 2 + 4.302653 / np.sqrt(3)), abs=1e-5)
