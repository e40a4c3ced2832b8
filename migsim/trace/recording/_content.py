"""What happened to the bytes of dirtied pages: read them, compare with their copies, encode some.

The program runs on between the scan that finds a page dirty and the reading of it. What it writes
to the page in between is counted in this interval, though the scan belongs to the one before, and
the page may then look as if the next interval had written it without changing it. The time from a
scan to the end of reading is kept in the header, since it bounds how often that can happen.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from migsim._types import Bytes, Integers
from migsim.trace.content import (
    CHECKPOINT_INTERVALS,
    DUPLICATE,
    NEW,
    NOT_MEASURED,
    SAMPLED,
    SAMPLES,
    ZERO,
    code,
)
from migsim.trace.recording._compare import page_hashes
from migsim.trace.recording._copies import Copies
from migsim.trace.recording._encoding import Encoder
from migsim.trace.recording._reading import CHUNK, read_pages
from migsim.trace.recording._system import PAGE_SIZE

__all__ = ["ContentMeter", "sample"]


def sample(count: int, most: int = SAMPLES) -> Integers:
    """Return at most so many of 0 to ``count`` - 1, evenly spread.

    >>> sample(100, 4).tolist()
    [12, 37, 62, 87]
    """
    if count <= most:
        return np.arange(count)
    return (2 * np.arange(most) + 1) * count // (2 * most)


def _expanded(ranges: Integers) -> Integers:
    """Return the pages of ranges (first, one past last), ascending, each once."""
    length = ranges[:, 1] - ranges[:, 0]
    before = np.cumsum(length) - length
    pages: Integers = np.repeat(ranges[:, 0] - before, length) + np.arange(int(length.sum()))
    return np.unique(pages)


class ContentMeter:
    """Measures the dirtied pages of one process, interval by interval."""

    def __init__(self) -> None:
        """Compile and allocate all that is needed, before the program starts."""
        self._copies, self._encoder = Copies(), Encoder()
        self._copies.prepare()
        self._buffer = np.ones((CHUNK, PAGE_SIZE // 8), np.uint64)
        self._intervals = self._failed = 0
        self._reading: list[float] = []
        page_hashes(self._buffer[:1], np.zeros(1, np.uint64))
        Copies().take(  # of nothing: only to have it compiled
            np.zeros(0, np.int64), self._buffer[:0], np.zeros(0, np.uint64), np.zeros(0, np.bool_),
            np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8),
        )  # fmt: skip

    @property
    def failures(self) -> dict[str, int]:
        """How many pages vanished between scan and reading; their bytes are not measured."""
        return {"failed_reads": self._failed}

    @property
    def about(self) -> dict[str, Any]:
        """How it was measured, for the trace's header; times in seconds."""
        seconds = np.array(self._reading or [0.0])
        return {
            "samples": SAMPLES,
            "checkpoint_intervals": CHECKPOINT_INTERVALS,
            "read_median": round(float(np.median(seconds)), 6),
            "read_max": round(float(seconds.max()), 6),
            "libraries": self._encoder.libraries,
        }

    def first_look(self, pid: int, ranges: Integers) -> None:
        """Copy the pages that are present before the first interval."""
        pages = _expanded(ranges)
        self._read(pid, pages, self._copies.slots(pages))
        self._copies.prepare(most=pages.size + 1)

    def take(self, pid: int, ranges: Integers) -> dict[str, Bytes]:
        """Return the content columns of one interval: a value per page of its ranges, ascending.

        Raises `ProcessLookupError` once the process has ended.
        """
        began = time.monotonic()
        if self._intervals % CHECKPOINT_INTERVALS == 0:
            self._copies.checkpoint()
        self._intervals += 1
        pages = _expanded(ranges)
        slots = self._copies.slots(pages)
        chosen = sample(pages.size)
        old = self._copies.latest(slots[chosen])
        new_to_us = ~self._copies.present(slots)
        changed, runs, zero = self._read(pid, pages, slots)
        self._reading.append(time.monotonic() - began)

        good = changed >= 0
        self._failed += int((~good).sum())
        flags = ZERO * zero + DUPLICATE * self._copies.duplicates(slots) + NEW * (good & new_to_us)
        old, chosen = old[good[chosen]], chosen[good[chosen]]
        measured = self._encoder.measure(
            old, self._copies.latest(slots[chosen]), self._copies.kept(slots[chosen])
        )
        columns = {"changed": code(changed), "runs": code(runs), "flags": flags.astype(np.uint8)}
        for name in SAMPLED:
            columns[name] = np.full(pages.size, NOT_MEASURED, np.uint8)
            columns[name][chosen] = code(measured[name])
        self._copies.prepare()
        return columns

    def _read(self, pid: int, pages: Integers, slots: Integers) -> tuple[Integers, Integers, Bytes]:
        changed, runs = np.zeros(pages.size, np.int64), np.zeros(pages.size, np.int64)
        zero, hashes = np.zeros(pages.size, np.uint8), np.zeros(CHUNK, np.uint64)
        for first in range(0, pages.size, CHUNK):
            part = slice(first, min(first + CHUNK, pages.size))
            good = read_pages(pid, pages[part], self._buffer)
            new, found = self._buffer[: good.size], hashes[: good.size]
            page_hashes(new, found)
            self._copies.take(slots[part], new, found, good, changed[part], runs[part], zero[part])
        return changed, runs, zero
