"""The guest at the source while pages leave as they are: a block at a time, to the same bit.

Where nothing but the link decides when a page leaves, its turn follows from how many went before
it. So accesses need not be merged with departures one by one. Of an access to a page that is not
about to leave, only that it happened matters, not when; to a page of the block that leaves at the
moment, the times of both are compared. What happens to a block is booked once all of it has left.

Whatever this does not cover (zero pages that are written before they leave, pages that take longer
than a buffer of accesses, the start of a buffered sender) is left to
`migsim._kernels.source.run_source`, which goes on from any point.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import bit_of
from migsim._kernels.curve import departure, segment_of, sockets_take
from migsim._kernels.guest import GuestSets, clear_chunk
from migsim._kernels.leaving import OpenBlock, close_leaving, open_leaving, rank_of
from migsim._kernels.sets import (
    BLOCK,
    BLOCK_SHIFT,
    BLOCK_WORDS,
    MIXED,
    Bitmap,
    add,
    add_range,
    next_in,
)
from migsim._kernels.source import DONE, NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._types import Floats, Integers, Record, Words

__all__ = ["GO_ON_SINGLY", "Accesses", "run_bulk"]

GO_ON_SINGLY = 8
"""A further status than those of `run_source`."""

_GOING_ON = -1
_UNLIMITED = 1 << 62


class Accesses(NamedTuple):
    """Accesses of the guest from number ``first`` on.

    ``pages`` and ``times`` (both (n,)) as for `run_source`. Where there are no ``times``, access j
    happens at ``(j + 0.5) * interval``. A workload that does nothing but sweep over pages needs no
    ``pages`` either: access j is a write of page ``sweep_start + (sweep_phase + j) % sweep_pages``.
    Of others ``sweep_pages`` is 0. Where nothing is changed by writes to those pages, because
    each was written since it left, a sweep ``stands_in`` for any accesses to them.
    """

    pages: Integers
    times: Floats
    first: int
    sweep_start: int
    sweep_pages: int
    sweep_phase: int
    interval: float
    stands_in: int


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
) -> tuple[int, float, float]:
    """Return how many of ``most`` pages of ``size`` stream bytes can leave in one go.

    They lie in one segment of the curve and before all limits; the accesses before the turn of the
    page behind them are those before ``known``, at most. Also returns the turns of the last of
    them, and of the page behind them.
    """
    most = min(most, (s.curve_end - s.largest - s.stream) // size + 1)
    most = min(most, (s.stop_bytes - s.stream - 1) // size + 1)
    if segment + 1 < curve.size:
        most = min(most, (curve[segment + 1].bytes - s.stream) // size)
    low, high, tried = 0, max(0, most), most
    before = behind = began
    while low < high:  # everything fits, as a rule
        last = began
        if tried > 1:
            last = _turn(s, began, s.stream + (tried - 1) * size, segment, curve)
        following = _turn(s, began, s.stream + tried * size, segment, curve)
        if last < s.stop_at and following <= known:
            low, before, behind = tried, last, following
        else:
            high = tried - 1
        tried = (low + high + 1) >> 1
    return low, before, behind


# ---- the guest --------------------------------------------------------------------------------


@jit
def _write(
    s: Record,
    recent: Bitmap,
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
    rank = rank_of(o, page)
    later = rank - b.done
    gone = 0 <= rank < b.done
    if 0 <= later < count:
        turn = began
        if later > 0:
            turn = _turn(s, began, s.stream + later * size, segment, curve)
        gone = _time(s, accesses, index) >= turn
    if gone:
        o.after[(page >> 6) & (BLOCK_WORDS - 1)] |= bit_of(page)
        b.written = 1
    else:
        add(recent, page)


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
    recent: Bitmap,
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
                    _write(s, recent, accesses, o, k, page, began, size, count, segment, curve)
                else:
                    add(recent, page)
    else:
        low = block << BLOCK_SHIFT  # below 0 where no block is open
        high = low + BLOCK
        while index < stop:
            place = (accesses.sweep_phase + accesses.first + index) % accesses.sweep_pages
            run = min(stop - index, accesses.sweep_pages - place)
            page = accesses.sweep_start + place
            if low <= page < high:
                run = min(run, high - page)
                for k in range(run):
                    _write(
                        s, recent, accesses, o, index + k, page + k, began, size, count, segment,
                        curve,
                    )  # fmt: skip
            else:
                if page < low:
                    run = min(run, low - page)
                add_range(recent, page, page + run)
            index += run
    s.access = stop


@jit
def _spoils_zeros(accesses: Accesses, index: int, stop: int, o: OpenBlock) -> bool:
    """Return whether the guest writes to zero pages of the open block that have not left."""
    b = o.state[0]
    if accesses.sweep_pages > 0:  # whether it comes near; it is looked at one by one then
        low = (b.block << BLOCK_SHIFT) - accesses.sweep_start
        place = (accesses.sweep_phase + accesses.first + index) % accesses.sweep_pages
        ahead = max(0, low - place) if place < low + BLOCK else low + accesses.sweep_pages - place
        return stop > index + ahead
    for k in range(index, stop):
        page = accesses.pages[k]
        if page >> BLOCK_SHIFT == b.block and rank_of(o, page) >= b.done:
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
    block. So it has before a page leaves to which a sweep stands in for the writes.
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
        status, size, count, segment = _GOING_ON, 1, 0, s.segment
        until = before = behind = turn
        if not sends:
            status, until = DONE, max(turn, s.hold)
        elif s.shift > s.most_shift:
            status = NEED_BUSY_PERIOD
        elif b.block < 0:  # a chunk is cleared only where its first page leaves
            if s.stream + s.largest > s.curve_end:
                status = NEED_CURVE
        else:
            size = (1 if b.zeros else s.page_bytes) + s.header_bytes
            segment = segment_of(s.stream + size, s.segment, curve)
            known = np.inf
            if s.running and accesses.sweep_pages == 0:
                known = _time(s, accesses, n - 1)
            most = b.pages - b.done
            count, before, behind = _room(s, turn, size, most, segment, known, curve)
            if count > 0:
                until = behind
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
            _run_guest(s, sets.recent, accesses, o, stop, turn, size, count, segment, curve)
            if stop == n:
                status = NEED_ACCESSES
        if accesses.stands_in and page >= 0 and status == _GOING_ON:
            # The writes to its block, or to its chunk of the log, are about to be booked.
            first = min(page & -BLOCK, page >> s.chunk_shift << s.chunk_shift)
            status = NEED_ACCESSES if first < accesses.sweep_pages else status
        if count > 0:
            b.done += count
            s.stream += count * size
            s.segment = segment
            s.ready = departure(s.stream, segment, curve) + s.shift
            if s.buffered:
                s.encoder_free = before
                behind = max(before, behind)
            s.turn = turn = behind
        if status == NEED_ACCESSES:
            return status  # and the block stays open
        if b.block >= 0 and (b.done == b.pages or status != _GOING_ON):
            close_leaving(s, sets, todo, o, sent_by_kind)
        if status != _GOING_ON:
            return status
        if page >= 0:
            chunk = page >> s.chunk_shift
            if uncleared[chunk] != 0:
                uncleared[chunk] = 0
                clear_chunk(sets, chunk << s.chunk_shift, (chunk + 1) << s.chunk_shift)
            open_leaving(s, sets, todo, page, o)
