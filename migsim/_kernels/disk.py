"""The guest's disk at the source: its I/Os and the departing blocks, merged in order of time.

The guest runs until the block before has left; then the next one is read and takes its place on
the wire, behind the writes that were mirrored meanwhile, but for those that exceed its size: where
both have more than the link carries, each gets half. So what is stale at the destination is exact
to the single I/O. Of a mirrored write's way to the destination and back, the guest loses one part
in the I/Os that it has outstanding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from migsim._jit import jit
from migsim._kernels.bits import bit_of, next_page
from migsim._kernels.curve import departure, segment_of
from migsim._kernels.source import DONE, NEED_ACCESSES, NEED_BUSY_PERIOD, NEED_CURVE
from migsim._types import Floats, Integers, Record, Words

__all__ = [
    "COPIED",
    "DISK_STATE",
    "MIRRORED",
    "Blocks",
    "next_mirrored",
    "put",
    "run_disk",
    "standing",
]

# Rows of the two columns (number, content bytes) of `sent`.
COPIED = 0
MIRRORED = 1


class Blocks(NamedTuple):
    """Bitmaps over the blocks of a disk; words as in `migsim._kernels.bits`.

    Attributes:
        log: written since the log was last read; mirrored writes are not logged.
        child: written since the last snapshot.
        stale: what the destination has of it differs.
        allocated: those that hold something.
        unmirrored: their writes are not mirrored until they have been sent.
    """

    log: Words
    child: Words
    stale: Words
    allocated: Words
    unmirrored: Words


DISK_STATE = np.dtype(
    [
        # the guest's clock, as in `SOURCE_STATE`
        ("running", "i8"),
        ("anchor_real", "f8"),
        ("anchor_guest", "f8"),
        ("stretch", "f8"),
        ("lag", "f8"),
        ("access", "i8"),  # index of the next I/O in the buffer
        # the link, as in `SOURCE_STATE`
        ("stream", "i8"),
        ("segment", "i8"),
        ("shift", "f8"),
        ("most_shift", "f8"),
        ("ready", "f8"),
        ("curve_end", "i8"),
        ("restarts", "i8"),  # a gap begins a new busy period
        ("idle_until", "f8"),  # for `NEED_BUSY_PERIOD`: when there is something to send
        ("round_trip", "f8"),
        ("header_bytes", "i8"),
        # the disk
        ("unit_bytes", "i8"),  # bytes of an I/O
        ("unit_shift", "i8"),  # log2 of the I/Os that a block holds
        ("block_bytes", "i8"),
        ("queue_depth", "f8"),
        ("mirrors", "i8"),  # writes are mirrored
        ("mirrored", "i8"),  # bytes of writes since the last block left
        ("chained", "i8"),  # blocks are read as of the last snapshot
        # what is to be done
        ("hold", "f8"),  # the guest runs at least until then
        ("stop_at", "f8"),  # no block starts then or later
        ("stop_bytes", "i8"),  # no block starts once the stream is that long
        ("cursor", "i8"),  # the next block is the first one of `todo` from here, cyclically
        ("block_seconds", "f8"),  # a block takes the device, or the limit, at least so long
        ("device_free", "f8"),  # when that lets the next one start
        # what was done
        ("left", "f8"),  # when the last block had left
        ("mirror_lag", "f8"),  # the part of the lag that mirrored writes have caused
    ]
)


@jit
def standing(s: Record, curve: Record) -> float:
    """Return how long what enters the bottleneck's queue now stands in it."""
    return curve[s.segment].queue * curve[s.segment].pace


@jit
def put(s: Record, size: int, curve: Record) -> None:
    """Put ``size`` bytes behind what has been put on the wire before."""
    s.stream += size
    s.segment = segment_of(s.stream, s.segment, curve)
    s.ready = max(s.ready, departure(s.stream, s.segment, curve) + s.shift)


@jit
def _mirror(s: Record, at: float, curve: Record, sent: Integers) -> None:
    """Send the write that the guest makes now, and let it wait for the answer."""
    if at > s.ready:
        s.shift += at - s.ready
        s.ready = at
    put(s, s.unit_bytes + s.header_bytes, curve)
    s.mirrored += s.unit_bytes
    sent[MIRRORED, 0] += 1
    sent[MIRRORED, 1] += s.unit_bytes
    wait = (s.ready + standing(s, curve) + s.round_trip - at) / s.queue_depth
    s.lag += wait
    s.mirror_lag += wait


@jit
def _note_write(s: Record, block: int, mirrored: bool, blocks: Blocks) -> None:
    """Note what a write leaves behind at both hosts."""
    word, bit = block >> 6, bit_of(block)
    blocks.allocated[word] |= bit
    blocks.child[word] |= bit
    if not mirrored:
        blocks.log[word] |= bit
        blocks.stale[word] |= bit
    elif s.unit_shift == 0:  # all of the block arrives
        blocks.stale[word] &= ~bit


@jit
def _send(s: Record, block: int, turn: float, blocks: Blocks, curve: Record) -> None:
    """Read a block and let it leave."""
    word, bit = block >> 6, bit_of(block)
    if s.chained and blocks.child[word] & bit != 0:  # what is read is older than the last write
        blocks.stale[word] |= bit
    else:
        blocks.stale[word] &= ~bit
    if turn > s.ready:  # the device, or the limit, is slower than the link
        s.shift += turn - s.ready
        s.ready = turn
    s.device_free = turn + s.block_seconds
    put(s, s.block_bytes + s.header_bytes, curve)
    s.left = s.ready
    s.mirrored = 0


@jit
def _following(s: Record, todo: Words, blocks: Blocks) -> int:
    """Return the block whose turn it is, -1 if none is left; blocks that hold nothing drop out."""
    while True:
        block = next_page(todo, s.cursor)
        if block < 0:
            block = next_page(todo, 0)
        if block < 0:
            return -1
        word, bit = block >> 6, bit_of(block)
        if blocks.allocated[word] & bit != 0:
            return block
        todo[word] &= ~bit
        blocks.unmirrored[word] &= ~bit


@jit
def run_disk(
    state: Record,
    units: Integers,
    times: Floats,
    blocks: Blocks,
    todo: Words,
    curve: Record,
    sent: Integers,
) -> int:
    """Run the guest's I/Os while the blocks of ``todo`` leave; return `DONE` or what is needed.

    ``units`` and ``times`` hold I/Os from ``state.access`` on: u is a write of the disk's u-th
    piece of ``unit_bytes``, ~u a read, which costs nothing here; times are guest seconds. ``sent``
    counts blocks and mirrored writes. What is asked for again changes nothing.
    """
    s = state[0]
    block = _following(s, todo, blocks)
    while True:
        turn = max(s.left, s.device_free)
        may_send = block >= 0 and turn < s.stop_at and s.stream < s.stop_bytes
        boundary = turn if may_send else max(s.left, s.hold)
        while s.running:
            if s.access == units.size:
                return NEED_ACCESSES
            at = s.anchor_real + (times[s.access] - s.anchor_guest) * s.stretch + s.lag
            if at >= boundary:
                break
            unit = units[s.access]
            if unit < 0:
                s.access += 1
                continue
            written = unit >> s.unit_shift
            pending = blocks.unmirrored[written >> 6] & bit_of(written) != 0
            mirrored = s.mirrors != 0 and not pending
            if mirrored:
                if may_send and s.mirrored >= s.block_bytes:
                    break  # now it is the copy's turn
                if at > s.ready and s.restarts:
                    s.idle_until = at
                    return NEED_BUSY_PERIOD
                if s.stream + s.unit_bytes + s.header_bytes > s.curve_end:
                    return NEED_CURVE
                _mirror(s, at, curve, sent)
            s.access += 1
            _note_write(s, written, mirrored, blocks)
        if not may_send:
            return DONE
        if s.shift > s.most_shift:
            s.idle_until = np.nextafter(s.ready, np.inf)
            return NEED_BUSY_PERIOD
        if s.stream + s.block_bytes + s.header_bytes > s.curve_end:
            return NEED_CURVE
        _send(s, block, turn, blocks, curve)
        sent[COPIED, 0] += 1
        sent[COPIED, 1] += s.block_bytes
        todo[block >> 6] &= ~bit_of(block)
        blocks.unmirrored[block >> 6] &= ~bit_of(block)
        s.cursor = block + 1
        block = _following(s, todo, blocks)


@jit
def next_mirrored(units: Integers, access: int, unit_shift: int, unmirrored: Words) -> int:
    """Return the index of the first write from ``access`` on that is mirrored; the end if none."""
    while access < units.size:
        unit = units[access]
        block = unit >> unit_shift
        if unit >= 0 and unmirrored[block >> 6] & bit_of(block) == 0:
            break
        access += 1
    return access
