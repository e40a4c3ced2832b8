"""The service curve of a connection: piecewise linear departures of stream bytes."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Record

__all__ = ["CURVE", "departure", "earlier_segment", "segment_of", "sockets_take"]

CURVE = np.dtype(
    [
        ("at", "f8"),  # seconds at which the segment starts
        ("bytes", "i8"),  # stream bytes that have left before it
        ("pace", "f8"),  # seconds per byte within it
        ("queue", "i8"),  # stream bytes of ours that stand in the bottleneck's queue meanwhile
        ("window", "i8"),  # stream bytes of ours in flight or queued meanwhile
        ("backlog", "i8"),  # stream bytes that our sockets hold meanwhile, those in flight included
    ]
)
"""A segment; byte b leaves at ``at + (b - bytes) * pace``."""


@jit
def segment_of(stream: int, segment: int, curve: Record) -> int:
    """Return the segment that byte number ``stream`` lies in, at ``segment`` or behind it."""
    while segment + 1 < curve.size and curve[segment + 1].bytes < stream:
        segment += 1
    return segment


@jit
def departure(stream: int, segment: int, curve: Record) -> float:
    """Return when byte number ``stream``, which lies in ``segment``, leaves."""
    s = curve[segment]
    return s.at + (stream - s.bytes) * s.pace


@jit
def earlier_segment(stream: int, segment: int, curve: Record) -> int:
    """Return the segment of a byte that may lie before ``segment`` as well as behind it."""
    while segment > 0 and curve[segment].bytes >= stream:
        segment -= 1
    return segment_of(stream, segment, curve)


@jit
def sockets_take(
    stream: int, segment: int, behind: int, shift: float, round_trip: float, curve: Record
) -> tuple[float, int]:
    """Return when the sockets have room for what follows byte ``stream``, and where that lies.

    That is once so much is acknowledged that the rest fits into them. ``segment`` is that of
    ``stream``, ``behind`` a guess of the segment of the byte whose acknowledgement makes the room;
    ``shift`` is how far departures have fallen behind the curve.
    """
    backlog = curve[segment].backlog
    position = max(0, stream - backlog)
    behind = earlier_segment(position, behind, curve)
    freed = departure(position, behind, curve) + shift
    if stream > backlog:
        freed += round_trip
    return freed, behind
