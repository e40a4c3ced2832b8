"""The guest at the source while pages leave as they are: a block at a time, to the same bit.

Where nothing but the link decides when a page leaves, its turn follows from how many went before
it. So accesses need not be merged with departures one by one. Of an access to a page that is not
about to leave, only that it happened matters, not when; to a page of the block that leaves at the
moment, the times of both are compared. What happens to a block is booked once all of it has left.

Whatever this does not cover (curves that bend, zeros among other pages, the last pages before a
limit) is left to `migsim._kernels.source.run_source`, which goes on from any point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import ALL, bit_of, count_ones, highest_bit, lowest_bit
from migsim._kernels.curve import departure, segment_of, sockets_take
from migsim._kernels.guest import GuestSets, clear_chunk, zero_page
from migsim._kernels.sets import (
    BLOCK,
    BLOCK_SHIFT,
    EMPTY,
    FULL,
    MIXED,
    Bitmap,
    add,
    add_range,
    masks_of,
    next_in,
    open_block,
    words_of,
)
from migsim._kernels.source import DONE, NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._types import Floats, Integers, Record, Words

__all__ = [
    "GO_ON_SINGLY",
    "OPEN_BLOCK",
    "Accesses",
    "OpenBlock",
    "run_bulk",
]

GO_ON_SINGLY = 8
"""A further status than those of `run_source`."""

_GOING_ON = -1
_UNLIMITED = 1 << 62
_NONE = np.uint64(0)


class Accesses(NamedTuple):
    """Accesses of the guest from number ``first`` on.

    ``pages`` and ``times`` (both (n,)) as for `run_source`. Where there are no ``times``, access j
    happens at ``(j + 0.5) * interval``. A workload that does nothing but sweep over pages needs no
    ``pages`` either: access j is a write of page ``sweep_start + (sweep_phase + j) % sweep_pages``.
    Of others ``sweep_pages`` is 0.
    """

    pages: Integers
    times: Floats
    first: int
    sweep_start: int
    sweep_pages: int
    sweep_phase: int
    interval: float


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

    ``chosen`` (512,) are words of those pages, unless the whole block leaves, ``before`` (512,) how
    many go before the first of each word. ``after`` (512,) are words of the pages that were written
    after they had left.
    """

    state: Record
    chosen: Words
    before: Integers
    after: Words


# ---- time -------------------------------------------------------------------------------------


@jit
def _time(s: Record, accesses: Accesses, index: int) -> float:
    """Return when an access happens, in virtual time."""
    if accesses.times.size == 0:
        when = (accesses.first + index + 0.5) * accesses.interval
    else:
        when = accesses.times[index]
    return s.anchor_real + (when - s.anchor_guest) * s.stretch + s.lag


@jit
def _first_at(s: Record, accesses: Accesses, stop: int, at: float) -> int:
    """Return the next access that does not happen before ``at``; ``stop`` if none is left."""
    low, high, step = s.access, s.access, 64
    while high < stop and _time(s, accesses, high) < at:
        low = high + 1
        high = min(stop, high + step)
        step *= 2
    while low < high:
        middle = (low + high) >> 1
        if _time(s, accesses, middle) < at:
            low = middle + 1
        else:
            high = middle
    return low


@jit
def _turn(s: Record, began: float, stream: int, segment: int, curve: Record) -> float:
    """Return when the page behind ``stream`` bytes has its turn, of pages from ``began`` on."""
    left = departure(stream, segment, curve) + s.shift
    if not s.buffered:
        return left
    room, s.behind = sockets_take(stream, segment, s.behind, s.shift, s.round_trip, curve)
    return max(began, min(left, room))


@jit
def _room(
    s: Record, began: float, size: int, most: int, segment: int, known: float, curve: Record
) -> int:
    """Return how many of ``most`` pages of ``size`` stream bytes can leave in one go.

    They lie in one segment of the curve and before all limits; the accesses before the turn of the
    page behind them are those before ``known``, at most.
    """
    most = min(most, (s.curve_end - s.largest - s.stream) // size + 1)
    most = min(most, (s.stop_bytes - s.stream - 1) // size + 1)
    if segment + 1 < curve.size:
        most = min(most, (curve[segment + 1].bytes - s.stream) // size)
    low, high, tried = 0, max(0, most), most
    while low < high:  # everything fits, as a rule
        last = began
        if tried > 1:
            last = _turn(s, began, s.stream + (tried - 1) * size, segment, curve)
        behind = _turn(s, began, s.stream + tried * size, segment, curve)
        if last < s.stop_at and behind <= known:
            low = tried
        else:
            high = tried - 1
        tried = (low + high + 1) >> 1
    return low


# ---- the block that leaves ----------------------------------------------------------------------


@jit
def _open(s: Record, sets: GuestSets, todo: Bitmap, page: int, o: OpenBlock) -> None:
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
        place = index & 511
        o.chosen[place] = word
        o.before[place] = b.pages
        b.pages += count_ones(word)
        if others != 0:
            break


@jit
def _rank(o: OpenBlock, page: int) -> int:
    """Return how many pages leave before ``page``, -1 if it is not among those that do."""
    b = o.state[0]
    if b.whole:
        return page - b.first
    place = (page >> 6) & 511
    word, bit = o.chosen[place], bit_of(page)
    if word & bit == 0:
        return -1
    return o.before[place] + count_ones(word & (bit - np.uint64(1)))


@jit
def _drop_the_rest(o: OpenBlock, todo: Bitmap) -> None:
    """Choose those pages only that have left."""
    b = o.state[0]
    first, stop = words_of(todo, b.block)
    if b.whole:
        b.whole = 0
        for place in range(stop - first):
            o.chosen[place], o.before[place] = ALL, place << 6
    for place in range(stop - first):
        word = o.chosen[place]
        keep = max(0, b.done - o.before[place])
        while count_ones(word) > keep:
            word &= ~bit_of(highest_bit(word))
        o.chosen[place] = word


@jit
def _last_chosen(o: OpenBlock) -> int:
    b = o.state[0]
    if b.whole:
        return b.first + b.pages - 1
    place = 511
    while o.chosen[place] == 0:
        place -= 1
    return (b.block << BLOCK_SHIFT) + (place << 6) + highest_bit(o.chosen[place])


@jit
def _move_chosen(o: OpenBlock, pages: Bitmap, other: Bitmap) -> None:
    """Add the chosen pages that are in ``other`` to ``pages``, too."""
    b = o.state[0]
    if pages.blocks[b.block] == FULL:
        return
    if b.whole and other.blocks[b.block] == FULL:
        pages.blocks[b.block] = FULL
        return
    first, stop = words_of(pages, b.block)
    keep, fill = masks_of(other, b.block)
    for index in range(first, stop):
        chosen = ALL if b.whole else o.chosen[index - first]
        moved = ((other.words[index] & keep) | fill) & chosen
        if moved != 0:
            open_block(pages, b.block)
            pages.words[index] |= moved


@jit
def _remove_chosen(o: OpenBlock, pages: Bitmap) -> None:
    """Take the chosen pages out of a set."""
    b = o.state[0]
    if b.whole:
        pages.blocks[b.block] = EMPTY
    if pages.blocks[b.block] == EMPTY:
        return
    open_block(pages, b.block)
    first, stop = words_of(pages, b.block)
    rest = _NONE
    for index in range(first, stop):
        pages.words[index] &= ~o.chosen[index - first]
        rest |= pages.words[index]
    if rest == 0:
        pages.blocks[b.block] = EMPTY


@jit
def _add_chosen(o: OpenBlock, pages: Bitmap) -> int:
    """Add the chosen pages to a set; return how many were not in it."""
    b = o.state[0]
    first, stop = words_of(pages, b.block)
    known = 0
    if pages.blocks[b.block] == FULL:
        return 0
    if b.whole:
        if pages.blocks[b.block] != EMPTY:
            for index in range(first, stop):
                known += count_ones(pages.words[index])
        pages.blocks[b.block] = FULL
        return b.pages - known
    open_block(pages, b.block)
    fresh = 0
    for index in range(first, stop):
        chosen = o.chosen[index - first]
        fresh += count_ones(chosen & ~pages.words[index])
        pages.words[index] |= chosen
    return fresh


@jit
def _close(s: Record, sets: GuestSets, todo: Bitmap, o: OpenBlock, sent_by_kind: Integers) -> None:
    """Book the pages that have left, and what was written to them before and after."""
    b = o.state[0]
    if b.done > 0:
        if b.done < b.pages:
            _drop_the_rest(o, todo)
        recent = sets.recent
        if recent.blocks[b.block] != EMPTY:
            _move_chosen(o, sets.log, recent)
            _move_chosen(o, sets.nonzero, recent)
            _remove_chosen(o, recent)
        _remove_chosen(o, sets.stale)
        _remove_chosen(o, todo)
        fresh = _add_chosen(o, sets.sent)
        content = 1 if b.zeros else s.page_bytes
        sent_by_kind[0, 0] += fresh
        sent_by_kind[0, 1] += fresh * content
        sent_by_kind[1, 0] += b.done - fresh
        sent_by_kind[1, 1] += (b.done - fresh) * content
        if b.zeros:
            s.zero_pages += b.done
        s.cursor = _last_chosen(o) + 1
        if b.written:
            first, stop = words_of(recent, b.block)
            if recent.blocks[b.block] != FULL:
                open_block(recent, b.block)
                for index in range(first, stop):
                    recent.words[index] |= o.after[index - first]
            o.after[:] = _NONE
    b.block = -1


# ---- the guest --------------------------------------------------------------------------------


@jit
def _write(
    s: Record,
    sets: GuestSets,
    accesses: Accesses,
    o: OpenBlock,
    index: int,
    page: int,
    began: float,
    size: int,
    count: int,
    segment: int,
    curve: Record,
) -> None:
    """Let the guest write to the block of which the next ``count`` pages leave meanwhile."""
    b = o.state[0]
    rank = _rank(o, page)
    later = rank - b.done
    gone = 0 <= rank < b.done
    if 0 <= later < count:
        turn = began
        if later > 0:
            turn = _turn(s, began, s.stream + later * size, segment, curve)
        gone = _time(s, accesses, index) >= turn
    if gone:
        o.after[(page >> 6) & 511] |= bit_of(page)
        b.written = 1
    else:
        add(sets.recent, page)


@jit
def _only_set_bits(pages: Integers, block: int, recent: Bitmap) -> bool:
    """Return whether accesses do no more than that: none is a read, or to the open block."""
    if pages.size < recent.blocks.size:
        return False  # not worth the look
    low = high = pages[0]
    special = 0
    for k in range(pages.size):
        low, high = min(low, pages[k]), max(high, pages[k])
        special |= int(pages[k] >> BLOCK_SHIFT == block)
    if special or low < 0:
        return False
    states = recent.blocks[low >> BLOCK_SHIFT : (high >> BLOCK_SHIFT) + 1]
    for k in range(states.size):
        special |= int(states[k] != MIXED)
    return not special


@jit
def _set_bits(pages: Integers, words: Words) -> None:
    """Set the bit of each page, at memory speed."""
    for k in range(pages.size):
        page = np.uint64(pages[k])  # unsigned: no index from the end has to be thought of
        words[page >> np.uint64(6)] |= np.uint64(1) << (page & np.uint64(63))


@jit
def _run_guest(
    s: Record,
    sets: GuestSets,
    accesses: Accesses,
    o: OpenBlock,
    stop: int,
    began: float,
    size: int,
    count: int,
    segment: int,
    curve: Record,
) -> None:
    """Let the guest make its accesses up to ``stop`` while the next ``count`` pages leave."""
    block = o.state[0].block
    recent = sets.recent
    index = s.access
    if accesses.sweep_pages == 0:
        pages = accesses.pages
        part = pages[index:stop]
        if _only_set_bits(part, block, recent):
            _set_bits(part, recent.words)
        else:
            for k in range(index, stop):
                page = pages[k]
                if page < 0:
                    continue
                if page >> BLOCK_SHIFT == block:
                    _write(s, sets, accesses, o, k, page, began, size, count, segment, curve)
                else:
                    add(recent, page)
    else:
        low = block << BLOCK_SHIFT  # below 0 where no block is open
        high = low + BLOCK
        while index < stop:
            place = (accesses.sweep_phase + accesses.first + index) % accesses.sweep_pages
            run = min(stop - index, accesses.sweep_pages - place)
            page = accesses.sweep_start + place
            end = page + run
            inner, outer = min(max(page, low), end), max(min(end, high), page)
            add_range(recent, page, inner)
            for k in range(inner, outer):
                which = index + k - page
                _write(s, sets, accesses, o, which, k, began, size, count, segment, curve)
            add_range(recent, max(outer, inner), end)
            index += run
    s.access = stop


@jit
def _spoils_zeros(accesses: Accesses, index: int, stop: int, o: OpenBlock) -> bool:
    """Return whether the guest writes to zero pages of the open block that have not left."""
    b = o.state[0]
    if accesses.sweep_pages > 0:
        return stop > index  # to be looked at one by one
    for k in range(index, stop):
        page = accesses.pages[k]
        if page >> BLOCK_SHIFT == b.block and _rank(o, page) >= b.done:
            return True
    return False


# ---- both -------------------------------------------------------------------------------------


@jit
def run_bulk(
    state: Record,
    accesses: Accesses,
    sets: GuestSets,
    uncleared: Integers,
    todo: Bitmap,
    o: OpenBlock,
    curve: Record,
    sent_by_kind: Integers,
) -> int:
    """Run guest and link as far as blocks of pages leave, in ascending order, as they are.

    Arguments as for `run_source`, with content that is not kept track of, and no CPU time of pages
    or of first writes. Returns what `run_source` does, or `GO_ON_SINGLY`. For `NEED_ACCESSES` the
    buffer has to be moved to the next access, ``state.access``; meanwhile ``o`` may hold an open
    block.
    """
    s, b = state[0], o.state[0]
    n = _UNLIMITED if accesses.sweep_pages > 0 else accesses.pages.size
    turn = s.turn if s.buffered else s.ready
    if s.begins or (s.encoder_free > turn and not s.buffered):
        return GO_ON_SINGLY
    while True:
        page = -1
        if b.block < 0:
            page = next_in(todo, s.cursor)
            if page < 0:
                page = next_in(todo, 0)
        sends = (b.block >= 0 or page >= 0) and turn < s.stop_at and s.stream < s.stop_bytes
        status, until, size, count, segment = _GOING_ON, turn, 1, 0, s.segment
        if not sends:
            status, until = DONE, max(turn, s.hold)
        elif s.shift > s.most_shift:
            status = NEED_BUSY_PERIOD
        elif b.block >= 0:
            size = (1 if b.zeros else s.page_bytes) + s.header_bytes
            segment = segment_of(s.stream + size, s.segment, curve)
            known = np.inf
            if s.running and accesses.sweep_pages == 0:
                known = _time(s, accesses, n - 1)
            count = _room(s, turn, size, b.pages - b.done, segment, known, curve)
            if count > 0:
                until = _turn(s, turn, s.stream + count * size, segment, curve)
            elif s.stream + s.largest > s.curve_end:
                status = NEED_CURVE
            elif s.access > n >> 1:
                status = NEED_ACCESSES
            else:  # the next page takes longer than all accesses of the buffer
                status = GO_ON_SINGLY
        stop = s.access
        if s.running:
            stop = _first_at(s, accesses, n, until)
            if b.block >= 0 and b.zeros and _spoils_zeros(accesses, s.access, stop, o):
                status, count, stop = GO_ON_SINGLY, 0, s.access
            _run_guest(s, sets, accesses, o, stop, turn, size, count, segment, curve)
            if stop == n:
                status = NEED_ACCESSES
        if count > 0:
            before = turn
            if count > 1 and s.buffered:
                before = _turn(s, turn, s.stream + (count - 1) * size, segment, curve)
            b.done += count
            s.stream += count * size
            s.segment = segment
            s.ready = departure(s.stream, segment, curve) + s.shift
            turn = _turn(s, before, s.stream, segment, curve)
            if s.buffered:
                s.encoder_free = before
            s.turn = turn
        if status == NEED_ACCESSES:
            return status  # and the block stays open
        if b.block >= 0 and (b.done == b.pages or status != _GOING_ON):
            _close(s, sets, todo, o, sent_by_kind)
        if status != _GOING_ON:
            return status
        if page >= 0:
            chunk = page >> s.chunk_shift
            if uncleared[chunk] != 0:
                uncleared[chunk] = 0
                clear_chunk(sets, chunk << s.chunk_shift, (chunk + 1) << s.chunk_shift)
            _open(s, sets, todo, page, o)
