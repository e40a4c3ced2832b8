"""Several workloads in one guest at the same time."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from migsim import (
    InputError,
    NamesFiles,
    Steady,
    VirtualMachine,
    Workload,
    child_seed,
    jit,
    make_workload,
    split_outside,
    workload_files,
)

_FOREVER = 1e12
_NEAR = 1024
"""So many accesses are made and left out rather than looked for between."""
_BLOCK = 1 << 13
"""Accesses that a part makes at a time, at most."""


@jit
def _merge(
    some_pages: npt.NDArray[np.int64],
    some_times: npt.NDArray[np.float64],
    other_pages: npt.NDArray[np.int64],
    other_times: npt.NDArray[np.float64],
    pages: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
) -> tuple[int, int]:
    """Merge by time until one is used up or ``pages`` is full; return how many each gave.

    Of equal times the first comes first. Times are compared as whole numbers, which order those
    from 0 on alike, and without a branch, which a processor could not guess.
    """
    first, second = some_times.view(np.int64), other_times.view(np.int64)
    merged = times.view(np.int64)
    taken = other = 0
    while True:
        done = taken + other
        sure = min(first.size - taken, second.size - other, pages.size - done)
        if sure == 0:
            return taken, other
        for i in range(done, done + sure):
            a, b = first[np.uint64(taken)], second[np.uint64(other)]
            later = b < a
            merged[i] = b if later else a
            pages[i] = other_pages[np.uint64(other)] if later else some_pages[np.uint64(taken)]
            other += later
            taken += not later


class _Part:
    """What one part of a mix does next, made in blocks."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.enter(0)

    def enter(self, first: int) -> None:
        """Go on with access ``first``."""
        self._next = first
        self.pages, self.times = np.empty(0, np.int64), np.empty(0)

    def drop(self, count: int) -> None:
        """Leave ``count`` behind."""
        self.pages, self.times = self.pages[count:], self.times[count:]

    def fill(self, wanted: int) -> None:
        """Make more if all are used up: ``wanted``, or a block."""
        if self.pages.size == 0:
            size = min(wanted, _BLOCK)
            self.pages, self.times = np.empty(size, np.int64), np.empty(size)
            self.workload.accesses(self._next, self.pages, self.times)
            self._next += size


class _Mix:
    """The union of two sequences of accesses, in order of time."""

    def __init__(self, some: Workload, other: Workload) -> None:
        self._parts = _Part(some), _Part(other)
        self.pages = max(some.pages, other.pages)
        # Where the last call ended. Only saves the search: it can always be found again.
        self._next = 0

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time``."""
        return sum(part.workload.index(guest_time) for part in self._parts)

    def _enter(self, first: int) -> None:
        """Find how many of the first ``first`` accesses each part has made."""
        low, high = 0.0, 1.0
        while self.index(high) <= first and high < _FOREVER:
            low, high = high, 2.0 * high
        while first - self.index(low) > _NEAR:
            middle = (low + high) / 2.0
            if middle in {low, high}:
                break
            if self.index(middle) <= first:
                low = middle
            else:
                high = middle
        for part in self._parts:
            part.enter(part.workload.index(low))
        # All accesses before `low` are made; what is left follows, unless none is.
        left_out = first - self.index(low) if self.index(high) > first else 0
        self._fill(np.empty(left_out, np.int64), np.empty(left_out))

    def _fill(self, pages: npt.NDArray[np.int64], times: npt.NDArray[np.float64]) -> None:
        some, other = self._parts
        done = 0
        while done < pages.size:
            some.fill(pages.size)
            other.fill(pages.size)
            taken, given = _merge(
                some.pages, some.times, other.pages, other.times, pages[done:], times[done:]
            )
            some.drop(taken)
            other.drop(given)
            done += taken + given

    def accesses(
        self, first: int, pages: npt.NDArray[np.int64], times: npt.NDArray[np.float64]
    ) -> None:
        """Fill in the accesses from ``first`` on."""
        if self._next != first:
            self._enter(first)
        self._fill(pages, times)
        self._next = first + pages.size


def _files(text: str) -> list[Path]:
    return [path for part in split_outside(text, "+") for path in workload_files(part)]


def mix(
    vm: VirtualMachine,
    seed: int,
    *,
    parts: Annotated[str, NamesFiles(_files)] = (
        "hotcold(rate=8000, working_set=12%) + sequential(rate=2000, working_set=25%, offset=12%)"
    ),
) -> Workload:
    """Runs several workloads at once, written ``name(key=value, ...) + name(...)``.

    Each part has a seed of its own, so that two parts of one kind differ.
    """
    listed = split_outside(parts, "+")
    if not all(listed):
        raise InputError(f"workload 'mix': parts is '{parts}', expected 'name(...) + name(...)'")
    made = [make_workload(text, vm, child_seed(seed, k)) for k, text in enumerate(listed)]
    if len(made) == 1:
        made.append(Steady(pages=0, rate=0.0, read_fraction=0.0, draw=lambda first, pages: None))
    return functools.reduce(_Mix, made)
