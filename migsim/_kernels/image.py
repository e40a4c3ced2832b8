"""Whole memories: filling one at the start, and comparing two at the end."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import bit_of
from migsim._kernels.content import fill_page, group_of, is_zero
from migsim._kernels.encoding import Memory
from migsim._types import Bytes, Words

__all__ = ["count_zero", "differing_pages", "fill_memory"]


@jit
def fill_memory(memory: Memory, nonzero: Words) -> None:
    """Write what the pages of ``nonzero`` hold at the start; the others stay zeros."""
    m = memory.state[0]
    for page in range(memory.here.shape[0]):
        if nonzero[page >> 6] & bit_of(page) != 0:
            group = group_of(m.seed, page, m.first_duplicate, m.duplicate_share, m.duplicate_groups)
            kind = int(np.int64(memory.classes[page]))
            words = memory.here[page].view(np.uint64)
            fill_page(m.seed, kind, page, group, words)


@jit
def differing_pages(truth: Bytes, copy: Bytes, found: Words) -> None:
    """Set in ``found`` the bits of the pages of which any byte differs."""
    for page in range(truth.shape[0]):
        ours, theirs = truth[page].view(np.uint64), copy[page].view(np.uint64)
        for place in range(ours.size):
            if ours[place] != theirs[place]:
                found[page >> 6] |= bit_of(page)
                break


@jit
def count_zero(pages: Bytes) -> int:
    """Return how many of ``pages`` hold only zeros."""
    count = 0
    for page in range(pages.shape[0]):
        count += is_zero(pages[page].view(np.uint64))
    return count
