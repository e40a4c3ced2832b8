"""Bitmaps against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim import Pages
from migsim._kernels.bits import next_page, previous_page

sizes = st.sampled_from([1, 2, 63, 64, 65, 127, 128, 129, 200, 1000])
two_sets = sizes.flatmap(
    lambda size: st.tuples(
        st.just(size), *(st.sets(st.integers(0, size - 1), max_size=80) for _ in range(2))
    )
)


def listed(pages: Pages) -> set[int]:
    return set(pages.indices().tolist())


@given(two_sets)
def test_operators(case: tuple[int, set[int], set[int]]) -> None:
    size, left, right = case
    a, b = Pages.of(left, size=size), Pages.of(right, size=size)
    assert listed(a | b) == left | right
    assert listed(a & b) == left & right
    assert listed(a - b) == left - right
    assert (len(a), bool(a)) == (len(left), bool(left))
    assert (a == b) == (left == right)
    assert a == a.copy()
    assert [page in a for page in range(size)] == [page in left for page in range(size)]
    assert a.indices().tolist() == sorted(left)
    assert a.indices().dtype == np.int64
    # No operator has touched its operands.
    assert (listed(a), listed(b)) == (left, right)


@given(sizes, st.data())
def test_ranges(size: int, data: st.DataObject) -> None:
    start, stop = (data.draw(st.integers(0, size)) for _ in range(2))
    assert listed(Pages.range(start, stop, size=size)) == set(range(start, stop))


@given(two_sets, st.data())
def test_search(case: tuple[int, set[int], set[int]], data: st.DataObject) -> None:
    size, pages, _ = case
    words = Pages.of(pages, size=size).words
    start = data.draw(st.integers(0, size + 70))
    assert next_page(words, start) == min((p for p in pages if p >= start), default=-1)
    start = data.draw(st.integers(-1, size - 1))
    assert previous_page(words, start) == max((p for p in pages if p <= start), default=-1)


def test_of_takes_arrays_and_repeats() -> None:
    assert listed(Pages.of(np.array([5, 5, 3]), size=9)) == {3, 5}
    assert len(Pages.of(iter(()), size=9)) == 0


@pytest.mark.parametrize("page", [-1, 100, 127, 128, 10**9])
def test_pages_that_do_not_exist(page: int) -> None:
    with pytest.raises(ValueError, match="of 100"):
        Pages.of([3, page], size=100)
    if page != 100:
        with pytest.raises(ValueError, match="of 100"):
            Pages.range(min(page, 0), max(page, 50), size=100)
    assert page not in Pages.range(0, 100, size=100)


def test_two_guests_do_not_mix() -> None:
    with pytest.raises(ValueError, match="10 and 11 pages"):
        Pages.none(10) | Pages.none(11)
    with pytest.raises(TypeError, match="expected Pages, got set"):
        Pages.none(10) | {3}  # type: ignore[operator]
    assert Pages.none(10) != Pages.none(11)
    assert Pages.none(10) != set()


def test_repr_and_hash() -> None:
    assert repr(Pages.range(0, 4, size=10)) == "<4 of 10 pages>"
    with pytest.raises(TypeError):
        hash(Pages.none(1))


def test_the_count_after_a_kernel() -> None:
    pages = Pages.range(0, 10, size=64)
    assert len(pages) == 10
    pages.words[0] = 1
    pages.touched()
    assert len(pages) == 1
