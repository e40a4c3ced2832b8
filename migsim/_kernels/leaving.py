"""The block of which pages leave in bulk: which do, and what that changes once they have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import ALL, bit_of, count_ones, highest_bit, lowest_bit
from migsim._kernels.guest import GuestSets, zero_page
from migsim._kernels.sets import (
    BLOCK,
    BLOCK_SHIFT,
    BLOCK_WORDS,
    EMPTY,
    FULL,
    MIXED,
    Bitmap,
    masks_of,
    open_block,
    words_of,
)
from migsim._types import Integers, Record, Words

__all__ = ["OPEN_BLOCK", "OpenBlock", "close_leaving", "open_leaving", "rank_of"]

_NONE = np.uint64(0)

OPEN_BLOCK = np.dtype(
    [
        ("block", "i8"),  # the block that leaves, or -1,
        ("first", "i8"),  # its first page that does,
        ("whole", "i8"),  # whether all its pages do,
        ("pages", "i8"),  # how many do in all,
        ("done", "i8"),  # and how many have
        ("zeros", "i8"),  # whether they hold only zeros; otherwise none does
        ("written", "i8"),  # whether any was written after it had left
    ]
)


class OpenBlock(NamedTuple):
    """The block of which pages leave, all of one kind.

    ``chosen`` are words of those pages, unless the whole block leaves, ``before`` how many go
    before the first of each word, ``after`` words of the pages that were written after they had
    left; each has shape (`BLOCK_WORDS`,).
    """

    state: Record
    chosen: Words
    before: Integers
    after: Words


@jit
def open_leaving(s: Record, sets: GuestSets, todo: Bitmap, page: int, o: OpenBlock) -> None:
    """Choose the pages of ``todo`` that leave from ``page`` on: of one block, and of one kind."""
    b = o.state[0]
    block = page >> BLOCK_SHIFT
    border = min((block + 1) << BLOCK_SHIFT, todo.size)
    stop = min(border, ((page >> s.chunk_shift) + 1) << s.chunk_shift)
    nonzero, recent = sets.nonzero, sets.recent
    nowhere = nonzero.blocks[block] == EMPTY and recent.blocks[block] == EMPTY
    everywhere = FULL in (nonzero.blocks[block], recent.blocks[block])
    b.block, b.first, b.done, b.written = block, page, 0, 0
    zeros = zero_page(sets, page)
    whole = page & (BLOCK - 1) == 0 and stop == border and todo.blocks[block] == FULL
    whole = whole and (nowhere or everywhere)
    b.zeros, b.whole = int(zeros), int(whole)
    if whole:
        b.pages = stop - page
        return
    keep, fill = masks_of(todo, block)
    keep_nonzero, fill_nonzero = masks_of(nonzero, block)
    keep_recent, fill_recent = masks_of(recent, block)
    o.chosen[:] = _NONE
    b.pages = 0
    for index in range(page >> 6, (stop + 63) >> 6):
        word = (todo.words[index] & keep) | fill
        if index == page >> 6:
            word &= ALL << np.uint64(page & 63)
        if index == stop >> 6:
            word &= ~(ALL << np.uint64(stop & 63))
        others = (nonzero.words[index] & keep_nonzero) | fill_nonzero
        others |= (recent.words[index] & keep_recent) | fill_recent
        others = word & (others if zeros else ~others)
        if others != 0:  # here pages of the other kind begin
            word &= bit_of(lowest_bit(others)) - np.uint64(1)
        place = index & (BLOCK_WORDS - 1)
        o.chosen[place] = word
        o.before[place] = b.pages
        b.pages += count_ones(word)
        if others != 0:
            break


@jit
def rank_of(o: OpenBlock, page: int) -> int:
    """Return how many pages leave before ``page``, -1 if it is not among those that do."""
    b = o.state[0]
    if b.whole:
        return page - b.first
    place = (page >> 6) & (BLOCK_WORDS - 1)
    word, bit = o.chosen[place], bit_of(page)
    if word & bit == 0:
        return -1
    return o.before[place] + count_ones(word & (bit - np.uint64(1)))


@jit
def _book_words(sets: GuestSets, todo: Bitmap, o: OpenBlock) -> tuple[int, int]:
    """Book the pages that have left word by word.

    Returns how many of them had not been sent before, and the last of them.
    """
    b = o.state[0]
    log, stale, nonzero, sent, recent = sets.log, sets.stale, sets.nonzero, sets.sent, sets.recent
    block, whole, done = b.block, b.whole, b.done
    # What is full stays full if pages are added, and what is empty if some are taken out: the words
    # of those mean nothing, and may be written.
    touched = recent.blocks[block] != EMPTY or b.written
    if touched:
        open_block(recent, block)
        for pages in (log, nonzero):
            if pages.blocks[block] == EMPTY:
                open_block(pages, block)
    for pages in (stale, todo):
        if pages.blocks[block] == FULL:
            open_block(pages, block)
    if sent.blocks[block] == EMPTY:
        open_block(sent, block)
    first, stop = words_of(todo, block)
    rest = rest_stale = rest_recent = final = _NONE
    fresh = where = 0
    for index in range(first, stop):
        place = index - first
        chosen, before = o.chosen[place], o.before[place]
        if whole:
            chosen, before = ALL, place << 6
        ones = count_ones(chosen)
        while ones > 0 and before + ones > done:  # these have not left
            chosen &= ~bit_of(highest_bit(chosen))
            ones -= 1
        if touched:
            moved = recent.words[index] & chosen
            log.words[index] |= moved
            nonzero.words[index] |= moved
            recent.words[index] = (recent.words[index] & ~chosen) | o.after[place]
            rest_recent |= recent.words[index]
        fresh += count_ones(chosen & ~sent.words[index])
        sent.words[index] |= chosen
        stale.words[index] &= ~chosen
        rest_stale |= stale.words[index]
        todo.words[index] &= ~chosen
        rest |= todo.words[index]
        if chosen != 0:
            where, final = index, chosen
    if rest == 0:
        todo.blocks[block] = EMPTY
    if rest_stale == 0:
        stale.blocks[block] = EMPTY
    if rest_recent == 0:
        recent.blocks[block] = EMPTY
    if b.written:
        o.after[:] = _NONE
    if sent.blocks[block] == FULL:
        fresh = 0
    return fresh, (where << 6) + highest_bit(final)


@jit
def _book_block(sets: GuestSets, todo: Bitmap, o: OpenBlock) -> tuple[int, int]:
    """Book a block that has left as a whole, as `_book_words` does, without any words."""
    b = o.state[0]
    if sets.recent.blocks[b.block] == FULL:
        sets.log.blocks[b.block] = FULL
        sets.nonzero.blocks[b.block] = FULL
    sets.recent.blocks[b.block] = EMPTY
    sets.stale.blocks[b.block] = EMPTY
    todo.blocks[b.block] = EMPTY
    fresh = b.pages if sets.sent.blocks[b.block] == EMPTY else 0
    sets.sent.blocks[b.block] = FULL
    return fresh, b.first + b.pages - 1


@jit
def close_leaving(
    s: Record, sets: GuestSets, todo: Bitmap, o: OpenBlock, sent_by_kind: Integers
) -> None:
    """Book the pages that have left, and what was written to them before and after."""
    b = o.state[0]
    if b.done > 0:
        whole = b.whole and b.done == b.pages
        mixed = MIXED in (sets.recent.blocks[b.block], sets.sent.blocks[b.block])
        if whole and not mixed and not b.written:
            fresh, last = _book_block(sets, todo, o)
        else:
            fresh, last = _book_words(sets, todo, o)
            if whole:
                sets.sent.blocks[b.block] = FULL
        content = 1 if b.zeros else s.page_bytes
        sent_by_kind[0, 0] += fresh
        sent_by_kind[0, 1] += fresh * content
        sent_by_kind[1, 0] += b.done - fresh
        sent_by_kind[1, 1] += (b.done - fresh) * content
        if b.zeros:
            s.zero_pages += b.done
        s.cursor = last + 1
    b.block = -1
