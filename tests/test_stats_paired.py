"""The sign-flip test against scipy, its interval against the test, and blocks of a table."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from migsim.stats import paired_blocks, sign_flip

few = st.lists(st.integers(-50, 50), min_size=1, max_size=9)


@given(few.filter(lambda values: len(values) > 1))
def test_few_differences_are_tested_exactly_as_by_scipy(values: list[int]) -> None:
    expected = stats.permutation_test(
        (np.array(values, float),), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(values).p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6])
def test_many_differences_are_tested_as_by_scipy(shift: float) -> None:
    sample = np.random.default_rng(3).normal(shift, 1, 40)
    expected = stats.permutation_test(
        (sample,), np.mean, permutation_type="samples", n_resamples=99_999, vectorized=True,
        rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    got = sign_flip(sample).p
    # Four standard errors of the two counts.
    assert abs(got - expected) < 4 * math.sqrt(2 * expected / 50_000) + 4 / 50_000


def test_darwins_maize() -> None:
    # Fisher, The Design of Experiments (1935), sec. 21: of the 32,768 choices of signs of Darwin's
    # 15 differences, 863 give a sum of 314 or more, and as many one of -314 or less.
    darwin = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    signs = np.array(list(itertools.product((-1, 1), repeat=15)))
    assert np.count_nonzero(signs @ darwin >= 314) == 863
    assert sign_flip(darwin).p == pytest.approx(2 * 863 / 2**15, abs=4 * math.sqrt(0.05 / 50_000))


@given(few, st.floats(0.5, 0.99))
def test_the_interval_holds_the_shifts_that_are_not_rejected(
    values: list[int], confidence: float
) -> None:
    sample = np.array(values, float)
    found = sign_flip(sample, confidence)
    assert found.interval.low <= found.interval.mean <= found.interval.high
    # Between the means of subsets, at which the p-value changes.
    for end, outwards in ((found.interval.low, -1.0), (found.interval.high, 1.0)):
        if math.isinf(end):
            shifted = sample - (found.interval.mean + outwards * 1e6)
            assert sign_flip(shifted).p > 1 - confidence
            continue
        assert sign_flip(sample - (end + outwards * 1e-6)).p <= (1 - confidence) * (1 + 1e-9)
        if found.interval.low < found.interval.high:
            assert sign_flip(sample - (end - outwards * 1e-6)).p > (1 - confidence) * (1 - 1e-9)


@given(st.lists(st.floats(0.1, 10), min_size=15, max_size=60))
def test_equal_signs_are_exact_however_many(values: list[float]) -> None:
    assert sign_flip(values).p == 2.0 ** (1 - len(values))
    assert sign_flip([-value for value in values]).p == 2.0 ** (1 - len(values))


def test_no_difference_is_no_evidence() -> None:
    found = sign_flip([0.0] * 20)
    assert (found.p, found.interval.mean, found.interval.low, found.interval.high) == (1, 0, 0, 0)
    with_some = sign_flip([0.0] * 30 + [1.0, 2.0])
    assert with_some.p == 0.5


@given(few, st.integers(2, 4))
def test_equal_observations_keep_their_weight_but_flip_together(
    values: list[int], size: int
) -> None:
    sizes = [size] + [1] * (len(values) - 1)
    found = sign_flip(values, sizes=sizes)
    assert found.interval.mean == pytest.approx(np.mean([values[0]] * size + values[1:]))
    assert found.blocks == len(values)
    total = abs(np.dot(values, sizes))
    extreme = [
        abs(np.dot(np.multiply(values, sizes), signs)) >= total
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    assert found.p == pytest.approx(np.mean(extreme))


@pytest.mark.parametrize("size", [8, 30])
def test_it_rejects_as_often_as_it_says(size: int) -> None:
    trials = 1000
    draw = np.random.default_rng(size)
    # Skewed pairs whose difference is symmetric, with a spread that differs from block to block.
    spread = draw.lognormal(0, 1, size)
    pairs = draw.lognormal(0, 1, (trials, 2, size)) * spread
    rejected = sum(sign_flip(a - b).p <= 0.05 for a, b in pairs) / trials
    assert rejected <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)
    assert rejected > 0.02


@pytest.mark.parametrize("batch", [1, 777, 50_000])
def test_batches_change_nothing(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.random.default_rng(1).normal(0.2, 1, 21)
    expected = sign_flip(sample)
    monkeypatch.setattr("migsim.stats.paired._BATCH", batch)
    assert sign_flip(sample) == expected


def test_many_blocks_need_little_memory() -> None:
    sample = np.random.default_rng(1).normal(0, 1, 1000)
    tracemalloc.start()
    try:
        sign_flip(sample)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_what_is_no_sample_is_refused() -> None:
    for sample, sizes in (([], None), ([[1.0]], None), ([1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="shape"):
            sign_flip(sample, sizes=sizes)


def table(rows: list[tuple[str, str, int, float]]) -> pd.DataFrame:
    named = pd.DataFrame(rows, columns=["algorithm", "label", "seed", "total_seconds"])
    return named.assign(link="gigabit")


def test_blocks_are_scenarios_and_seeds_that_both_have() -> None:
    results = table([
        ("a", "x", 0, 2.0), ("b", "x", 0, 1.0), ("a", "x", 1, 3.0), ("b", "x", 1, 0.0),
        ("a", "y", 0, 5.0), ("b", "z", 0, 5.0), ("c", "x", 0, 9.0), ("a", "z", 0, math.nan),
    ])  # fmt: skip
    got = paired_blocks(results, "a", "b", "total_seconds")
    assert list(got.index) == [("x", "gigabit", 0), ("x", "gigabit", 1)]
    assert got["difference"].tolist() == [1.0, 3.0]
    assert got["log_ratio"].tolist()[0] == pytest.approx(math.log(2))
    assert math.isnan(got["log_ratio"].tolist()[1])


def test_blocks_that_are_told_apart_by_something_else_are_refused() -> None:
    results = table([("a", "x", 0, 2.0), ("a", "x", 0, 3.0), ("b", "x", 0, 1.0)])
    with pytest.raises(ValueError, match="several rows of 'a'"):
        paired_blocks(results, "a", "b", "total_seconds")
