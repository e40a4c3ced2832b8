"""Counter-based random draws: draw j depends on the seed and j alone, never on a generator's state."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Floats, Integers

__all__ = ["mix64", "stamp_accesses", "unit"]


@jit
def mix64(seed: np.uint64, counter: int) -> np.uint64:
    """Return 64 random bits for ``counter`` under ``seed`` (SplitMix64, Steele et al., OOPSLA 2014)."""
    z = seed + np.uint64(counter + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def unit(seed: np.uint64, counter: int) -> float:
    """Return a uniform number in [0, 1) with 53 random bits for ``counter`` under ``seed``."""
    return np.float64(mix64(seed, counter) >> np.uint64(11)) * 1.1102230246251565e-16


@jit
def stamp_accesses(
    first: int, pages: Integers, times: Floats, interval: float, write_share: float
) -> None:
    """Give the accesses ``first``, ``first + 1``, ... their times, and mark the reads as ~page.

    Access j happens at ``(j + 0.5) * interval``. Writes are spread evenly among the accesses, so
    that any stretch of time holds the wanted share of them to within one.
    """
    for i in range(pages.size):
        j = first + i
        times[i] = (j + 0.5) * interval
        if np.floor((j + 1) * write_share) == np.floor(j * write_share):
            pages[i] = ~pages[i]
