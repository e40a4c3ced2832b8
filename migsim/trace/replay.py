"""What a replayed recording says of bytes: what each write changes, and how pages compress."""

from __future__ import annotations

import functools

import numpy as np

from migsim._kernels.content import BLEND, BLENDS, FORCED
from migsim._types import Bytes, Floats, Integers
from migsim.codec_sizes import page_sizes
from migsim.content import PAGE_BYTES
from migsim.trace.content import NOT_MEASURED, decode
from migsim.trace.content_summary import summarize_content
from migsim.trace.format import Trace

__all__ = ["changes_of", "classes_of", "has_content", "spots_of"]

_MOST_SPOTS = 16  # beyond, writes to random places are nearly as good
_UNKNOWN = PAGE_BYTES | 1 << 16 | FORCED  # the page vanished before it was read


_KEPT = 8
"""Recordings whose summaries are kept: every guest of a fleet replays one of a few."""


def has_content(trace: Trace) -> bool:
    """Tell whether a recording says what its writes changed."""
    return {"changed", "runs", "size_lz4", "size_zstd"} <= set(trace.columns)


@functools.lru_cache(maxsize=_KEPT)
def changes_of(trace: Trace) -> Integers:
    """Return what each entry of ``trace.pages`` changes: int64, as kernels need it."""
    changed, runs = trace.columns["changed"], trace.columns["runs"]
    count = np.nan_to_num(np.round(decode(changed))).astype(np.int64)
    parts = np.nan_to_num(np.round(decode(runs))).astype(np.int64)
    parts = np.clip(parts, np.minimum(count, 1), np.maximum(count // 2, np.minimum(count, 1)))
    changes = np.where(count == 0, 0, count | parts << 16 | FORCED)
    return np.where(changed == NOT_MEASURED, _UNKNOWN, changes)


@functools.lru_cache(maxsize=_KEPT)
def spots_of(trace: Trace) -> int:
    """Return in how many places of a page its writes fall; 0 for any place.

    After k writes to one of S places each, S (1 - (1 - 1/S)^k) different ones were met: S is the
    number whose growth is next to what was recorded.
    """
    summary = summarize_content(trace)
    if summary is None or summary.growth == 0:
        return 0
    growth, writes = summary.growth, summary.growth_times
    spots = np.arange(1, _MOST_SPOTS + 1)
    expected = spots * (1.0 - (1.0 - 1.0 / spots) ** writes)
    best = int(np.argmin(np.abs(expected - growth)))
    return 0 if spots[best] == _MOST_SPOTS else int(spots[best])


@functools.lru_cache(maxsize=_KEPT)
def classes_of(trace: Trace) -> Bytes:
    """Return a class for each page: the blend that lz4 and zstd make as much of.

    uint8 of shape (pages,). What was not sampled is taken to be like a random page that was.
    """
    total = trace.pages_total
    lz4, zstd = (_mean_sizes(trace, name) for name in ("size_lz4", "size_zstd"))
    known = np.flatnonzero(np.isfinite(lz4) & np.isfinite(zstd))
    if not known.size:
        return np.full(total, BLEND, np.uint8)
    kinds = np.arange(BLEND, BLEND + len(BLENDS), dtype=np.uint8)
    of_blends = [page_sizes(name, 1, {})[kinds].mean(axis=1) for name in ("lz4", "zstd-1")]
    distance = sum(
        (sizes[known][:, None] - blend[None, :]) ** 2
        for sizes, blend in zip((lz4, zstd), of_blends, strict=True)
    )
    found = kinds[np.argmin(distance, axis=1)]
    draws = np.arange(total, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(11)
    classes: Bytes = found[(draws % np.uint64(known.size)).astype(np.int64)]
    classes[known] = found
    return classes


def _mean_sizes(trace: Trace, name: str) -> Floats:
    """Return the mean recorded size of each page, NaN where none was measured."""
    codes = trace.columns[name]
    measured = np.flatnonzero(codes != NOT_MEASURED)
    pages = trace.pages[measured]
    sums = np.bincount(pages, decode(codes[measured]), trace.pages_total)
    counts = np.bincount(pages, minlength=trace.pages_total)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)
