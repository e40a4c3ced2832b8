"""What a guest does to its memory: a deterministic sequence of accesses, entered anywhere.

Access j depends only on the workload's parameters, its seed and j, never on a generator's state.
So how time is cut cannot change the guest, every algorithm meets the same guest, and a throttled
or paused guest is the same sequence under a slower clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from migsim._kernels.draws import stamp_accesses
from migsim._types import Floats, Integers
from migsim.errors import InputError

__all__ = ["Draw", "Steady", "Sweep", "Workload", "sweep_of"]


@runtime_checkable
class Workload(Protocol):
    """The accesses of a guest, numbered 0, 1, 2, ... in order of guest time.

    Attributes:
        pages: all accesses touch pages below this.
    """

    pages: int

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time`` seconds; nondecreasing."""
        ...

    def accesses(self, first: int, pages: Integers, times: Floats) -> None:
        """Write down the accesses ``first``, ``first + 1``, ... to fill both arrays.

        ``pages`` (int64) gets p for a write to page p and ~p for a read of it, ``times`` (float64)
        the guest seconds, nondecreasing; infinity where there are no further accesses.
        """
        ...


_MOST_PER_SECOND = 1e10

Draw = Callable[[int, Integers], None]
"""Fills an array with the pages of the accesses ``first``, ``first + 1``, ..."""


class Sweep(NamedTuple):
    """Writes of ``pages`` pages in order, round and round, at equal distances in time.

    Access j is a write of page ``start + (phase + j) % pages`` at ``(j + 0.5) * interval`` guest
    seconds.
    """

    start: int
    pages: int
    phase: int
    interval: float


class Steady:
    """Accesses at a constant rate, evenly spaced in guest time, their pages drawn by one rule.

    Attributes:
        interval: guest seconds between two accesses; access j happens at ``(j + 0.5) * interval``.
        only_writes: whether none of them is a read.
        draw: fills in their pages, as if all were writes.
        sweep: what the accesses are in closed form, where they are a sweep; else None. What a
            workload offers as ``sweep`` must be what its ``accesses`` are.
    """

    def __init__(
        self,
        *,
        pages: int,
        rate: float,
        read_fraction: float,
        draw: Draw,
        sweep_from: tuple[int, int, int] | None = None,
    ) -> None:
        """Make ``rate`` page writes per second, and reads that are ``read_fraction`` of all.

        ``sweep_from`` are start, pages and phase of a `Sweep`, if ``draw`` makes one of the writes.
        Raises `InputError` for a ``read_fraction`` of 1, which no write rate can give, and for
        rates that no machine has.
        """
        if read_fraction >= 1:
            raise InputError(
                f"workload: read_fraction is {read_fraction}, expected less than 1 "
                "(rate counts the writes)"
            )
        if not rate <= _MOST_PER_SECOND:
            raise InputError(
                f"workload: rate is {rate:g} pages per second, expected at most "
                f"{_MOST_PER_SECOND:g}: no memory is written faster"
            )
        self.pages = pages
        self.draw = draw
        self.only_writes = not read_fraction
        self._write_share = 1.0 - read_fraction
        self.interval = self._write_share / rate if rate > 0 else math.inf
        self.sweep: Sweep | None = None
        if math.isinf(self.interval):  # an access that never comes
            self.sweep = Sweep(0, 1, 0, math.inf)
        elif sweep_from is not None and not read_fraction:
            self.sweep = Sweep(*sweep_from, self.interval)

    def index(self, guest_time: float) -> int:
        """Return how many accesses happen before ``guest_time``."""
        if math.isinf(self.interval) or guest_time <= 0:
            return 0
        count = max(0, math.ceil(guest_time / self.interval - 0.5))
        while count > 0 and (count - 0.5) * self.interval >= guest_time:
            count -= 1
        while (count + 0.5) * self.interval < guest_time:
            count += 1
        return count

    def accesses(self, first: int, pages: Integers, times: Floats) -> None:
        """Fill in the accesses from ``first`` on."""
        if math.isinf(self.interval):
            pages.fill(0)
            times.fill(np.inf)
            return
        self.draw(first, pages)
        stamp_accesses(first, pages, times, self.interval, self._write_share)


def sweep_of(workload: Workload) -> Sweep | None:
    """Return what the accesses of ``workload`` are in closed form; None where that is not known.

    Raises `InputError` for one that leaves the workload's pages.
    """
    sweep = getattr(workload, "sweep", None)
    own = isinstance(workload, Steady) and type(workload).accesses is not Steady.accesses
    if not isinstance(sweep, Sweep) or own:
        return None
    last = sweep.start + sweep.pages - 1
    if sweep.start < 0 or sweep.pages < 1 or last >= max(1, workload.pages) or sweep.phase < 0:
        raise InputError(
            f"workload: sweep is {tuple(sweep)}, expected one of pages below {workload.pages}"
        )
    return sweep
