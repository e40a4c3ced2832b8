"""XBZRLE in NumPy: what the kernel is measured against.

The same encoding of whole batches of pages at once, with a fixed number of array operations. As in
the kernel, only words that differ are looked at byte by byte.
"""

from __future__ import annotations

import numpy as np

from migsim._types import Bytes, Integers

__all__ = ["encode"]

BATCH = 256
"""Pages at a time: what is in between stays in the second-level cache."""


def encode(old: Bytes, new: Bytes) -> tuple[Bytes, Integers]:
    """Return the encoded pages behind one another, and the size of each; none may overflow.

    ``old`` and ``new`` are uint8 of shape (pages, page size).
    """
    batches = [
        _encode_batch(old[first : first + BATCH], new[first : first + BATCH])
        for first in range(0, len(new), BATCH)
    ]
    data, sizes = zip(*batches, strict=True)
    return np.concatenate(data), np.concatenate(sizes)


def _encode_batch(old: Bytes, new: Bytes) -> tuple[Bytes, Integers]:
    pages, page_bytes = new.shape
    before, after = old.reshape(-1), new.reshape(-1)
    words = np.flatnonzero(before.view(np.uint64) != after.view(np.uint64))
    differs = before.reshape(-1, 8)[words] != after.reshape(-1, 8)[words]
    changed = (words[:, None] * 8 + np.arange(8))[differs]
    if not changed.size:
        return np.empty(0, np.uint8), np.zeros(pages, np.int64)
    begins = np.empty(changed.size, np.bool_)
    begins[0] = True
    begins[1:] = (np.diff(changed) != 1) | (changed[1:] % page_bytes == 0)
    first = np.flatnonzero(begins)
    starts, lengths = changed[first], np.diff(first, append=changed.size)
    page = starts // page_bytes
    gaps = starts - page * page_bytes
    follows = np.flatnonzero(page[1:] == page[:-1]) + 1
    gaps[follows] = starts[follows] - (starts + lengths)[follows - 1]
    gap_room, length_room = 1 + (gaps > 127), 1 + (lengths > 127)
    room = gap_room + length_room + lengths
    ends = np.cumsum(room)
    out = np.empty(ends[-1], np.uint8)
    at = ends - room
    _put(out, at, gaps)
    _put(out, at + gap_room, lengths)
    out[np.arange(changed.size) + np.repeat(ends - lengths - first, lengths)] = after[changed]
    return out, np.bincount(page, room, pages).astype(np.int64)


def _put(out: Bytes, at: Integers, lengths: Integers) -> None:
    """Write lengths of one or two bytes to their places."""
    long = np.flatnonzero(lengths > 127)
    out[at] = lengths & 127
    out[at[long]] |= 128
    out[at[long] + 1] = lengths[long] >> 7
