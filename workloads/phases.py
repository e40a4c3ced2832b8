"""A guest that changes what it does: shifting working sets, bursts, sweeps of a collector."""

from __future__ import annotations

import functools
from dataclasses import dataclass
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
    make_workload,
    split_outside,
    workload_files,
)
from migsim.units import parse

_CYCLES = 1 << 40


@dataclass(frozen=True)
class _Phase:
    """One entry of the schedule: ``workload`` runs from ``start`` for ``seconds`` in each cycle."""

    start: float
    seconds: float
    workload: Workload

    def done(self, cycle: int, into: float) -> int:
        """Return the accesses made when ``into`` seconds of ``cycle`` have passed."""
        active = min(max(into - self.start, 0.0), self.seconds)
        return self.workload.index(cycle * self.seconds + active)


class _Schedule:
    """Phases one after another, round and round; each goes on where it stopped last time."""

    def __init__(self, phases: list[_Phase]) -> None:
        self._phases = phases
        self._cycle = phases[-1].start + phases[-1].seconds
        self.pages = max(phase.workload.pages for phase in phases)
        # Where the last call was. Only saves the search: it can always be found again.
        self._last = 0
        self._begun = functools.lru_cache(maxsize=4)(self._count_begun)

    def _count_begun(self, cycle: int) -> int:
        """Return the accesses made when ``cycle`` begins."""
        return sum(phase.done(cycle, 0.0) for phase in self._phases)

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time``."""
        cycle = max(0, int(guest_time // self._cycle))
        self._last, into = cycle, guest_time - cycle * self._cycle
        count = sum(phase.done(cycle, into) for phase in self._phases)
        # Sums of times are rounded: the times that are handed out decide.
        pages, times = np.empty(2, np.int64), np.empty(2, np.float64)
        while True:
            self.accesses(max(0, count - 1), pages, times)
            if count > 0 and times[0] >= guest_time:
                count -= 1
            elif times[min(count, 1)] < guest_time:
                count += 1
            else:
                return count

    def _cycle_of(self, first: int) -> int | None:
        """Return the cycle in which access ``first`` happens, or None if it never does."""
        for low in (self._last, self._last + 1):
            if self._begun(low) <= first < self._begun(low + 1):
                return low
        low, high = 0, 1
        while self._begun(high) <= first:
            low, high = high, 2 * high
            if high > _CYCLES:
                return None
        while low < high:
            middle = (low + high) // 2
            if self._begun(middle + 1) <= first:
                low = middle + 1
            else:
                high = middle
        return low

    def accesses(
        self, first: int, pages: npt.NDArray[np.int64], times: npt.NDArray[np.float64]
    ) -> None:
        """Fill in the accesses from ``first`` on."""
        filled = 0
        while filled < pages.size:
            cycle = self._cycle_of(first + filled)
            if cycle is None:
                pages[filled:], times[filled:] = 0, np.inf
                return
            self._last, number = cycle, self._begun(cycle)
            for phase in self._phases:
                begin = phase.done(cycle, 0.0)
                count = phase.done(cycle, self._cycle) - begin
                skip = max(0, first + filled - number)
                take = min(count - skip, pages.size - filled)
                if take > 0:
                    part = slice(filled, filled + take)
                    phase.workload.accesses(begin + skip, pages[part], times[part])
                    # From the workload's own time, which stands still in other phases.
                    times[part] += cycle * (self._cycle - phase.seconds) + phase.start
                    filled += take
                number += count


def _split(text: str) -> list[str]:
    return [entry for entry in split_outside(text, ";") if entry]


def _files(text: str) -> list[Path]:
    return [path for entry in _split(text) for path in workload_files(entry.partition(" ")[2])]


def phases(
    vm: VirtualMachine,
    seed: int,
    *,
    schedule: Annotated[str, NamesFiles(_files)] = (
        "8s hotcold(rate=5000, working_set=12%); "
        "8s hotcold(rate=5000, working_set=12%, offset=12%); "
        "1s sequential(rate=60000, working_set=50%)"
    ),
) -> Workload:
    """Runs workloads by a schedule, written ``SECONDS name(key=value, ...); SECONDS name(...)``.

    The schedule repeats; a workload goes on where it stopped in the cycle before. The default has
    a working set that shifts and a sweep over memory, like a garbage collector's.
    """
    entries, start = [], 0.0
    for k, entry in enumerate(_split(schedule)):
        seconds_text, _, text = entry.partition(" ")
        try:
            seconds = parse(seconds_text, "time")
        except InputError as error:
            raise InputError(f"workload 'phases': schedule: {error}") from None
        if not 0 < seconds < float("inf"):
            raise InputError(f"workload 'phases': schedule: '{entry}' needs a time above 0")
        entries.append(_Phase(start, seconds, make_workload(text, vm, child_seed(seed, k))))
        start += seconds
    if not entries:
        raise InputError("workload 'phases': schedule is empty, expected 'SECONDS name(...); ...'")
    return _Schedule(entries)
