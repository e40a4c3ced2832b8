"""Random access without locality."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from migsim import Steady, VirtualMachine, Workload, jit, random_unit
from migsim.units import Fraction, MemoryShare, PageRate


@jit
def _draw(seed: np.uint64, first: int, start: int, count: int, out: npt.NDArray[np.int64]) -> None:
    for i in range(out.size):
        out[i] = start + np.int64(random_unit(seed, first + i) * count)


def uniform(
    vm: VirtualMachine,
    seed: int,
    *,
    working_set: MemoryShare | None = None,
    offset: MemoryShare = 0,
    rate: PageRate = 10_000.0,
    read_fraction: Fraction = 0.0,
) -> Workload:
    """Picks each page from the working set with equal chance.

    In t seconds it dirties W (1 - exp(-rate t / W)) of the W pages. ``working_set`` defaults to a
    quarter of the memory.
    """
    start, count = vm.region(working_set, offset)
    stream = np.uint64(seed % 2**64)
    return Steady(
        pages=start + count,
        rate=rate,
        read_fraction=read_fraction,
        draw=lambda first, out: _draw(stream, first, start, count, out),
    )
