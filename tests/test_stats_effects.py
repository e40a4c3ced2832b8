"""Effect sizes against scipy's statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from migsim.stats import cohen_dz, rank_biserial, vargha_delaney

sample = st.lists(st.integers(-40, 40), min_size=2, max_size=15)


@given(sample)
def test_cohens_d_is_t_over_the_root_of_n(values: list[int]) -> None:
    assume(len(set(values)) > 1)
    expected = stats.ttest_1samp(values, 0).statistic / math.sqrt(len(values))
    assert cohen_dz(values) == pytest.approx(expected)


def test_cohens_d_of_equal_differences() -> None:
    assert [cohen_dz([value] * 3) for value in (2, -2, 0)] == [math.inf, -math.inf, 0.0]
    with pytest.raises(ValueError, match="1 differences"):
        cohen_dz([1.0])


@given(sample)
def test_rank_biserial_is_made_of_wilcoxons_sum(values: list[int]) -> None:
    kept = [value for value in values if value]
    assume(kept)
    favourable = stats.wilcoxon(kept, alternative="greater", method="asymptotic").statistic
    total = len(kept) * (len(kept) + 1) / 2
    assert rank_biserial(values) == pytest.approx(2 * favourable / total - 1)
    assert rank_biserial([-value for value in values]) == pytest.approx(-rank_biserial(values))


def test_rank_biserial_of_agreeing_and_of_no_differences() -> None:
    assert rank_biserial([0.0, 0.0]) == 0
    assert rank_biserial([1.0, 2.0, 0.0]) == 1
    assert rank_biserial([3.0, -1.0, -2.0]) == 0  # ranks 3 against 1 + 2


@given(sample, sample)
def test_a12_is_the_share_of_pairs_and_mann_whitneys_u(a: list[int], b: list[int]) -> None:
    pairs = [1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b]
    assert vargha_delaney(a, b) == pytest.approx(np.mean(pairs))
    u = stats.mannwhitneyu(a, b, method="asymptotic").statistic
    assert vargha_delaney(a, b) == pytest.approx(u / (len(a) * len(b)))


def test_a12_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        vargha_delaney([], [1.0])
