"""The guest at the destination with blocks of its disk still missing: fetches beside a push.

I/Os in order of time. What the source has pushed before a request reaches it leaves before the
fetched block; the push goes on behind that. I/Os of blocks that are there cost nothing.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import bit_of, next_page
from migsim._kernels.disk import COPIED, put, standing
from migsim._kernels.source import DONE, NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._types import Floats, Integers, Record, Words

__all__ = ["DISK_DESTINATION_STATE", "FETCHED", "NEED_FLIGHT_ROOM", "run_disk_destination"]

FETCHED = 2
"""A further row of `sent` than before the switch: blocks that an I/O has asked for."""

NEED_FLIGHT_ROOM = 4

DISK_DESTINATION_STATE = np.dtype(
    [
        # the guest's clock: real = anchor_real + (guest - anchor_guest) + lag
        ("anchor_real", "f8"),
        ("anchor_guest", "f8"),
        ("lag", "f8"),
        ("access", "i8"),  # index of the next I/O in the buffer
        # the link, as in `DISK_STATE`
        ("stream", "i8"),
        ("segment", "i8"),
        ("shift", "f8"),
        ("ready", "f8"),
        ("curve_end", "i8"),
        ("restarts", "i8"),
        ("idle_until", "f8"),
        ("down", "i8"),  # the link is gone for good
        ("half_trip", "f8"),  # propagation delay, one way
        ("request_delay", "f8"),  # from an I/O to its request's arrival at the source
        ("header_bytes", "i8"),
        # the disk
        ("unit_shift", "i8"),
        ("block_bytes", "i8"),
        ("queue_depth", "f8"),
        ("block_seconds", "f8"),  # a block takes the device at least so long
        ("device_free", "f8"),
        # what is to be done
        ("hold", "f8"),  # the guest runs at least until then
        ("until", "f8"),  # no block starts and no I/O is made then or later
        ("background", "i8"),
        ("cursor", "i8"),  # the push goes on with the first block of `todo` from here, cyclically
        ("unsent", "i8"),  # blocks in `todo`
        # in flight: a ring of blocks and their arrival times
        ("flight_head", "i8"),
        ("flight_count", "i8"),
        # what was done
        ("now", "f8"),
        ("faults", "i8"),
        ("requests", "i8"),
    ]
)


@jit
def _land(s: Record, now: float, missing: Words, flight_block: Integers, flight_at: Floats) -> None:
    """Let all blocks arrive that do so up to ``now``."""
    while s.flight_count > 0 and flight_at[s.flight_head] <= now:
        block = flight_block[s.flight_head]
        missing[block >> 6] &= ~bit_of(block)
        s.flight_head = (s.flight_head + 1) % flight_at.size
        s.flight_count -= 1


@jit
def _last_landing(s: Record, flight_at: Floats) -> float:
    """Return when the last block in flight arrives."""
    if s.flight_count == 0:
        return -np.inf
    return flight_at[(s.flight_head + s.flight_count - 1) % flight_at.size]


@jit
def _landing_of(s: Record, block: int, flight_block: Integers, flight_at: Floats) -> float:
    """Return when ``block`` arrives, which is in flight."""
    place = s.flight_head + s.flight_count - 1
    while flight_block[place % flight_at.size] != block:
        place -= 1
    return flight_at[place % flight_at.size]


@jit
def _start(
    s: Record,
    block: int,
    turn: float,
    kind: int,
    todo: Words,
    flight_block: Integers,
    flight_at: Floats,
    curve: Record,
    sent: Integers,
) -> int:
    """Put a block on the wire not before ``turn``; return `DONE`, or what is needed before."""
    if s.flight_count == flight_at.size:
        return NEED_FLIGHT_ROOM
    if turn > s.ready:  # the link was idle, or the device is slower
        if s.restarts and kind == FETCHED:
            s.idle_until = turn
            return NEED_BUSY_PERIOD
        s.shift += turn - s.ready
        s.ready = turn
    if s.stream + s.block_bytes + s.header_bytes > s.curve_end:
        return NEED_CURVE
    s.device_free = turn + s.block_seconds
    put(s, s.block_bytes + s.header_bytes, curve)
    sent[kind, 0] += 1
    sent[kind, 1] += s.block_bytes
    todo[block >> 6] &= ~bit_of(block)
    s.unsent -= 1
    s.cursor = block + 1
    tail = (s.flight_head + s.flight_count) % flight_at.size
    flight_block[tail] = block
    flight_at[tail] = s.ready + s.half_trip
    s.flight_count += 1
    return DONE


@jit
def _push_before(
    s: Record,
    horizon: float,
    todo: Words,
    flight_block: Integers,
    flight_at: Floats,
    curve: Record,
    sent: Integers,
) -> int:
    """Let the push start all blocks that it starts before ``horizon``."""
    while s.background and s.unsent > 0 and not s.down:
        turn = max(s.ready, s.device_free)
        if turn >= horizon:
            break
        block = next_page(todo, s.cursor)
        if block < 0:
            block = next_page(todo, 0)
        status = _start(s, block, turn, COPIED, todo, flight_block, flight_at, curve, sent)
        if status != DONE:
            return status
    return DONE


@jit
def _fetch(
    s: Record,
    block: int,
    at: float,
    todo: Words,
    asked: Words,
    flight_block: Integers,
    flight_at: Floats,
    curve: Record,
    sent: Integers,
) -> int:
    """Let the I/O made ``at`` some time wait for a missing block, asked for if nobody has yet."""
    word, bit = block >> 6, bit_of(block)
    arrives = s.until
    if not s.down:
        request = at + s.request_delay
        if todo[word] & bit != 0:
            behind = request + standing(s, curve)
            status = _push_before(s, behind, todo, flight_block, flight_at, curve, sent)
            if status != DONE:
                return status
        if todo[word] & bit != 0:
            turn = max(request, s.ready, s.device_free)
            status = _start(s, block, turn, FETCHED, todo, flight_block, flight_at, curve, sent)
            if status != DONE:
                return status
        if asked[word] & bit == 0:
            asked[word] |= bit
            s.requests += 1
        arrives = _landing_of(s, block, flight_block, flight_at)
    s.faults += 1
    s.lag += (arrives - at) / (1.0 if s.down else s.queue_depth)
    return DONE


@jit
def run_disk_destination(
    state: Record,
    units: Integers,
    times: Floats,
    todo: Words,
    missing: Words,
    asked: Words,
    flight_block: Integers,
    flight_at: Floats,
    curve: Record,
    sent: Integers,
) -> int:
    """Run the guest's I/Os and the push until nothing is left to do before ``state.until``.

    ``todo`` are blocks that the source has not sent, ``missing`` those that have not arrived,
    ``asked`` those that were requested; I/Os as in `migsim._kernels.disk.run_disk`. Returns `DONE`,
    or what has to be refilled before the next call.
    """
    s = state[0]
    while True:
        if s.access == units.size:
            return NEED_ACCESSES
        at = s.anchor_real + (times[s.access] - s.anchor_guest) + s.lag
        status = _push_before(s, min(at, s.until), todo, flight_block, flight_at, curve, sent)
        if status != DONE:
            return status
        end = s.until
        if s.unsent == 0:
            end = min(end, max(s.hold, _last_landing(s, flight_at)))
        _land(s, min(at, end), missing, flight_block, flight_at)
        if at >= end:
            s.now = end
            return DONE
        unit = units[s.access]
        block = (unit if unit >= 0 else ~unit) >> s.unit_shift
        word, bit = block >> 6, bit_of(block)
        if missing[word] & bit != 0:
            if unit >= 0 and s.unit_shift == 0:  # the whole block is written: nothing is needed
                missing[word] &= ~bit
            else:
                status = _fetch(s, block, at, todo, asked, flight_block, flight_at, curve, sent)
                if status != DONE:
                    return status
        s.access += 1
