"""Single pages of a running process, of which any may vanish before it is read."""

from __future__ import annotations

import errno
from typing import Final

import numpy as np

from migsim._types import Bools, Integers, Words
from migsim.trace.recording._system import PAGE_SIZE, read_memory

__all__ = ["CHUNK", "read_pages"]

CHUNK: Final = 256
"""Pages to read at once: 1 MiB stays in the cache between reading it and looking at it."""


def _ranges(pages: Integers) -> Integers:
    """Return ascending page numbers as address ranges (start, length): neighbours cost one."""
    first = np.flatnonzero(np.diff(pages, prepend=-2) != 1)
    lengths = np.diff(first, append=pages.size)
    return np.stack([pages[first], lengths], axis=1) * PAGE_SIZE


def _copied(pid: int, ranges: Integers, buffer: int) -> int:
    """Return how many bytes could be copied."""
    try:
        return read_memory(pid, ranges, buffer)
    except OSError as error:
        if error.errno == errno.EFAULT:
            return 0
        raise


def read_pages(pid: int, pages: Integers, buffer: Words) -> Bools:
    """Read pages, given by their numbers, to the rows of ``buffer``; return which were there.

    Page numbers ascend, shape (n,); ``buffer`` is C-ordered with at least n rows. The row of a
    page that has vanished holds anything. Raises `ProcessLookupError` once the process has ended.
    """
    good = np.ones(pages.size, np.bool_)
    start = buffer.ctypes.data
    if not pages.size or _copied(pid, _ranges(pages), start) == pages.size * PAGE_SIZE:
        return good
    for row, page in enumerate(pages):  # rare: something was unmapped a moment ago
        good[row] = _copied(pid, _ranges(page.reshape(1)), start + row * PAGE_SIZE) == PAGE_SIZE
    return good
