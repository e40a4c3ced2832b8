"""The predictor for QEMU by A. Gudkov: iterations over a measured curve of dirtied pages."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from migsim.peers.case import Case, Forecast

__all__ = ["PERIODS", "gudkov", "iterate"]

PERIODS = (
    0.125, 0.25, 0.375, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 25.0, 30.0,
    35.0, 40.0, 45.0, 50.0, 60.0,
)  # fmt: skip
"""Seconds for which calc-dirty-rate counts dirtied pages, each time from a clean state."""
_HEADER = 8
_DEADLINE = 3600.0


def gudkov(case: Case) -> Forecast:
    """A. Gudkov, "Migration time prediction using calc-dirty-rate", qemu-devel, v2, 2023-04-27.

    QEMU counts the pages that are dirtied within 22 periods; here they are counted without the
    noise of sampling. See `iterate` for the prediction.
    """
    return iterate(
        pages=case.memory // case.page_size,
        zero_pages=case.zero_pages,
        periods=PERIODS,
        dirtied=[case.dirtied(period) for period in PERIODS],
        rate=case.rate,
        max_downtime=case.downtime_limit,
        page_size=case.page_size,
    )


def iterate(
    *, pages: float, zero_pages: float, periods: Sequence[float], dirtied: Sequence[float],
    rate: float, max_downtime: float, page_size: int = 4096,
) -> Forecast:  # fmt: skip
    """Return what comes of sending rounds until one takes no longer than ``max_downtime``.

    Pages dirtied within a round's time are read off lines between the measured points; before the
    first and after the last the nearest line goes on, from no page to all that hold data. Pages
    of zeros are a header of 8 bytes, and only in the first round. It is said not to converge where
    an hour is not enough.
    """
    most = pages - zero_pages
    normal, empty = most, zero_pages
    seconds, sent, rounds = 0.0, 0.0, 0
    while True:
        size = normal * (page_size + _HEADER) + empty * _HEADER
        took = size / rate
        seconds, sent = seconds + took, sent + size
        if seconds > _DEADLINE:
            return Forecast(converged=False)
        if took <= max_downtime:
            break
        rounds += 1
        dirty = _on_lines(periods, dirtied, took, most)
        if rounds > 1 and dirty >= normal:  # rounds that do not shrink never fit
            return Forecast(converged=False)
        normal, empty = dirty, 0.0
    return Forecast(seconds=seconds, downtime=took, sent=sent, rounds=rounds, converged=True)


def _on_lines(times: Sequence[float], values: Sequence[float], at: float, most: float) -> float:
    lines = list(pairwise(zip(times, values, strict=True)))
    (begin, low), (end, high) = lines[min(max(bisect_right(times, at) - 1, 0), len(lines) - 1)]
    value = low + (high - low) * (at - begin) / (end - begin)
    return min(max(value, 0.0), most)
