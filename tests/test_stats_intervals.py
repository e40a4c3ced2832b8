"""Intervals against scipy, worked examples and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from migsim.stats import (
    Interval,
    bca_interval,
    bootstrap_interval,
    mean_interval,
    paired_difference,
)

numbers = st.floats(-1e6, 1e6)


def test_a_worked_example() -> None:
    # Student (1908), "The probable error of a mean": extra hours of sleep of ten patients under
    # two drugs, the first paired sample that was ever analysed so.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    gain = paired_difference(second, first)
    assert gain.mean == pytest.approx(1.58)
    assert (gain.low, gain.high) == pytest.approx((0.7001142, 2.4598858))  # R: t.test(paired=TRUE)


def test_three_values_by_hand() -> None:
    # Mean 2, deviation 1, t(2 degrees, 97.5 %) = 4.30265: 2 +- 4.30265 / sqrt(3).
    interval = mean_interval([1, 2, 3])
    assert interval.mean == 2
    assert interval.high - 2 == pytest.approx(4.302652730 / math.sqrt(3))
    assert 2 - interval.low == pytest.approx(interval.high - 2)


@given(st.lists(numbers, min_size=2, max_size=30), st.floats(0.5, 0.999))
def test_the_interval_is_scipys(values: list[float], confidence: float) -> None:
    assume(np.std(values) > 1e-6)
    expected = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    got = mean_interval(values, confidence)
    assert got.mean == pytest.approx(np.mean(values))
    assert (got.low, got.high) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=30))
def test_the_paired_interval_is_scipys(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs, strict=True))
    assume(np.std(a - b) > 1e-6)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    got = paired_difference(a, b)
    assert (got.low, got.high) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-9)


@given(numbers, st.integers(1, 12))
def test_equal_values_are_a_point_to_the_bit(value: float, count: int) -> None:
    assert mean_interval([value] * count) == Interval(value, value, value)


def test_a_single_value_is_a_point() -> None:
    assert mean_interval([0.1]) == Interval(0.1, 0.1, 0.1)


def test_no_values_have_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_unequal_lengths_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        paired_difference([1, 2], [1, 2, 3])


def test_what_is_common_to_a_pair_cancels() -> None:
    guest = np.random.default_rng(1).normal(0, 100, 8)
    difference = paired_difference(guest + 1.0, guest)
    assert difference.high - difference.low < 1e-9
    assert difference.mean == pytest.approx(1.0)
    assert mean_interval(guest).high - mean_interval(guest).low > 10


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("size", [3, 5, 20])
def test_the_interval_covers_the_mean_as_often_as_it_says(size: int, confidence: float) -> None:
    trials = 2000
    samples = np.random.default_rng(size).normal(7.0, 3.0, (trials, size))
    intervals = [mean_interval(sample, confidence) for sample in samples]
    covered = sum(interval.low <= 7.0 <= interval.high for interval in intervals) / trials
    # Four standard errors of the counted share.
    assert abs(covered - confidence) < 4 * math.sqrt(confidence * (1 - confidence) / trials)


def test_bca_reaches_further_up_where_values_are_skewed_upwards() -> None:
    samples = np.random.default_rng(5).lognormal(0, 1, (100, 20))
    plain = [bootstrap_interval(sample) for sample in samples]
    better = [bca_interval(sample, resamples=1999) for sample in samples]
    assert np.mean([b.high - a.high for a, b in zip(plain, better, strict=True)]) > 0.1
    assert np.mean([b.low - a.low for a, b in zip(plain, better, strict=True)]) > 0.01
    upper = [b.high > a.high for a, b in zip(plain, better, strict=True)]
    assert np.mean(upper) > 0.95


def test_bca_is_scipys_and_never_random() -> None:
    sample = np.random.default_rng(1).exponential(2.0, 15)
    expected = stats.bootstrap(
        (sample,), np.mean, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    first, second = bca_interval(sample), bca_interval(sample)
    assert first == second
    assert (first.low, first.high) == (expected.low, expected.high)
    assert bca_interval([3.0, 3.0]) == Interval(3.0, 3.0, 3.0)
