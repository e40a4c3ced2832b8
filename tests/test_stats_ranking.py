"""Ranks against Demšar's own example, and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from migsim.stats import rank

NAMES = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
# Demšar (2006), table 6: the ranks of four classifiers on 14 data sets.
DEMSAR = np.array([
    [4, 3, 2, 1], [1, 2, 3, 4], [4, 1, 2, 3], [4, 1, 3, 2], [4, 2, 3, 1], [1, 2.5, 4, 2.5],
    [3, 2, 4, 1], [2.5, 2.5, 4, 1], [4, 3, 2, 1], [2.5, 2.5, 2.5, 2.5], [4, 2.5, 1, 2.5],
    [3, 2, 4, 1], [4, 1, 2, 3], [3, 1, 4, 2],
])  # fmt: skip


def test_demsars_example() -> None:
    got = rank(NAMES, DEMSAR)
    means = dict(zip(got.names, (round(each, 3) for each in got.ranks), strict=True))
    assert means == {"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}
    assert round(got.friedman, 2) == 9.28
    assert round(got.iman_davenport, 2) == 3.69
    assert got.p < 0.05  # the critical value of F(3, 39) is 2.85
    assert round(got.critical_difference, 2) == 1.25
    assert got.groups == (got.names,)  # "not powerful enough": 3.143 - 1.964 < 1.25


def test_demsars_example_at_ten_per_cent() -> None:
    got = rank(NAMES, DEMSAR, level=0.10)
    assert round(got.critical_difference, 2) == 1.12
    # C4.5 is worse than C4.5+m and C4.5+m+cf; what C4.5+cf belongs to cannot be told.
    assert got.groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf"), ("C4.5+cf", "C4.5"))


@pytest.mark.parametrize(
    ("k", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_demsars_table_of_critical_values(k: int, q: float) -> None:
    # Table 5(a): q of alpha = 0.05 for the Nemenyi test.
    costs = np.tile(np.arange(k), (6, 1))
    got = rank([str(i) for i in range(k)], costs).critical_difference
    assert round(got / math.sqrt(k * (k + 1) / 36), 3) == pytest.approx(q, abs=0.0011)


@given(st.integers(3, 8), st.integers(3, 6), st.integers(0, 1000))
def test_without_ties_the_statistic_is_scipys(n: int, k: int, seed: int) -> None:
    costs = np.random.default_rng(seed).random((n, k))
    got = rank([str(i) for i in range(k)], costs)
    assert got.friedman == pytest.approx(stats.friedmanchisquare(*costs.T).statistic)
    assert sum(got.ranks) == pytest.approx(k * (k + 1) / 2)
    assert list(got.ranks) == sorted(got.ranks)


def test_full_agreement_and_what_did_not_complete() -> None:
    got = rank(["slow", "quick", "never"], [[2.0, 1.0, math.nan], [3.0, 2.0, math.inf]])
    assert got.names == ("quick", "slow", "never")
    assert got.ranks == (1.0, 2.0, 3.0)
    assert math.isinf(got.iman_davenport)
    assert got.p == 0


@pytest.mark.parametrize("costs", [[[1.0, 2.0]], [[1.0], [2.0]], [1.0, 2.0], []])
def test_too_little_to_rank_is_refused(costs: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two scenarios or more"):
        rank(["a", "b"], costs)
