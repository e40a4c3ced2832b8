"""Power-law popularity, as key-value stores show it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from migsim import (
    InputError,
    Steady,
    VirtualMachine,
    Workload,
    jit,
    portable_exp,
    portable_log,
    random_bits,
    random_unit,
    remainder,
)
from migsim.units import Fraction, MemoryShare, PageRate

_AT_ONCE = 512
"""Accesses that take one step together: short loops are vectors, and this many stay near."""


@jit
def _integral(x: float, exponent: float) -> float:
    """Return the integral of t^-exponent from 1 to x."""
    log = portable_log(x)
    t = (1.0 - exponent) * log
    if abs(t) < 1e-4:
        return log * (1.0 + t / 2.0 * (1.0 + t / 3.0 * (1.0 + t / 4.0)))
    return (portable_exp(t) - 1.0) / (1.0 - exponent)


@jit
def _inverse_log(y: float, exponent: float) -> float:
    """Return the logarithm of the x whose integral is y."""
    t = (1.0 - exponent) * y
    if abs(t) >= 1e-4:
        return portable_log(1.0 + t) / (1.0 - exponent)
    return y * (1.0 - t / 2.0 * (1.0 - 2.0 * t / 3.0 * (1.0 - 3.0 * t / 4.0)))


@jit
def _rank(seed: np.uint64, count: int, exponent: float, low: float, high: float) -> int:
    """Return a rank from 1 to ``count``, k with probability proportional to k^-exponent.

    Rejection-inversion (Hörmann and Derflinger, ACM TOMACS 6(3), 1996): exact, no table.
    """
    attempt = 0
    while True:
        y = low + random_unit(seed, attempt) * (high - low)
        x = portable_exp(_inverse_log(y, exponent))
        k = int(x + 0.5)
        k = 1 if k < 1 else count if k > count else k
        if y >= _integral(k + 0.5, exponent) - portable_exp(-exponent * portable_log(float(k))):
            return k
        attempt += 1


@jit
def _is_sure(k: int, x: float, y: float, exponent: float, bend: float) -> bool:
    """Return whether ``_rank`` is sure to take k, to which x rounds, by a test without powers.

    Of the numbers that round to k it turns down those within some r(k) of k - 1/2, with r(1) = 0
    and k^2 r(k) falling from k = 2 on, as the series of the integral over [k - 1/2, k + 1/2] shows.
    So x - (k - 1/2) > ``bend`` / k^2 suffices, but for rounding. That leaves x good to some 1e-15
    of itself, divided by x^(1 - ``exponent``) and, where `_inverse_log` divides by it, which near
    1 it never does, by 1 - ``exponent``; a hundred times that is kept away from.
    """
    power = min(max(1.0 + (1.0 - exponent) * y, 0.0), 1.0)
    apart = abs(1.0 - exponent)
    slack = 1e-13 / min(apart, 1.0) if apart > 1e-6 else 1e-13
    return (k == 1) | (((x - (k - 0.5)) * power - slack * k) * k * k > bend * power)


@jit
def _borders(count: int, exponent: float) -> tuple[float, float, float]:
    """Return the integrals between which ``_rank`` draws, and the ``bend`` of ``_is_sure``."""
    low = _integral(1.5, exponent)
    chance = portable_exp(-exponent * portable_log(2.0))
    bend = 4.0 * ((_integral(2.5, exponent) - low) / chance - 1.0)
    return low - 1.0, _integral(count + 0.5, exponent), bend


@jit
def _draw(
    seed: np.uint64,
    first: int,
    start: int,
    count: int,
    exponent: float,
    low: float,
    high: float,
    bend: float,
    stride: int,
    out: npt.NDArray[np.int64],
) -> None:
    inverse = 1.0 / count
    y, x = np.empty(_AT_ONCE), np.empty(_AT_ONCE)
    for begin in range(0, out.size, _AT_ONCE):
        some = out[begin : begin + _AT_ONCE]
        for i in range(some.size):
            y[i] = low + random_unit(random_bits(seed, first + begin + i), 0) * (high - low)
        for i in range(some.size):
            x[i] = _inverse_log(y[i], exponent)
        for i in range(some.size):
            x[i] = portable_exp(x[i])
        for i in range(some.size):
            k = min(max(int(x[i] + 0.5), 1), count)
            page = start + remainder((k - 1) * stride, count, inverse)
            some[i] = page if _is_sure(k, x[i], y[i], exponent, bend) else -1
    for i in range(out.size):
        if out[i] < 0:
            rank = _rank(random_bits(seed, first + i), count, exponent, low, high)
            out[i] = start + remainder((rank - 1) * stride, count, inverse)


def _scattering_stride(count: int) -> int:
    """Return a number coprime to ``count`` near its golden section, to part neighbours in rank."""
    stride = max(1, int(count * 0.6180339887498949))
    while math.gcd(stride, count) != 1:
        stride += 1
    return stride


def zipf(
    vm: VirtualMachine,
    seed: int,
    *,
    working_set: MemoryShare | None = None,
    offset: MemoryShare = 0,
    rate: PageRate = 10_000.0,
    read_fraction: Fraction = 0.0,
    exponent: float = 0.99,
    scatter: bool = True,
) -> Workload:
    """Picks the k-th most popular page of the working set with a chance like k^-exponent.

    0.99 is YCSB's exponent, 0 is uniform. ``scatter`` spreads popular pages over the working set,
    as a hash table does; without it they lie at its start. ``working_set`` defaults to a quarter
    of the memory.
    """
    if exponent < 0:
        raise InputError(f"workload 'zipf': exponent is {exponent}, expected 0 or more")
    start, count = vm.region(working_set, offset)
    stride = _scattering_stride(count) if scatter else 1
    stream = np.uint64(seed % 2**64)
    low, high, bend = _borders(count, exponent)
    return Steady(
        pages=start + count,
        rate=rate,
        read_fraction=read_fraction,
        draw=lambda first, out: _draw(
            stream, first, start, count, exponent, low, high, bend, stride, out
        ),
    )
