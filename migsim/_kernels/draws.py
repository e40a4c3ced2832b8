"""Counter-based random draws: draw j depends on the seed and j alone, on no generator's state."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Floats, Integers

__all__ = [
    "portable_exp",
    "portable_log",
    "random_bits",
    "random_unit",
    "remainder",
    "stamp_accesses",
]


@jit
def random_bits(seed: np.uint64, counter: int) -> np.uint64:
    """Return 64 random bits for ``counter`` (SplitMix64, Steele et al., OOPSLA 2014)."""
    z = seed + np.uint64(counter + 1) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@jit
def random_unit(seed: np.uint64, counter: int) -> float:
    """Return a uniform number in [0, 1) with 53 random bits for ``counter`` under ``seed``."""
    return np.float64(random_bits(seed, counter) >> np.uint64(11)) * 1.1102230246251565e-16


@jit
def portable_exp(x: float) -> float:
    """Return e to the power x to about 1e-15, the same bits on every machine.

    The C library's exp differs between versions and processors; sums and products do not.
    """
    k = np.floor(x * 1.4426950408889634 + 0.5)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    term = 1.6059043836821613e-10  # 1 / 13!, and so on down to 1 / 0!
    term = 2.08767569878681e-09 + term * r
    term = 2.505210838544172e-08 + term * r
    term = 2.755731922398589e-07 + term * r
    term = 2.7557319223985893e-06 + term * r
    term = 2.48015873015873e-05 + term * r
    term = 0.0001984126984126984 + term * r
    term = 0.001388888888888889 + term * r
    term = 0.008333333333333333 + term * r
    term = 0.041666666666666664 + term * r
    term = 0.16666666666666666 + term * r
    term = 0.5 + term * r
    term = 1.0 + term * r
    term = 1.0 + term * r
    # term * 2^k in two steps, each an exact power of two: what ldexp returns, but vectors have it.
    power = np.int64(min(max(k, -2000.0), 2000.0))
    half = power >> 1
    term *= np.int64((half + 1023) << 52).view(np.float64)
    return term * np.int64((power - half + 1023) << 52).view(np.float64)


@jit
def portable_log(x: float) -> float:
    """Return the natural logarithm of x > 0 to about 1e-15, the same bits on every machine.

    ``x`` is neither subnormal nor infinite; what rounding leaves at 0 gets a number too.
    """
    # frexp by the bits, which vectors can do: x = mantissa * 2^exponent, mantissa in [0.5, 1).
    bits = np.float64(x).view(np.int64)
    exponent = ((bits >> 52) & 0x7FF) - 1022
    mantissa = np.int64((bits & ~(0x7FF << 52)) | (1022 << 52)).view(np.float64)
    if x == 0.0:
        mantissa, exponent = np.float64(0.0), np.int64(0)
    if mantissa < 0.7071067811865476:
        mantissa *= 2.0
        exponent -= 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square = s * s
    series = 0.043478260869565216  # 1 / 23, and so on down to 1 / 1
    series = 0.047619047619047616 + square * series
    series = 0.05263157894736842 + square * series
    series = 0.058823529411764705 + square * series
    series = 0.06666666666666667 + square * series
    series = 0.07692307692307693 + square * series
    series = 0.09090909090909091 + square * series
    series = 0.1111111111111111 + square * series
    series = 0.14285714285714285 + square * series
    series = 0.2 + square * series
    series = 0.3333333333333333 + square * series
    series = 1.0 + square * series
    return 2.0 * s * series + exponent * 0.6931471805599453


@jit
def remainder(number: int, count: int, inverse: float) -> int:
    """Return ``number % count``, given ``inverse`` = 1 / ``count``; vectors have no division.

    Exact where the quotient is below 2^50: rounding then moves it by one at most.
    """
    rest = number - int(np.floor(number * inverse)) * count
    rest += count if rest < 0 else 0
    return rest - (count if rest >= count else 0)


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
