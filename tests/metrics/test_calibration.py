"""Ranking, calibration, anticipation and quantile numbers against answers known by hand or by simulation."""

import numpy as np
import pytest

from simworld.metrics import calibration as c

LABELS = [0, 0, 1, 1]
SCORES = [0.1, 0.4, 0.35, 0.8]


def test_auroc_by_hand():
    assert c.auroc(LABELS, SCORES) == 0.75  # three of the four pairs are in order
    assert c.auroc([0, 1], [0.5, 0.5]) == 0.5
    assert c.auroc([0, 0, 1], [1, 2, 3]) == 1.0
    assert c.auroc([1, 1, 0], [1, 2, 3]) == 0.0


def test_auroc_needs_both_classes():
    with pytest.raises(ValueError, match="both classes"):
        c.auroc([1, 1], [0.2, 0.3])
    assert c.auroc_delong([1, 1], [0.2, 0.3]).value is None


def test_delong_variance_by_the_definition():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    s = np.round(y + rng.normal(size=60), 1)  # rounding makes ties
    pos, neg = s[y == 1], s[y == 0]
    psi = (pos[:, None] > neg) + 0.5 * (pos[:, None] == neg)
    se = np.sqrt(psi.mean(1).var(ddof=1) / len(pos) + psi.mean(0).var(ddof=1) / len(neg))
    estimate = c.auroc_delong(y, s)
    assert estimate.value == pytest.approx(psi.mean()) == pytest.approx(c.auroc(y, s))
    assert estimate.high - estimate.value == pytest.approx(1.959964 * se, rel=1e-5)


def test_delong_covers_the_truth():
    rng = np.random.default_rng(1)
    truth = 0.7602499  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    hits = 0
    for _ in range(300):
        e = c.auroc_delong(np.r_[np.ones(40), np.zeros(60)], np.r_[rng.normal(1, 1, 40), rng.normal(0, 1, 60)])
        hits += e.low <= truth <= e.high
    assert 0.91 <= hits / 300 <= 0.985


def test_bootstrap_is_seeded_and_widens_with_groups():
    rng = np.random.default_rng(2)
    y = np.repeat(rng.integers(0, 2, 40), 25)
    s = y * 0.5 + np.repeat(rng.normal(size=40), 25)  # all 25 rows of a group are alike
    plain = c.bootstrap(c.auroc, y, s, rng=np.random.default_rng(3), num_resamples=300)
    again = c.bootstrap(c.auroc, y, s, rng=np.random.default_rng(3), num_resamples=300)
    grouped = c.bootstrap(
        c.auroc, y, s, rng=np.random.default_rng(3), groups=np.repeat(np.arange(40), 25), num_resamples=300
    )
    assert plain == again
    assert grouped.value == plain.value
    assert grouped.high - grouped.low > 3 * (plain.high - plain.low)


def test_bootstrap_matches_the_standard_error_of_a_mean():
    x = np.random.default_rng(4).normal(size=400)
    e = c.bootstrap(lambda a: float(np.mean(a)), x, rng=np.random.default_rng(5))
    assert (e.high - e.low) / 2 == pytest.approx(1.96 * x.std() / 20, rel=0.1)


def test_bootstrap_says_why_there_is_no_value():
    e = c.bootstrap(c.auroc, [1, 1], [0.1, 0.2], rng=np.random.default_rng(0))
    assert e.value is None and "both classes" in e.reason


def test_average_precision_by_hand():
    assert c.average_precision(LABELS, SCORES) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert c.average_precision([1, 0], [0.5, 0.5]) == 0.5  # a tie fires as one
    with pytest.raises(ValueError, match="at least one positive"):
        c.average_precision([0, 0], [0.1, 0.2])


def test_recall_at_a_bounded_false_positive_rate():
    y = [1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    s = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1, -2]
    assert c.recall_at_fpr(y, s, 0.0) == c.OperatingPoint(2 / 3, 0.0, 8.0)
    assert c.recall_at_fpr(y, s, 1 / 9) == c.OperatingPoint(1.0, 1 / 9, 6.0)
    assert c.recall_at_fpr([1, 0], [0.5, 0.5], 0.5) == c.OperatingPoint(0.0, 0.0, float("inf"))


def test_brier_by_hand():
    assert c.brier([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)
    assert c.brier([1, 0, 0, 0], [0.25] * 4) == pytest.approx(0.25 * 0.75)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        c.brier([1], [1.2])


def test_reliability_has_equal_mass_and_keeps_equal_predictions_together():
    rng = np.random.default_rng(6)
    p = rng.random(1000)
    r = c.reliability(rng.random(1000) < p, p, num_bins=10)
    assert (r.count == 100).all() and (np.diff(r.p_mean) > 0).all()
    assert np.abs(r.frequency - r.p_mean).max() < 0.15
    tied = c.reliability([0, 1, 0, 1], [0.5] * 4, num_bins=2)
    assert tied.count.tolist() == [4] and tied.frequency.tolist() == [0.5]


def test_reliability_counts_windows_as_often_as_they_occur():
    r = c.reliability([0, 1, 1, 0], [0.2, 0.4, 0.4, 0.4], num_bins=1, weight=[3, 1, 1, 1])
    assert r.p_mean == pytest.approx([0.3]) and r.frequency == pytest.approx([1 / 3]) and r.count.tolist() == [4]
    with pytest.raises(ValueError, match="weight"):
        c.reliability([0, 1], [0.2, 0.4], weight=[1, 0])


def test_expected_calibration_error_by_hand():
    assert c.expected_calibration_error([0, 0, 1, 1], [0.2, 0.2, 0.7, 0.7], num_bins=2) == pytest.approx(0.25)
    assert c.expected_calibration_error([0, 1, 0, 1], [0.5] * 4) == 0.0


def test_anticipation_counts_the_right_moments():
    time_s = np.r_[[0.5, 0.52, 1.0, 1.5, 2.0], np.full(10, np.inf), [3.5]]
    p = np.r_[[0.9, 0.8, 0.7, 0.05, 0.99], np.full(10, 0.1), [0.75]]
    half, one, one_and_half = c.anticipation(p, time_s, max_false_alarm_rate=0.1)
    assert (half.num_positive, half.num_negative, half.recall, half.average_precision) == (2, 11, 1.0, 1.0)
    assert one.recall == 1.0 and one.average_precision == 0.5 and one.false_alarm_rate == pytest.approx(1 / 11)
    assert one_and_half.recall == 0.0 and one_and_half.average_precision == pytest.approx(1 / 12)
    with pytest.raises(ValueError, match=r"at 5.0 s"):
        c.anticipation(p, time_s, leads_s=(5.0,))


def test_pinball_is_least_at_the_true_quantile():
    y = np.random.default_rng(7).exponential(size=4000)
    losses = {q: c.pinball_loss(y, np.full((4000, 1), q), [0.9]) for q in (1.5, np.log(10), 3.5)}
    assert min(losses, key=losses.get) == np.log(10)
    assert c.pinball_loss([2.0], [[1.0, 4.0]], [0.1, 0.9]) == pytest.approx((0.1 * 1 + 0.1 * 2) / 2)


def test_quantile_coverage_by_hand():
    assert c.quantile_coverage([1, 2, 3, 4], [[2, 3]] * 4, [0.5, 0.75]).tolist() == [0.5, 0.75]
    with pytest.raises(ValueError, match=r"\(n, m\)"):
        c.quantile_coverage([1, 2], [[1, 2, 3]], [0.1, 0.5, 0.9])


def test_rank_correlation_and_relative_error():
    assert c.rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1.0)
    assert c.rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert c.rank_correlation([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(np.sqrt(0.9))
    assert c.median_relative_error([10, 20, 0, 40], [11, 26, 5, 40]) == pytest.approx(0.1)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        c.brier([1, 0], [0.5, float("nan")])
