"""Which pages changed since the last look: read all memory and compare hashes; any Linux.

The fallback where the kernel has no asynchronous write protection. It does not see a write that
leaves a page as it was, which is 3 to 37 % of the dirty pages of busy programs, and costs a full
read of the memory each interval.
"""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from migsim._jit import jit
from migsim._types import Bools, Integers, Words
from migsim.trace.recording._reading import CHUNK, read_pages
from migsim.trace.recording._system import PAGE_SIZE, Mapping, read_memory, writable_mappings

__all__ = ["CompareTracker", "page_hashes"]

_PRESENT: Final = np.uint64(1 << 63 | 1 << 62)  # in memory or swapped out
_FILE: Final = np.uint64(1 << 61)


@jit
def page_hashes(words: Words, out: Words) -> None:
    """Store a 64-bit hash of each row of ``words`` in ``out``.

    A sum of SplitMix64 outputs of (word + its place): every word is mixed on its own, so the loop
    has no chain of dependences, and a change in any words changes the sum but for 1 in 2^64.
    """
    for row in range(words.shape[0]):
        total = np.uint64(0)
        for place in range(words.shape[1]):
            z = words[row, place] + np.uint64(place + 1) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            total += z ^ (z >> np.uint64(31))
        out[row] = total


class CompareTracker:
    """The changed pages of a process, interval by interval."""

    method: Final = "compare"

    def __init__(self, pid: int, within: Mapping | None = None) -> None:
        self._pid, self._within = pid, within
        self._buffer = np.ones((CHUNK, PAGE_SIZE // 8), np.uint64)
        self._known = np.zeros(0, np.int64)
        self._hashes = np.zeros(0, np.uint64)
        self._failed = 0
        page_hashes(self._buffer[:1], np.zeros(1, np.uint64))  # compiled before the clock starts
        mappings = writable_mappings(pid)[-1:]  # the stack: is it permitted to look there?
        self._present(mappings)
        read_memory(pid, [(m.end - 8, 8) for m in mappings], self._buffer.ctypes.data)

    def close(self) -> None:
        """Nothing is held; here because every tracker has it."""

    @property
    def failures(self) -> dict[str, int]:
        """How many pages vanished between being listed and being read."""
        return {"failed_reads": self._failed}

    def written(self) -> Integers:
        """Return page ranges (first, one past last) changed since the last call, ascending.

        The first call returns all pages present. Raises `ProcessLookupError` once the program has
        ended.
        """
        mappings = writable_mappings(self._pid, self._within)
        pages = self._present(mappings)
        hashes, good = self._hash(pages)
        pages, hashes = pages[good], hashes[good]
        changed = np.ones(pages.size, np.bool_)
        if self._known.size:
            place = np.minimum(np.searchsorted(self._known, pages), self._known.size - 1)
            changed = (self._known[place] != pages) | (self._hashes[place] != hashes)
        self._known, self._hashes = pages, hashes
        first = pages[changed]
        return np.stack([first, first + 1], axis=1)

    def _present(self, mappings: list[Mapping]) -> Integers:
        found = [np.zeros(0, np.int64)]
        with open(f"/proc/{self._pid}/pagemap", "rb", buffering=0) as file:  # noqa: PTH123
            for mapping in mappings:
                first, count = (
                    mapping.start // PAGE_SIZE,
                    (mapping.end - mapping.start) // PAGE_SIZE,
                )
                data = os.pread(file.fileno(), 8 * count, 8 * first)
                entries = np.frombuffer(data[: len(data) // 8 * 8], "<u8")
                private = ((entries & _PRESENT) != 0) & ((entries & _FILE) == 0)
                found.append(first + np.flatnonzero(private).astype(np.int64))
        return np.concatenate(found)

    def _hash(self, pages: Integers) -> tuple[Words, Bools]:
        hashes = np.zeros(pages.size, np.uint64)
        good = np.ones(pages.size, np.bool_)
        for first in range(0, pages.size, CHUNK):
            part = pages[first : first + CHUNK]
            good[first : first + CHUNK] = read_pages(self._pid, part, self._buffer)
            page_hashes(self._buffer[: part.size], hashes[first : first + CHUNK])
        self._failed += int((~good).sum())
        return hashes, good
