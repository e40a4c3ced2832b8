"""Sweeps: the linear writer of many models, and of guestperf's stress program."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from migsim import Steady, VirtualMachine, Workload, jit, random_bits, remainder
from migsim.units import Fraction, MemoryShare, PageRate


@jit
def _draw(
    first: int, start: int, count: int, write_share: float, phase: int, out: npt.NDArray[np.int64]
) -> None:
    inverse = 1.0 / count
    for i in range(out.size):
        j = first + i
        writes = int(np.floor(j * write_share))
        is_write = np.floor((j + 1) * write_share) > writes
        number = writes if is_write else j - writes
        out[i] = start + remainder(number + phase, count, inverse)


def sequential(
    vm: VirtualMachine,
    seed: int,
    *,
    working_set: MemoryShare | None = None,
    offset: MemoryShare = 0,
    rate: PageRate = 10_000.0,
    read_fraction: Fraction = 0.0,
    start: Fraction | None = None,
) -> Workload:
    """Writes the pages of the working set in order, round and round.

    In t seconds it dirties min(rate t, W) of the W pages. Reads make a sweep of their own.
    ``start`` tells how far a sweep has come; by default the seed chooses it (seed 0: a sweep
    begins). ``working_set`` defaults to a quarter of the memory.
    """
    first_page, count = vm.region(working_set, offset)
    phase = int(random_bits(np.uint64(seed % 2**64), 0) % np.uint64(count)) if seed else 0
    if start is not None:
        phase = int(start * count) % count
    return Steady(
        pages=first_page + count,
        rate=rate,
        read_fraction=read_fraction,
        draw=lambda first, out: _draw(first, first_page, count, 1.0 - read_fraction, phase, out),
    )
