"""Kernels that compare pages with their copies, against NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from migsim._kernels.difference import compare_pages, take_pages

PAGE = 4096


def counted(old: np.ndarray, new: np.ndarray) -> tuple[int, int]:
    """Return by NumPy how many bytes of a page differ, and in how many runs."""
    differs = old.view(np.uint8) != new.view(np.uint8)
    return int(differs.sum()), int((np.diff(differs.astype(np.int8), prepend=0) == 1).sum())


def compared(old: np.ndarray, new: np.ndarray) -> tuple[int, int]:
    changed, runs = np.zeros(1, np.int64), np.zeros(1, np.int64)
    compare_pages(old.reshape(1, -1), new.reshape(1, -1), changed, runs)
    return int(changed[0]), int(runs[0])


@st.composite
def versions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two versions of a page that differ in a few places, or in bytes all over."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    old = rng.integers(0, 256, PAGE, np.uint8)
    new = old.copy()
    if draw(st.booleans()):
        new ^= (rng.random(PAGE) < draw(st.floats(0, 1))).astype(np.uint8)
    for start, change in draw(
        st.lists(st.tuples(st.integers(0, PAGE - 1), st.binary(min_size=1, max_size=40)))
    ):
        part = new[start : start + len(change)]
        part[:] = np.frombuffer(change, np.uint8)[: part.size]
    return old.view(np.uint64), new.view(np.uint64)


@given(versions())
def test_bytes_and_runs_are_those_of_numpy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    old, new = pair
    assert compared(old, new) == counted(old, new)
    assert compared(old, old) == (0, 0)


def test_runs_across_words_and_ends() -> None:
    old = np.zeros(PAGE // 8, np.uint64)
    for places in ([0], [PAGE - 1], [7, 8], [6, 8], range(5, 30), range(PAGE), [15, 16, 24, 31]):
        page = np.zeros(PAGE, np.uint8)
        page[list(places)] = 0x80
        assert compared(old, page.view(np.uint64)) == counted(old, page.view(np.uint64)), places
    every_other = np.zeros(PAGE, np.uint8)
    every_other[::2] = 1
    assert compared(old, every_other.view(np.uint64)) == (2048, 2048)


class Pages:
    """A few pages and their copies."""

    def __init__(self, count: int) -> None:
        self.latest = np.zeros((count, 512), np.uint64)
        self.kept = np.zeros((count, 512), np.uint64)
        self.present = np.zeros(count, np.bool_)
        self.epochs = np.full(count, -1)

    def take(
        self, epoch: int, slots: list[int], new: list[int], good: list[bool] | None = None
    ) -> list[tuple[int, int, int]]:
        """Take pages that are full of a number; return changed, runs, zero of each."""
        changed, runs = np.zeros(len(slots), np.int64), np.zeros(len(slots), np.int64)
        zero = np.zeros(len(slots), np.uint8)
        words = np.repeat(np.array(new, np.uint8), PAGE).reshape(-1, PAGE).view(np.uint64)
        take_pages(
            words, np.array(good or [True] * len(slots)), np.array(slots), self.latest,
            self.present, self.kept, self.epochs, epoch, changed, runs, zero,
        )  # fmt: skip
        return list(zip(changed.tolist(), runs.tolist(), zero.tolist(), strict=True))

    def full_of(self, where: str) -> list[int]:
        """Return the number each copy is full of."""
        found = getattr(self, where).view(np.uint8)
        assert (found == found[:, :1]).all()
        return list(found[:, 0].tolist())


def test_copies_follow_and_the_checkpoint_stays() -> None:
    pages = Pages(3)
    assert pages.take(0, [0, 2], [5, 0]) == [(PAGE, 1, 0), (0, 0, 1)]
    assert pages.take(1, [0], [5]) == [(0, 0, 0)]
    assert pages.take(1, [2, 0], [7, 6]) == [(PAGE, 1, 0), (PAGE, 1, 0)]
    assert pages.take(1, [0], [0]) == [(PAGE, 1, 1)]
    assert pages.full_of("latest") == [0, 0, 7]
    assert pages.full_of("kept") == [5, 0, 0]
    pages.take(2, [0, 2], [9, 8])
    assert pages.full_of("kept") == [0, 0, 7]
    assert pages.present.tolist() == [True, False, True]


def test_a_page_that_could_not_be_read_is_forgotten() -> None:
    pages = Pages(2)
    pages.take(0, [0, 1], [5, 5])
    assert pages.take(1, [0, 1], [6, 6], [False, True]) == [(-1, -1, 0), (PAGE, 1, 0)]
    assert pages.present.tolist() == [False, True]
    assert pages.full_of("kept") == [5, 5]
    assert pages.take(2, [0], [5]) == [(PAGE, 1, 0)]  # against zeros
    assert pages.take(2, [0], [0]) == [(PAGE, 1, 1)]
