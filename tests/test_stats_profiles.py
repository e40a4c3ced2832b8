"""Performance profiles by hand, and what Dolan and Moré say of all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim.stats import performance_profile


def test_by_hand() -> None:
    costs = [[1.0, 2.0], [4.0, 1.0], [3.0, 3.0], [math.nan, 5.0]]
    got = performance_profile(costs, [1, 2, 4, 1e9])
    assert got.tolist() == [[0.5, 0.75], [0.5, 1.0], [0.75, 1.0], [0.75, 1.0]]


costs = st.lists(
    st.lists(st.floats(0, 1e6) | st.just(math.inf), min_size=3, max_size=3), min_size=1, max_size=8
)


@given(costs)
def test_they_rise_from_how_often_one_is_best_to_how_often_it_completes(
    table: list[list[float]],
) -> None:
    got = performance_profile(table, [1.0, 1.5, 10.0, 1e12])
    assert np.all(np.diff(got, axis=0) >= 0)
    completed = np.isfinite(table)
    assert got[0].sum() >= completed.any(axis=1).mean() - 1e-12
    assert np.all(got <= completed.mean(axis=0) + 1e-12)


def test_what_nobody_completes_counts_against_all() -> None:
    assert performance_profile([[math.inf, math.nan], [1.0, 1.0]], 5.0).tolist() == [[0.5, 0.5]]
    assert performance_profile([[0.0, 1e-9]], [1.0, 1e9]).tolist() == [[1.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("table", "factors"), [([[1.0]], [0.5]), ([[-1.0]], [1.0]), ([1.0], [1.0]), ([[]], [1.0])]
)
def test_what_is_no_profile_is_refused(table: list[list[float]], factors: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        performance_profile(table, factors)
