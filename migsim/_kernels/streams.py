"""Where the push of post-copy goes on: from its pivots in turn, by contiguous pages each."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import highest_bit, lowest_bit
from migsim._kernels.sets import (
    BLOCK_SHIFT,
    EMPTY,
    FULL,
    MIXED,
    Bitmap,
    add_range,
    count_range,
    masks_of,
    next_in,
    previous_in,
    remove_range,
)
from migsim._kernels.source import FIRST, RESENT
from migsim._types import Integers, Record

__all__ = ["STREAM", "book", "find_streams", "measure"]

STREAM = np.dtype(
    [
        ("page", "i8"),  # the next page,
        ("down", "i8"),  # whether the one before it follows, or the one behind it,
        ("length", "i8"),  # and how many do without a gap
        ("pivot", "i8"),  # the pivot that it grows from, or -1
        ("offset", "i8"),  # its turn, counted from the first one
    ]
)


@jit
def find_streams(s: Record, todo: Bitmap, left: Integers, right: Integers, streams: Record) -> int:
    """Note where the push goes on, in the order of turns; return in how many places.

    As `migsim._kernels.push.next_background` does: from the pivots, and linearly once no pivot has
    anything left.
    """
    sides = 2 if s.both_ways else 1
    found = 0
    for offset in range(sides * right.size):
        turn = s.turn + offset
        k = (turn // sides) % right.size
        down = turn % sides == 1
        if down:
            page = previous_in(todo, left[k])
            left[k] = page
        else:
            page = next_in(todo, right[k])
            right[k] = page if page >= 0 else todo.size
        if page >= 0:
            stream = streams[found]
            stream.page, stream.down, stream.pivot, stream.offset = page, down, k, offset
            found += 1
    if found == 0:
        stream = streams[0]
        stream.page, stream.down, stream.pivot = next_in(todo, s.cursor), 0, -1
        stream.offset = sides * right.size - 1
        found = 1
    return found


@jit
def _stretch(todo: Bitmap, nonzero: Bitmap, page: int, down: bool, zeros: bool, most: int) -> int:
    """Return how many pages of ``todo`` follow without a gap, all of one kind; ``most`` at most."""
    most = min(most, page + 1 if down else todo.size - page)
    count = 0
    while count < most:
        at = page - count if down else page + count
        block = at >> BLOCK_SHIFT
        kinds = nonzero.blocks[block]
        if todo.blocks[block] == EMPTY or kinds == (FULL if zeros else EMPTY):
            break
        if todo.blocks[block] == FULL and kinds != MIXED:
            border = block << BLOCK_SHIFT
            count = page - border + 1 if down else border + (1 << BLOCK_SHIFT) - page
            continue
        keep, fill = masks_of(todo, block)
        word = (todo.words[at >> 6] & keep) | fill
        keep, fill = masks_of(nonzero, block)
        other = (nonzero.words[at >> 6] & keep) | fill
        gaps = ~word | (other if zeros else ~other)
        place = at & 63
        if down:
            gaps <<= np.uint64(63 - place)
            count += place + 1 if gaps == 0 else 63 - highest_bit(gaps)
        else:
            gaps >>= np.uint64(place)
            count += 64 - place if gaps == 0 else lowest_bit(gaps)
        if gaps != 0:
            break
    return min(count, most)


@jit
def _keep_apart(streams: Record, found: int) -> None:
    """Shorten stretches that would run into each other."""
    for i in range(found):
        a = streams[i]
        for j in range(found):
            b = streams[j]
            between = b.page - a.page
            if i == j or between < 0 or (a.down and not b.down):
                continue
            if a.down == b.down:  # one follows the other, and must not reach it
                behind = b if a.down else a
                behind.length = min(behind.length, between)
            else:  # they meet
                a.length = min(a.length, (between + 1) >> 1)
                b.length = min(b.length, (between + 1) >> 1)


@jit
def measure(
    vcpus: Record,
    blocked: int,
    todo: Bitmap,
    nonzero: Bitmap,
    zeros: bool,
    streams: Record,
    found: int,
    most: int,
) -> int:
    """Return how many pages can go until a stretch ends, or comes to what a vCPU waits for."""
    for i in range(found):
        stream = streams[i]
        stream.length = _stretch(
            todo, nonzero, stream.page, stream.down != 0, zeros, most // found + 1
        )
        if blocked == 0:
            continue
        for k in range(vcpus.size):
            page = vcpus[k].waits_for
            ahead = stream.page - page if stream.down else page - stream.page
            if page >= 0 and 0 <= ahead < stream.length:
                stream.length = ahead
    if found > 1:
        _keep_apart(streams, found)
    for i in range(found):
        most = min(most, streams[i].length * found + i)
    return most


@jit
def book(
    s: Record,
    streams: Record,
    found: int,
    most: int,
    landed: int,
    zeros: bool,
    todo: Bitmap,
    missing: Bitmap,
    sent: Bitmap,
    left: Integers,
    right: Integers,
    sent_by_kind: Integers,
) -> None:
    """Let ``most`` pages leave, of which ``landed`` have arrived."""
    known = 0
    for i in range(found):
        stream = streams[i]
        gone = most // found + (i < most % found)
        there = landed // found + (i < landed % found)
        page = stream.page
        first = page - gone + 1 if stream.down else page
        known += count_range(sent, first, first + gone)
        add_range(sent, first, first + gone)
        remove_range(todo, first, first + gone)
        first = page - there + 1 if stream.down else page
        remove_range(missing, first, first + there)
        if stream.pivot < 0:
            s.cursor = page + gone - 1
        elif stream.down:
            left[stream.pivot] = page - gone
        else:
            right[stream.pivot] = page + gone
    rounds, last = (most - 1) // found, (most - 1) % found
    slots = (2 if s.both_ways else 1) * right.size
    s.turn += rounds * slots + streams[last].offset + 1
    content = 1 if zeros else s.page_bytes
    sent_by_kind[FIRST, 0] += most - known
    sent_by_kind[FIRST, 1] += (most - known) * content
    sent_by_kind[RESENT, 0] += known
    sent_by_kind[RESENT, 1] += known * content
    if zeros:
        s.zero_pages += most
