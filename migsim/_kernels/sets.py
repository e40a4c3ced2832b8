"""Sets of pages as kernels see them: bitmaps in blocks, of which whole ones cost nothing.

A block is empty, full, or mixed; only a mixed block has words. Those fill one page of the machine's
own memory, which is not touched before the block is mixed: so a guest of terabytes, of which most
does nothing, takes next to no memory and no time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import ALL, bit_of, count_ones, highest_bit, lowest_bit
from migsim._types import Bytes, Words

__all__ = [
    "BLOCK",
    "BLOCK_SHIFT",
    "BLOCK_WORDS",
    "COPY",
    "DIFFERENCE",
    "EMPTY",
    "FULL",
    "INTERSECTION",
    "MIXED",
    "UNION",
    "Bitmap",
    "add",
    "add_range",
    "close_block",
    "combine",
    "count",
    "count_range",
    "covers",
    "has",
    "make_dense",
    "masks_of",
    "next_in",
    "open_block",
    "previous_in",
    "remove",
    "remove_range",
    "words_of",
]

BLOCK_SHIFT = 15
BLOCK = 1 << BLOCK_SHIFT
"""Pages of a block: 128 MiB of a guest's memory, 4 KiB of words."""
BLOCK_WORDS = BLOCK >> 6
"""Words of a block."""

EMPTY = 0
MIXED = 1
FULL = 2

UNION = 0
INTERSECTION = 1
DIFFERENCE = 2
COPY = 3

_NONE = np.uint64(0)


class Bitmap(NamedTuple):
    """A set of the pages 0 to ``size - 1``.

    ``words``: uint64 (ceil(size / 64),), page p is bit p % 64 of word p // 64; anything may stand
    in blocks that are not mixed. ``blocks``: uint8 (ceil(size / BLOCK),), `EMPTY`, `MIXED` or
    `FULL`.
    """

    words: Words
    blocks: Bytes
    size: int


@jit
def has(pages: Bitmap, page: int) -> bool:
    """Return whether ``page`` is in the set."""
    state = pages.blocks[page >> BLOCK_SHIFT]
    if state == MIXED:
        return pages.words[page >> 6] & bit_of(page) != 0
    return state == FULL


@jit
def words_of(pages: Bitmap, block: int) -> tuple[int, int]:
    """Return the first word of a block, and the one behind its last."""
    first = block * BLOCK_WORDS
    return first, min(first + BLOCK_WORDS, pages.words.size)


@jit
def masks_of(pages: Bitmap, block: int) -> tuple[np.uint64, np.uint64]:
    """Return ``keep`` and ``fill``: words of a block, whatever its state, are w & keep | fill.

    Of a full block that ends the set, the last word then has bits beyond ``size``.
    """
    state = pages.blocks[block]
    return (ALL if state == MIXED else _NONE), (ALL if state == FULL else _NONE)


@jit
def _last_word(pages: Bitmap) -> np.uint64:
    """Return the last word of a full set: bits beyond ``size`` are never set."""
    return ALL >> np.uint64(-pages.size & 63)


@jit
def open_block(pages: Bitmap, block: int) -> None:
    """Make a block mixed, so that its words hold its bits."""
    state = pages.blocks[block]
    if state != MIXED:
        fill = ALL if state == FULL else _NONE
        first, stop = words_of(pages, block)
        for index in range(first, stop):
            pages.words[index] = fill
        if stop == pages.words.size:
            pages.words[stop - 1] &= _last_word(pages)
        pages.blocks[block] = MIXED


@jit
def close_block(pages: Bitmap, block: int) -> None:
    """Make a mixed block full if all its pages are in the set, so that its words count no more."""
    if pages.blocks[block] != MIXED:
        return
    first, stop = words_of(pages, block)
    for index in range(first, stop - 1):
        if pages.words[index] != ALL:
            return
    last = _last_word(pages) if stop == pages.words.size else ALL
    if pages.words[stop - 1] == last:
        pages.blocks[block] = FULL


@jit
def covers(pages: Bitmap, stop: int) -> bool:
    """Return whether all pages below ``stop`` are in the set; blocks found full are closed."""
    for block in range((stop + BLOCK - 1) >> BLOCK_SHIFT):
        close_block(pages, block)
        if pages.blocks[block] == FULL:
            continue
        first, _ = words_of(pages, block)
        if pages.blocks[block] == EMPTY or stop >= (block + 1) << BLOCK_SHIFT:
            return False
        for index in range(first, stop >> 6):
            if pages.words[index] != ALL:
                return False
        rest = ~(ALL << np.uint64(stop & 63))
        if rest != 0 and pages.words[stop >> 6] & rest != rest:
            return False
    return True


@jit
def add(pages: Bitmap, page: int) -> None:
    """Add a page."""
    block = page >> BLOCK_SHIFT
    state = pages.blocks[block]
    if state == EMPTY:
        open_block(pages, block)
    if state != FULL:
        pages.words[page >> 6] |= bit_of(page)


@jit
def remove(pages: Bitmap, page: int) -> None:
    """Take out a page."""
    block = page >> BLOCK_SHIFT
    state = pages.blocks[block]
    if state == FULL:
        open_block(pages, block)
    if state != EMPTY:
        pages.words[page >> 6] &= ~bit_of(page)


@jit
def add_range(pages: Bitmap, start: int, stop: int) -> None:
    """Add the pages ``start`` to ``stop - 1``."""
    while start < stop:
        block = start >> BLOCK_SHIFT
        end = min((block + 1) << BLOCK_SHIFT, pages.size)
        if pages.blocks[block] == FULL:
            start = end
        elif start & (BLOCK - 1) == 0 and end <= stop:
            pages.blocks[block] = FULL
            start = end
        else:
            open_block(pages, block)
            end = min(end, stop)
            while start < end:
                border = min((start | 63) + 1, end)
                pages.words[start >> 6] |= _bits_between(start, border)
                start = border


@jit
def _bits_between(start: int, stop: int) -> np.uint64:
    """Return the word with the bits of the pages ``start`` to ``stop - 1``, which it holds."""
    return (ALL >> np.uint64(64 - (stop - start))) << np.uint64(start & 63)


@jit
def _drop_if_empty(pages: Bitmap, block: int) -> None:
    """Make a mixed block empty if no page of it is left."""
    first, stop = words_of(pages, block)
    for index in range(first, stop):
        if pages.words[index] != 0:
            return
    pages.blocks[block] = EMPTY


@jit
def remove_range(pages: Bitmap, start: int, stop: int) -> None:
    """Take out the pages ``start`` to ``stop - 1``."""
    while start < stop:
        block = start >> BLOCK_SHIFT
        end = min((block + 1) << BLOCK_SHIFT, pages.size)
        if start & (BLOCK - 1) == 0 and end <= stop:
            pages.blocks[block] = EMPTY
        if pages.blocks[block] == EMPTY:
            start = end
            continue
        open_block(pages, block)
        end = min(end, stop)
        while start < end:
            border = min((start | 63) + 1, end)
            pages.words[start >> 6] &= ~_bits_between(start, border)
            start = border
        _drop_if_empty(pages, block)


@jit
def count_range(pages: Bitmap, start: int, stop: int) -> int:
    """Return how many of the pages ``start`` to ``stop - 1`` are in the set."""
    total = 0
    while start < stop:
        block = start >> BLOCK_SHIFT
        end = min((block + 1) << BLOCK_SHIFT, stop)
        if pages.blocks[block] == FULL:
            total += end - start
        elif pages.blocks[block] == MIXED:
            while start < end:
                border = min((start | 63) + 1, end)
                total += count_ones(pages.words[start >> 6] & _bits_between(start, border))
                start = border
        start = end
    return total


@jit
def next_in(pages: Bitmap, start: int) -> int:
    """Return the first page of the set at or after ``start``, or -1."""
    block = start >> BLOCK_SHIFT
    while block < pages.blocks.size:
        state = pages.blocks[block]
        if state == FULL and start < pages.size:
            return start
        if state == MIXED:
            index = start >> 6
            _, stop = words_of(pages, block)
            mask = ALL << np.uint64(start & 63)
            while index < stop:
                word = pages.words[index] & mask
                if word != 0:
                    return (index << 6) + lowest_bit(word)
                mask = ALL
                index += 1
        block += 1
        start = block << BLOCK_SHIFT
    return -1


@jit
def previous_in(pages: Bitmap, start: int) -> int:
    """Return the last page of the set at or before ``start``, or -1."""
    start = min(start, pages.size - 1)
    block = start >> BLOCK_SHIFT
    while start >= 0:
        state = pages.blocks[block]
        if state == FULL:
            return start
        if state == MIXED:
            index = start >> 6
            first, _ = words_of(pages, block)
            mask = ALL >> np.uint64(63 - (start & 63))
            while index >= first:
                word = pages.words[index] & mask
                if word != 0:
                    return (index << 6) + highest_bit(word)
                mask = ALL
                index -= 1
        start = (block << BLOCK_SHIFT) - 1
        block -= 1
    return -1


@jit
def make_dense(pages: Bitmap) -> None:
    """Make all blocks mixed, for those who know words only."""
    for block in range(pages.blocks.size):
        open_block(pages, block)


@jit
def count(pages: Bitmap) -> int:
    """Return how many pages the set holds."""
    total = 0
    for block in range(pages.blocks.size):
        state = pages.blocks[block]
        if state == FULL:
            total += min((block + 1) << BLOCK_SHIFT, pages.size) - (block << BLOCK_SHIFT)
        elif state == MIXED:
            first, stop = words_of(pages, block)
            for index in range(first, stop):
                total += count_ones(pages.words[index])
    return total


@jit
def combine(operation: int, a: Bitmap, b: Bitmap, result: Bitmap) -> None:
    """Set ``result`` to what ``operation`` makes of two sets."""
    for block in range(result.blocks.size):
        left, right = a.blocks[block], b.blocks[block]
        if operation == UNION:
            state = FULL if FULL in (left, right) else max(left, right)
        elif operation == INTERSECTION:
            state = EMPTY if EMPTY in (left, right) else min(left, right)
        elif operation == DIFFERENCE:
            state = EMPTY if left == EMPTY or right == FULL else MIXED
            state = FULL if left == FULL and right == EMPTY else state
        else:
            state = left
        result.blocks[block] = state
        if state != MIXED:
            continue
        first, stop = words_of(a, block)
        keep, fill = masks_of(a, block)
        keep_other, fill_other = masks_of(b, block)
        some = _NONE
        for index in range(first, stop):
            word = (a.words[index] & keep) | fill
            other = (b.words[index] & keep_other) | fill_other
            if operation == UNION:
                word |= other
            elif operation == INTERSECTION:
                word &= other
            elif operation == DIFFERENCE:
                word &= ~other
            result.words[index] = word
            some |= word
        if stop == a.words.size:
            result.words[stop - 1] &= _last_word(a)
        if some == 0:
            result.blocks[block] = EMPTY
