"""The last copies of all pages of a program, and the copies at the last checkpoint."""

from __future__ import annotations

import contextlib
import mmap
from typing import Final

import numpy as np

from migsim._kernels.difference import take_pages
from migsim._types import Bools, Bytes, Integers, Words
from migsim.trace.recording._system import PAGE_SIZE

__all__ = ["Copies"]

_WORDS: Final = PAGE_SIZE // 8
_FIRST: Final = 1 << 16  # pages; only address space until they are used
_RESERVE: Final = 1 << 12  # pages to have memory for before they come


class _Area:
    """Pages of zeros that can become more without being copied."""

    def __init__(self, pages: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._memory = mmap.mmap(-1, pages * PAGE_SIZE, flags=flags)
        self.words = self._view()

    def _view(self) -> Words:
        with contextlib.suppress(OSError):  # only faster: fewer page faults while recording
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(self._memory, np.uint64).reshape(-1, _WORDS)

    def grow(self, pages: int) -> None:
        """Make it so many pages; moves page tables only."""
        self.words = np.zeros((0, _WORDS), np.uint64)  # memory in use cannot be moved
        self._memory.resize(pages * PAGE_SIZE)
        self.words = self._view()


class Copies:
    """Copies of pages by slot; a page keeps the slot that it gets when it is first seen."""

    def __init__(self) -> None:
        self._latest, self._kept = _Area(_FIRST), _Area(_FIRST)
        self._present = np.zeros(_FIRST, np.bool_)
        self._epochs = np.full(_FIRST, -1)
        self._hashes = np.zeros(_FIRST, np.uint64)
        self._epoch = 0
        self._prepared = 0  # slots whose memory is there
        self._pages = np.zeros(0, np.int64)  # known ones, ascending
        self._slots = np.zeros(0, np.int64)  # theirs

    def slots(self, pages: Integers) -> Integers:
        """Return the slots of pages, which ascend, and give one to those not seen before."""
        place = np.searchsorted(self._pages, pages)
        known = np.zeros(pages.size, np.bool_)
        within = place < self._pages.size
        known[within] = self._pages[place[within]] == pages[within]
        first, more = self._slots.size, int((~known).sum())
        if more:
            fresh = np.arange(first, first + more)
            self._pages = np.insert(self._pages, place[~known], pages[~known])
            self._slots = np.insert(self._slots, place[~known], fresh)
            self._reserve(first + more)
            place = np.searchsorted(self._pages, pages)
        return self._slots[place]

    def _reserve(self, count: int) -> None:
        capacity = size = self._present.size
        while size < count:
            size *= 2
        if size == capacity:
            return
        self._latest.grow(size)
        self._kept.grow(size)
        extra = size - capacity
        self._present = np.concatenate([self._present, np.zeros(extra, np.bool_)])
        self._epochs = np.concatenate([self._epochs, np.full(extra, -1)])
        self._hashes = np.concatenate([self._hashes, np.zeros(extra, np.uint64)])

    def prepare(self, most: int = _RESERVE) -> None:
        """Have the kernel supply memory for both copies of all known pages and some to come.

        For ``most`` further slots at once, so that a program that grows fast does not hold it up.

        Otherwise it would be waited for where time matters: between a scan and the reading of the
        pages that it found, and most of all at the first comparison after a checkpoint.
        """
        wanted = min(self._slots.size + _RESERVE, self._present.size, self._prepared + most)
        for area in (self._latest, self._kept):
            area.words[self._prepared : wanted, 0] |= np.uint64(0)
        self._prepared = max(self._prepared, wanted)

    def checkpoint(self) -> None:
        """Keep all pages as they are now: each is copied only when it is about to be replaced."""
        self._epoch += 1

    def take(
        self,
        slots: Integers,
        new: Words,
        hashes: Words,
        good: Bools,
        changed: Integers,
        runs: Integers,
        zero: Bytes,
    ) -> None:
        """Make ``new`` the latest copies, and store how they differ from those before.

        One row or value a slot; see `take_pages`. ``hashes`` are those of ``new``.
        """
        take_pages(
            new, good, slots, self._latest.words, self._present, self._kept.words, self._epochs,
            self._epoch, changed, runs, zero,
        )  # fmt: skip
        self._hashes[slots] = hashes

    def present(self, slots: Integers) -> Bools:
        """Return which slots hold a copy."""
        return self._present[slots]

    def latest(self, slots: Integers) -> Words:
        """Return copies of the latest copies, zeros where there is none: (slots, 512) words."""
        return self._latest.words[slots] * self._present[slots, None]

    def kept(self, slots: Integers) -> Words:
        """Return the pages as they were at the checkpoint; of slots taken since then only."""
        return self._kept.words[slots]

    def duplicates(self, slots: Integers) -> Bools:
        """Return which slots have the same content as the latest copy of another page."""
        count = self._slots.size
        hashes = np.sort(self._hashes[:count][self._present[:count]])
        alike = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        return np.isin(self._hashes[slots], alike) & self._present[slots]
