"""Two classes of pages: the simplest locality."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from migsim import Steady, VirtualMachine, Workload, jit, random_unit
from migsim.units import Fraction, MemoryShare, PageRate


@jit
def _draw(
    seed: np.uint64,
    first: int,
    start: int,
    hot: int,
    cold: int,
    hot_probability: float,
    out: npt.NDArray[np.int64],
) -> None:
    for i in range(out.size):
        counter = 2 * (first + i)
        place = random_unit(seed, counter + 1)
        if random_unit(seed, counter) < hot_probability:
            out[i] = start + np.int64(place * hot)
        else:
            out[i] = start + hot + np.int64(place * cold)


def hotcold(
    vm: VirtualMachine,
    seed: int,
    *,
    working_set: MemoryShare | None = None,
    offset: MemoryShare = 0,
    rate: PageRate = 10_000.0,
    read_fraction: Fraction = 0.0,
    hot_fraction: Fraction = 0.1,
    hot_probability: Fraction = 0.9,
) -> Workload:
    """Goes to the hot start of the working set with ``hot_probability``, else to the rest.

    The first ``hot_fraction`` of the pages, one at least, is hot; within each class all pages are
    equally likely. ``working_set``
    defaults to a quarter of the memory.
    """
    start, count = vm.region(working_set, offset)
    hot = min(count, max(1, round(hot_fraction * count)))
    cold = count - hot
    stream = np.uint64(seed % 2**64)
    chance = hot_probability if cold else 1.0
    return Steady(
        pages=start + count,
        rate=rate,
        read_fraction=read_fraction,
        draw=lambda first, out: _draw(stream, first, start, hot, cold, chance, out),
    )
