"""Holm's correction against what it is a short cut for: Bonferroni on every set of hypotheses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.stats import holm

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=6)


@given(probabilities)
def test_it_is_the_closed_test_of_bonferroni(values: list[float]) -> None:
    # Marcus, Peritz and Gabriel (1976): reject what is rejected in all sets that hold it.
    sets = [
        each
        for size in range(1, len(values) + 1)
        for each in itertools.combinations(range(len(values)), size)
    ]
    expected = [
        max(min(1.0, len(each) * min(values[j] for j in each)) for each in sets if i in each)
        for i in range(len(values))
    ]
    assert holm(values) == pytest.approx(expected)


@given(probabilities)
def test_it_lies_between_the_raw_values_and_bonferronis(values: list[float]) -> None:
    adjusted = holm(values)
    assert np.all(adjusted >= values)
    assert np.all(adjusted <= np.minimum(1.0, len(values) * np.array(values)) + 1e-15)


def test_by_hand() -> None:
    # 3 x 0.01; then 2 x 0.02; then 0.03, but no less than the one before.
    assert holm([0.03, 0.01, 0.02]).tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert holm([]).tolist() == []


@pytest.mark.parametrize("values", [[1.5], [-0.1], [float("nan")], [[0.5]]])
def test_what_is_no_probability_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm(values)
