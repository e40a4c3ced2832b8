"""What a trace may say about bytes: the content columns of a recording, and their one-byte codes.

Each column holds one uint8 per entry of ``Trace.pages``: what was found when the page was read
after the interval. Counts and sizes of 0 to 4096 bytes are stored as codes of a logarithmic scale,
so that traces stay small enough to be kept: a code is off by at most 1.7 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from migsim._types import Bytes, Floats

__all__ = [
    "CHECKPOINT_INTERVALS",
    "COLUMNS",
    "DUPLICATE",
    "NEW",
    "NOT_MEASURED",
    "SAMPLED",
    "SAMPLES",
    "SIZES",
    "ZERO",
    "checkpoint_intervals",
    "code",
    "decode",
    "problem_of",
]

SIZES: Final = {
    "size_xbzrle": "XBZRLE against the previous copy; a whole page where it does not fit one",
    "size_lz4": "LZ4 block, default speed, without stored size",
    "size_zlib": "zlib, level 1",
    "size_zstd": "Zstandard, level 1, a frame without checksum and content size",
    "size_delta_zstd": "the same of the page XOR its previous copy",
}
"""Columns with bytes that a codec makes of the page, as coded sizes."""

SAMPLED: Final = SIZES | {
    "changed_since": "bytes that differ from the copy at the last checkpoint, as a code",
}
"""Columns that only some entries of an interval have; the others are `NOT_MEASURED`."""

COLUMNS: Final = {
    "changed": "bytes that differ from the copy at the page's previous look, as a code",
    "runs": "runs of consecutive differing bytes, as a code",
    "flags": "a sum of ZERO, DUPLICATE and NEW",
} | SAMPLED
"""The content columns of a recording, and what they say."""

ZERO: Final = 1
"""Flag: all bytes of the page are zero now."""
DUPLICATE: Final = 2
"""Flag: another page that was seen so far has the same content now."""
NEW: Final = 4
"""Flag: there was no earlier copy, so it was compared with zeros, as fresh memory is."""

NOT_MEASURED: Final = 255
SAMPLES: Final = 64
"""Entries per interval at most that have the sampled columns: codecs are slower than memory."""
CHECKPOINT_INTERVALS: Final = 10
"""A checkpoint lies before the first interval and after every so many."""

_LARGEST: Final = 254


def _scale() -> Floats:
    steps = np.arange(_LARGEST) / (_LARGEST - 1)
    # Rounded, because the last bit of a power may differ between machines, and results must not.
    values: Floats = np.round(2.0 ** (12 * steps), 3)
    return values


_VALUES: Final[Floats] = np.concatenate([[0.0], _scale(), [np.nan]])
_LIMITS: Final[Floats] = np.sqrt(_VALUES[1:_LARGEST] * _VALUES[2 : _LARGEST + 1])


def code(values: npt.ArrayLike) -> Bytes:
    """Return the one-byte codes of counts or sizes: of the same shape, uint8.

    0 is 0, code k in 1 to 254 stands for 2^(12 (k - 1) / 253), which is 1 to 4096; values above
    4096 are taken as that, and negative ones as not measured (255).

    >>> code([0, 1, 2, 100, 4096, 5000, -1])
    array([  0,   1,  22, 141, 254, 254, 255], dtype=uint8)
    """
    given = np.asarray(values)
    found = np.searchsorted(_LIMITS, given, side="right") + 1
    return np.where(given < 0, NOT_MEASURED, np.where(given == 0, 0, found)).astype(np.uint8)


def decode(codes: Bytes) -> Floats:
    """Return what codes stand for: float64 of the same shape, NaN where nothing was measured.

    >>> decode(np.array([0, 1, 22, 141, 254, 255], np.uint8)).tolist()
    [0.0, 1.0, 1.995, 99.755, 4096.0, nan]
    """
    values: Floats = _VALUES[codes]
    return values


def problem_of(columns: Mapping[str, npt.NDArray[Any]], entries: int) -> str | None:
    """Return what is wrong with the content columns of a trace with so many entries, or nothing.

    A file may have only some of them, and others besides, which are not looked at.
    """
    for name in COLUMNS:
        values = columns.get(name)
        if values is None:
            continue
        if values.dtype != np.uint8:
            return f"has column {name!r} of type {values.dtype}, not of one byte"
        if values.size != entries:
            return f"has {values.size} values in column {name!r} for {entries} page entries"
    return None


def checkpoint_intervals(meta: Mapping[str, Any]) -> int:
    """Return after how many intervals each a checkpoint was taken, from a trace's header."""
    about = meta.get("content")
    found = about.get("checkpoint_intervals") if isinstance(about, Mapping) else None
    return found if isinstance(found, int) and found >= 1 else CHECKPOINT_INTERVALS
