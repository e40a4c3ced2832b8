"""Several workloads in one guest at the same time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt

from migsim import (
    InputError,
    NamesFiles,
    VirtualMachine,
    Workload,
    child_seed,
    jit,
    make_workload,
    split_outside,
    workload_files,
)

_FOREVER = 1e12


@jit
def _merge(
    part_pages: npt.NDArray[np.int64],
    part_times: npt.NDArray[np.float64],
    taken: npt.NDArray[np.int64],
    pages: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
) -> None:
    """Merge the rows by time, earlier rows first where times are equal; count what each gave."""
    for i in range(pages.size):
        best = 0
        for k in range(1, taken.size):
            if part_times[k, taken[k]] < part_times[best, taken[best]]:
                best = k
        pages[i] = part_pages[best, taken[best]]
        times[i] = part_times[best, taken[best]]
        taken[best] += 1


class _Mix:
    """The union of several sequences of accesses, in order of time."""

    def __init__(self, parts: list[Workload]) -> None:
        self._parts = parts
        self.pages = max(part.pages for part in parts)
        # Where the last call ended. Only saves the search: it can always be found again.
        self._resume = (0, np.zeros(len(parts), np.int64))

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time``."""
        return sum(part.index(guest_time) for part in self._parts)

    def _position(self, first: int) -> npt.NDArray[np.int64]:
        """Return how many of the first ``first`` accesses each part has made."""
        low, high = 0.0, 1.0
        while self.index(high) <= first and high < _FOREVER:
            low, high = high, 2.0 * high
        while True:
            middle = (low + high) / 2.0
            if middle in {low, high}:
                break
            if self.index(middle) <= first:
                low = middle
            else:
                high = middle
        # All accesses before `low` are counted; what is left happens at `low` itself.
        counts = np.array([part.index(low) for part in self._parts], np.int64)
        for k, part in enumerate(self._parts):
            ties = part.index(np.nextafter(low, math.inf)) - int(counts[k])
            counts[k] += min(ties, first - int(counts.sum()))
        return counts

    def accesses(
        self, first: int, pages: npt.NDArray[np.int64], times: npt.NDArray[np.float64]
    ) -> None:
        """Fill in the accesses from ``first`` on."""
        known, counts = self._resume
        if known != first:
            counts = self._position(first)
        shape = (len(self._parts), pages.size + 1)
        part_pages, part_times = np.empty(shape, np.int64), np.empty(shape, np.float64)
        for k, part in enumerate(self._parts):
            part.accesses(int(counts[k]), part_pages[k], part_times[k])
        taken = np.zeros(len(self._parts), np.int64)
        _merge(part_pages, part_times, taken, pages, times)
        self._resume = (first + pages.size, counts + taken)


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
    return _Mix([make_workload(text, vm, child_seed(seed, k)) for k, text in enumerate(listed)])
