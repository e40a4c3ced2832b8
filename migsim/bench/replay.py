"""Accesses replayed a second, beside a bare loop that sets the same random bits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from migsim._jit import jit
from migsim._types import Integers, Words
from migsim.bench.cases import WRITES_PER_SECOND, running
from migsim.bench.measure import best_prepared
from migsim.bench.rows import Row, Target
from migsim.build import make_workload
from migsim.machine import VirtualMachine
from migsim.migration import Migration
from migsim.pages import Pages
from migsim.units import GIB, format_size

__all__ = ["replay"]

_SHARE = Target(least=0.8, of_ratio=True)
_RATE = Target(least=150e6)


@jit
def set_bits(pages: Integers, words: Words) -> None:
    """Set the bit of each page: no drawing, no clock, no record but this; the memory's limit."""
    one = np.uint64(1)
    for i in range(pages.size):
        page = pages[i]
        words[page >> 6] |= one << np.uint64(page & 63)


def replay(quick: bool) -> Iterator[Row]:
    """Measure working sets from those that the first cache holds to those that none does."""
    sizes = (1, 16) if quick else (1, 16, 64, 256, 1024)
    accesses = 10_000_000 if quick else 50_000_000
    yield from rows([size * GIB for size in sizes], accesses, runs=3 if quick else 5)


def rows(working_sets: Sequence[int], accesses: int, *, runs: int) -> Iterator[Row]:
    """Measure guests that write uniformly all over their memory, of so many bytes each.

    Both sides begin with bits that nothing has touched, so both also meet the page faults of that,
    and both count in the end what is set: an engine that put it off would have to do it then.
    """
    for size in working_sets:
        yield from _rows(size, accesses, runs)


def _rows(working_set: int, accesses: int, runs: int) -> Iterator[Row]:
    vm = VirtualMachine(memory=working_set)
    pages = np.empty(accesses, np.int64)
    workload = make_workload("uniform(rate=10M, working_set=100%)", vm, 0)
    workload.accesses(0, pages, np.empty(accesses))

    counted: set[int] = set()

    def engine() -> Callable[[], object]:
        return functools.partial(_engine, running(working_set), accesses, counted)

    def bare() -> Callable[[], object]:
        return functools.partial(_bare, pages, Pages.none(vm.pages), counted)

    ours, limit = best_prepared(engine, bare, runs=runs)
    if len(counted) != 1:
        raise AssertionError(f"the engine and the bare loop have set {counted} bits")
    case = f"uniform in {format_size(working_set)}"
    for target, beside, reference in ((_SHARE, "bare loop", accesses / limit), (_RATE, "", None)):
        yield Row(
            section="replay",
            case=case,
            quantity="accesses beside the limit" if beside else "accesses of one core",
            value=accesses / ours,
            unit="1/s",
            beside=beside,
            reference=reference,
            target=target,
            details={"accesses": accesses},
        )


def _engine(migration: Migration, accesses: int, counted: set[int]) -> None:
    migration.wait(accesses / WRITES_PER_SECOND)
    counted.add(len(migration.peek_dirty()))


def _bare(pages: Integers, logged: Pages, counted: set[int]) -> None:
    set_bits(pages, logged.words)
    counted.add(len(logged | logged))  # copied before it is counted, as a look at the log is
