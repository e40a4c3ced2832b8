"""The numbers that tell what a recorded program does to the bytes of its pages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from migsim._types import Bools, Bytes, Floats, Integers
from migsim.trace.content import (
    DUPLICATE,
    NEW,
    NOT_MEASURED,
    SIZES,
    ZERO,
    checkpoint_intervals,
    decode,
)
from migsim.trace.format import Trace

__all__ = ["ContentSummary", "summarize_content"]


@dataclass(frozen=True)
class ContentSummary:
    """What ``trace info`` prints of the content columns; an entry is a page in an interval.

    A mean over nothing is 0. Means of sampled columns weigh an entry by how many of its interval
    it stands for.
    """

    measured: int
    """Entries whose page could be read and compared."""
    sampled: int
    """Entries whose page was also encoded."""
    silent: float
    """Share of the measured entries that were written without a byte changing."""
    new: float
    """Share of those that were compared with zeros, for lack of an earlier copy."""
    zero: float
    """Share of those that are all zeros afterwards."""
    duplicate: float
    """Share of those that afterwards equal another page and are not zeros."""
    changed_mean: float
    """Bytes changed per entry in which any did."""
    changed_median: float
    runs_mean: float
    """Runs of consecutive changed bytes, per entry with any."""
    sizes: dict[str, float]
    """Mean encoded size by codec, as a share of a page."""
    growth: float
    """Bytes changed since the checkpoint over bytes changed in the interval, for pages dirtied
    twice or more since the checkpoint: near 1 where the same bytes are written again."""
    growth_times: float
    """How often the pages that `growth` is about were dirtied: its value if all bytes differed."""

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain dictionaries, for JSON."""
        return asdict(self)


def _mean(values: Floats, weights: Floats | None = None) -> float:
    return float(np.average(values, weights=weights)) if values.size else 0.0


def _weights(sampled: Bools, interval: Integers) -> Floats:
    """Return for each sampled entry how many entries of its interval it stands for."""
    entries = np.bincount(interval)
    weight = entries / np.maximum(1, np.bincount(interval[sampled], minlength=entries.size))
    result: Floats = weight[interval[sampled]]
    return result


def times_since_checkpoint(trace: Trace, interval: Integers) -> Integers:
    """Return how often each entry's page was dirtied since the checkpoint, this time included."""
    span = interval // checkpoint_intervals(trace.meta)
    key = span * max(1, trace.pages_total) + trace.pages
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    lengths = np.diff(starts, append=key.size)
    times = np.empty(key.size, np.int64)
    times[order] = np.arange(key.size) - np.repeat(starts, lengths) + 1
    return times


def _growth(trace: Trace, interval: Integers, since: Bytes, changed: Bytes) -> tuple[float, float]:
    times = times_since_checkpoint(trace, interval)
    sampled = (since != NOT_MEASURED) & (changed != NOT_MEASURED)
    again = times[sampled] >= 2
    if not again.any():
        return 0.0, 0.0
    weights = _weights(sampled, interval)[again]
    then, now = decode(since[sampled][again]), decode(changed[sampled][again])
    usual = float((now * weights).sum())
    growth = float((then * weights).sum()) / usual if usual else 0.0
    return growth, _mean(times[sampled][again].astype(np.float64), weights)


def summarize_content(trace: Trace) -> ContentSummary | None:
    """Return the summary of a trace's content columns, or nothing where it has none."""
    columns = trace.columns
    if not {"changed", "runs", "flags"} <= columns.keys():
        return None
    interval = np.repeat(np.arange(trace.counts.size), trace.counts)
    known = columns["changed"] != NOT_MEASURED
    changed, runs = decode(columns["changed"][known]), decode(columns["runs"][known])
    flags = columns["flags"][known]
    some = changed > 0
    sizes: dict[str, float] = {}
    sampled = 0
    for name in SIZES:
        if name in columns:
            there = columns[name] != NOT_MEASURED
            sampled = max(sampled, int(there.sum()))
            values = decode(columns[name][there]) / trace.page_size
            sizes[name.removeprefix("size_")] = _mean(values, _weights(there, interval))
    growth, times = 0.0, 0.0
    if "changed_since" in columns:
        growth, times = _growth(trace, interval, columns["changed_since"], columns["changed"])
    return ContentSummary(
        measured=int(known.sum()),
        sampled=sampled,
        silent=_mean((~some).astype(np.float64)),
        new=_mean((flags & NEW != 0).astype(np.float64)),
        zero=_mean((flags & ZERO != 0).astype(np.float64)),
        duplicate=_mean((flags & (ZERO | DUPLICATE) == DUPLICATE).astype(np.float64)),
        changed_mean=_mean(changed[some]),
        changed_median=float(np.median(changed[some])) if some.any() else 0.0,
        runs_mean=_mean(runs[some]),
        sizes=sizes,
        growth=growth,
        growth_times=times,
    )
