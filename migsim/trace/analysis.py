"""The numbers that tell what a trace is like: rate, working set, skew."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from migsim._types import Floats, Integers
from migsim.trace.format import Trace

__all__ = ["WINDOWS", "TraceSummary", "WorkingSet", "summarize", "working_sets"]

WINDOWS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class WorkingSet(NamedTuple):
    """Distinct pages written in windows of one length, over all windows of the trace."""

    window: float
    """Length of the window in seconds."""
    mean: float
    median: float
    maximum: int


@dataclass(frozen=True)
class TraceSummary:
    """What ``trace info`` prints; times in seconds, rates per second, sizes in bytes."""

    duration: float
    intervals: int
    interval_median: float
    interval_max: float
    page_size: int
    pages: int
    """Pages the trace's indices run over, present or written."""
    pages_resident: int
    """Pages present when the recording began."""
    pages_written: int
    """Pages written at least once during the recording."""
    writes: int
    """Page dirtyings: the sum over intervals of distinct pages written."""
    dirty_rate: float
    """Pages dirtied per second at the recorded interval; a page counts once an interval."""
    dirty_bytes_per_second: float
    dirty_per_interval_median: float
    dirty_per_interval_max: int
    hottest_1_percent: float
    """Share of the dirtyings that hit the most often dirtied 1 % of all pages."""
    hottest_10_percent: float
    gini: float
    """Gini coefficient of dirtyings over all pages: 0 where all are alike, 1 where one has all."""
    written_once: float
    """Share of the written pages that were dirtied in one interval only."""
    working_sets: tuple[WorkingSet, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain dictionaries and lists, for JSON."""
        return asdict(self) | {"working_sets": [w._asdict() for w in self.working_sets]}


def _interval_of_each(trace: Trace) -> Integers:
    return np.repeat(np.arange(trace.counts.size), trace.counts)


def _previous(trace: Trace) -> Integers:
    """Return for each dirtying the interval in which its page was dirtied before, or -1.

    With this one sort, distinct pages in windows of any length are a comparison: a dirtying is
    its page's first in its window where the one before lies in an earlier window.
    """
    interval = _interval_of_each(trace)
    order = np.argsort(trace.pages, kind="stable")
    page, when = trace.pages[order], interval[order]
    before = np.full(page.size, -1, np.int64)
    same = page[1:] == page[:-1]
    before[1:][same] = when[:-1][same]
    result = np.empty_like(before)
    result[order] = before
    return result


def working_sets(trace: Trace, windows: tuple[float, ...] = WINDOWS) -> tuple[WorkingSet, ...]:
    """Return the working set W(tau) for each window length tau that the trace can tell.

    Windows are laid side by side, an interval belongs to the window that holds its middle, and a
    window that the trace does not fill is left out; so are lengths below the typical interval or
    above the duration, about which the trace says nothing.
    """
    if not trace.ends.size:
        return ()
    lengths = np.diff(trace.ends, prepend=0.0)
    middles = trace.ends - lengths / 2
    interval, previous = _interval_of_each(trace), _previous(trace)
    result = []
    for tau in windows:
        full = int((trace.duration + 0.01 * tau) // tau)
        if full < 1 or tau < 0.9 * float(np.median(lengths)):
            continue
        window = (middles // tau).astype(np.int64)
        before = np.where(previous >= 0, window[previous], -1)
        first = window[interval][window[interval] != before]
        distinct = np.bincount(first, minlength=full)[:full]
        result.append(
            WorkingSet(tau, float(distinct.mean()), float(np.median(distinct)), int(distinct.max()))
        )
    return tuple(result)


def density(trace: Trace, rows: int, columns: int) -> Floats:
    """Return, by band of pages and slice of time, the share of the band written per interval.

    Of shape (rows, columns) at most: a short trace has fewer.
    """
    n = max(1, trace.pages_total)
    rows, columns = min(rows, n), max(1, min(columns, trace.counts.size))
    interval = np.repeat(np.arange(trace.counts.size), trace.counts)
    column_of = (np.arange(trace.counts.size) * columns) // max(1, trace.counts.size)
    band = trace.pages.astype(np.int64) * rows // n
    hits = np.bincount(band * columns + column_of[interval], minlength=rows * columns)
    pages_in_band = np.bincount(np.arange(n) * rows // n, minlength=rows)
    intervals_in_column = np.bincount(column_of, minlength=columns)
    possible = pages_in_band[:, None] * np.maximum(1, intervals_in_column)[None, :]
    share: Floats = hits.reshape(rows, columns) / possible
    return share


def _share_of_hottest(sorted_writes: Integers, share: float) -> float:
    count = max(1, round(share * sorted_writes.size))
    return float(sorted_writes[-count:].sum() / max(1, int(sorted_writes.sum())))


def _gini(sorted_writes: Integers) -> float:
    """Return the Gini coefficient of ascending numbers, by its formula over ranks."""
    n, total = sorted_writes.size, int(sorted_writes.sum())
    if not total:
        return 0.0
    ranks: Floats = np.arange(1, n + 1, dtype=np.float64)
    return float(2 * (ranks * sorted_writes).sum() / (n * total) - (n + 1) / n)


def summarize(trace: Trace) -> TraceSummary:
    """Return the summary of a trace.

    Shares are over *all* pages, also those never written, since a migration sends those too.
    """
    lengths = np.diff(trace.ends, prepend=0.0)
    per_page = np.sort(np.bincount(trace.pages, minlength=trace.pages_total))
    written = int((per_page > 0).sum())
    rate = trace.pages.size / trace.duration if trace.duration else 0.0
    some = trace.counts.size > 0
    return TraceSummary(
        duration=trace.duration,
        intervals=trace.counts.size,
        interval_median=float(np.median(lengths)) if some else 0.0,
        interval_max=float(lengths.max()) if some else 0.0,
        page_size=trace.page_size,
        pages=trace.pages_total,
        pages_resident=trace.resident.size,
        pages_written=written,
        writes=trace.pages.size,
        dirty_rate=rate,
        dirty_bytes_per_second=rate * trace.page_size,
        dirty_per_interval_median=float(np.median(trace.counts)) if some else 0.0,
        dirty_per_interval_max=int(trace.counts.max()) if some else 0,
        hottest_1_percent=_share_of_hottest(per_page, 0.01),
        hottest_10_percent=_share_of_hottest(per_page, 0.10),
        gini=_gini(per_page),
        written_once=float((per_page == 1).sum() / max(1, written)),
        working_sets=working_sets(trace),
    )
