"""Bitmaps against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim import Pages, VirtualMachine
from migsim._kernels.bits import next_page
from migsim._kernels.guest import GuestSets, fold_writes
from migsim._kernels.sets import BLOCK, FULL, MIXED, add, add_range, next_in, previous_in, remove

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


large_sizes = st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 77])
# Of places in a guest: the borders of blocks, and anything.
places = st.one_of(
    st.floats(0, 1),
    st.tuples(st.integers(0, 3), st.integers(-2, 2)).map(lambda at: at[0] * BLOCK + at[1]),
)


def place_in(size: int, place: float) -> int:
    chosen = int(place * (size - 1)) if isinstance(place, float) else place
    return min(max(chosen, 0), size - 1)


@given(
    large_sizes,
    st.lists(st.tuples(st.sampled_from("+-r|&d"), places, places), min_size=1, max_size=12),
)
def test_blocks_against_a_plain_array(size: int, acts: list[tuple[str, float, float]]) -> None:
    pages, plain = Pages.none(size), np.zeros(size, np.bool_)
    for act, one, other in acts:
        start, stop = sorted((place_in(size, one), place_in(size, other)))
        model = np.zeros(size, np.bool_)
        model[start:stop] = True
        if act == "+":
            add(pages.bits, start)
            plain[start] = True
        elif act == "-":
            remove(pages.bits, start)
            plain[start] = False
        elif act == "r":
            add_range(pages.bits, start, stop)
            plain |= model
        else:
            part = Pages.range(start, stop, size=size)
            if act == "|":
                pages, plain = pages | part, plain | model
            elif act == "&":
                pages, plain = pages & part, plain & model
            else:
                pages, plain = pages - part, plain & ~model
        pages.touched()
        for place in (start, stop):
            after, before = np.flatnonzero(plain[place:]), np.flatnonzero(plain[: place + 1])
            assert next_in(pages.bits, place) == (place + after[0] if after.size else -1)
            assert previous_in(pages.bits, place) == (before[-1] if before.size else -1)
            assert (place in pages) == plain[place]
    assert len(pages) == plain.sum()
    assert pages.indices().tolist() == np.flatnonzero(plain).tolist()
    copy = pages.copy()
    bits = np.unpackbits(pages.words.view(np.uint8), bitorder="little", count=size)
    assert np.array_equal(bits, plain)  # dense, it is the same set
    assert copy == pages


def test_what_is_whole_takes_no_words() -> None:
    size = 24 << 28  # 24 TiB
    some = Pages.of([5, size - 1], size=size)
    rest = Pages.range(0, size, size=size) - some
    assert len(rest) == size - 2
    blocks = rest.bits.blocks
    assert ((blocks == MIXED).sum(), (blocks == FULL).sum()) == (2, blocks.size - 2)
    assert rest.first(7) == [0, 1, 2, 3, 4, 6, 7]


def made(kind: str, size: int) -> Pages:
    """Return a set of which it is known how many pages it holds, or not yet."""
    if kind == "words":
        pages = Pages.none(size)
        pages.words[0] = 0b1010
        return pages
    return {
        "none": Pages.none(size),
        "all": Pages.range(0, size, size=size),
        "some": Pages.range(7, size - 3, size=size),
        "listed": Pages.of([1, 9, size - 1], size=size),
        "copied": Pages.range(0, 5, size=size).copy(),
        "difference": Pages.range(0, 50, size=size) - Pages.range(0, 50, size=size),
    }[kind]


KINDS = ("none", "all", "some", "listed", "words", "copied", "difference")


@pytest.mark.parametrize("size", [200, BLOCK + 77])
@pytest.mark.parametrize("left", KINDS)
@pytest.mark.parametrize("right", KINDS)
def test_what_is_known_to_be_empty_is_left_out(left: str, right: str, size: int) -> None:
    """The short ways give what the long ones give, and the results are sets of their own."""
    for count_first in (False, True):
        a, b = made(left, size), made(right, size)
        plain = listed(a), listed(b)
        if count_first:
            assert (len(a), len(b)) == (len(plain[0]), len(plain[1]))
        wanted = (plain[0] | plain[1], plain[0] & plain[1], plain[0] - plain[1], plain[0])
        for result, expected in zip((a | b, a & b, a - b, a.copy()), wanted, strict=True):
            assert len(result) == len(expected)
            assert listed(result) == expected
            result.words[0] ^= np.uint64(1 << 40)
            assert len(result) == len(expected ^ {40})
        assert (listed(a), listed(b)) == plain


def test_a_block_of_which_all_pages_were_written_is_full() -> None:
    shape = VirtualMachine(memory=(3 * BLOCK + 100) * 4096)
    sets = [Pages.none(shape.pages) for _ in range(6)]
    recent = sets[4]
    for start in range(0, shape.pages, 1000):
        add_range(recent.bits, start, min(start + 1000, shape.pages))
    remove(recent.bits, BLOCK + 64)
    fold_writes(GuestSets(*(pages.bits for pages in sets)))
    for pages in sets[:3]:
        assert pages.bits.blocks.tolist() == [FULL, MIXED, FULL, FULL]
        pages.touched()
        assert pages == Pages.range(0, shape.pages, size=shape.pages) - Pages.of(
            [BLOCK + 64], size=shape.pages
        )
    assert not recent.bits.blocks.any()
