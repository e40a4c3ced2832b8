"""The sets of pages that describe a guest, and what a write and a departure change in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import ALL
from migsim._kernels.sets import (
    BLOCK,
    BLOCK_SHIFT,
    EMPTY,
    FULL,
    Bitmap,
    add,
    close_block,
    has,
    masks_of,
    open_block,
    remove,
    words_of,
)

__all__ = ["GuestSets", "clear_chunk", "fold_writes", "leave", "logged", "zero_page"]


class GuestSets(NamedTuple):
    """What is known of each page of a guest, as in `migsim.guest.Guest`.

    ``recent`` are pages written since they left, or since the writes were last folded into ``log``,
    ``stale`` and ``nonzero``: in all three they count as present. So a write sets a single bit.
    """

    log: Bitmap
    stale: Bitmap
    nonzero: Bitmap
    sent: Bitmap
    recent: Bitmap
    taken: Bitmap


@jit
def logged(sets: GuestSets, page: int) -> bool:
    """Return whether a page is in the dirty log."""
    return has(sets.recent, page) or has(sets.log, page)


@jit
def zero_page(sets: GuestSets, page: int) -> bool:
    """Return whether a page holds only zeros."""
    return not (has(sets.nonzero, page) or has(sets.recent, page))


@jit
def leave(sets: GuestSets, page: int) -> None:
    """Let the content of a page be read: what was written before is not stale any more."""
    if has(sets.recent, page):
        add(sets.log, page)
        add(sets.nonzero, page)
        remove(sets.recent, page)
    remove(sets.stale, page)


@jit
def _unite_block(pages: Bitmap, other: Bitmap, block: int) -> None:
    """Add the pages of a block of ``other``, which is not empty."""
    if other.blocks[block] == FULL:
        pages.blocks[block] = FULL
    if pages.blocks[block] == FULL:
        return
    open_block(pages, block)
    first, stop = words_of(pages, block)
    for index in range(first, stop):
        pages.words[index] |= other.words[index]


@jit
def _fold_block(sets: GuestSets, block: int) -> None:
    """Book the writes to a block where they belong."""
    if sets.recent.blocks[block] != EMPTY:
        close_block(sets.recent, block)
        _unite_block(sets.log, sets.recent, block)
        _unite_block(sets.stale, sets.recent, block)
        _unite_block(sets.nonzero, sets.recent, block)
        sets.recent.blocks[block] = EMPTY


@jit
def fold_writes(sets: GuestSets) -> None:
    """Book all writes where they belong."""
    for block in range(sets.recent.blocks.size):
        _fold_block(sets, block)


@jit
def clear_chunk(sets: GuestSets, start: int, stop: int) -> None:
    """Take the pages ``start`` to ``stop - 1`` out of the log as far as they were ``taken``."""
    log, taken = sets.log, sets.taken
    stop = min(stop, log.size)
    while start < stop:
        block = start >> BLOCK_SHIFT
        border = min((block + 1) << BLOCK_SHIFT, log.size)
        end = min(border, stop)
        _fold_block(sets, block)
        whole = start & (BLOCK - 1) == 0 and end == border
        if whole and taken.blocks[block] == FULL:
            log.blocks[block] = EMPTY
        elif log.blocks[block] != EMPTY and taken.blocks[block] != EMPTY:
            keep, fill = masks_of(taken, block)
            open_block(log, block)
            for index in range(start >> 6, (end + 63) >> 6):
                cleared = (taken.words[index] & keep) | fill
                if index == start >> 6:
                    cleared &= ALL << np.uint64(start & 63)
                if index == end >> 6:
                    cleared &= ~(ALL << np.uint64(end & 63))
                log.words[index] &= ~cleared
        start = end
