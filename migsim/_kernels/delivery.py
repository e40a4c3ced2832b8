"""What leaves the bottleneck in a round becomes segments of the service curve."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._types import Record

__all__ = ["ENDLESS", "SEGMENTS_A_ROUND", "append_segment", "deliver_round"]

ENDLESS = 1 << 62
"""Stream bytes that no migration reaches."""

SEGMENTS_A_ROUND = 6
"""At most so many segments come of one round."""


@jit
def append_segment(p: Record, at: float, pace: float, curve: Record) -> None:
    """Begin a segment of the curve at what is delivered so far.

    It starts at a whole byte: at the one before, and at the time at which that would have left.
    """
    exact = p.delivered * p.segment
    start = np.int64(np.floor(exact))
    queue = np.int64(p.share * p.standing * p.segment)
    window = np.int64(min(p.share * p.window * p.segment, ENDLESS))
    backlog = np.int64(p.backlog)
    place = p.segments
    if place > 0:
        last = curve[place - 1]
        due = last.at + (exact - last.bytes) * last.pace
        goes_on = last.pace == pace and last.queue == queue and last.backlog == backlog
        if goes_on and at - due <= 2.0 * pace and pace > 0.0 and not p.detail:
            return
        at = max(at, due)
        if last.bytes == start and not p.detail:  # an empty segment gives way
            place -= 1
    at -= (exact - start) * pace
    new = curve[place]
    new.at = at
    new.bytes = start
    new.pace = pace
    new.queue = queue
    new.window = window
    new.backlog = backlog
    p.segments = place + 1


@jit
def _release(p: Record, at: float, curve: Record) -> None:
    """Hand over what has waited behind a hole that is filled."""
    if p.held > 0.0:
        append_segment(p, at, 0.0, curve)
        p.delivered += p.held
        p.held = 0.0


@jit
def _deliver(p: Record, start: float, stop: float, packets: float, curve: Record) -> None:
    """Let packets leave evenly from ``start`` to ``stop``, those behind a hole when it is filled.

    What lies behind a lost packet reaches the application a round trip later, all at once. What
    would leave while the link is down is lost.
    """
    if start > p.cut:
        return
    if stop > p.cut:
        packets *= max(0.0, p.cut - start) / (stop - start)
        stop = max(start, p.cut)
    if p.hold_until > start:
        if p.hold_until >= stop:
            p.held += packets
            return
        part = packets * (p.hold_until - start) / (stop - start)
        p.held += part
        packets -= part
        start = p.hold_until
    _release(p, start, curve)
    if packets > 0.0:
        pace = (stop - start) / (packets * p.segment)
        full = 1.0 / (p.capacity * p.segment)
        if abs(pace - full) < 1e-9 * full:
            pace = full  # to the bit, so that equal segments become one
        append_segment(p, start, pace, curve)
        p.delivered += packets


@jit
def deliver_round(
    p: Record, streams: Record, stop: float, packets: float, lost: float, fill: float, curve: Record
) -> None:
    """Let what our streams have of a round leave from now to ``stop``.

    What lies behind the first lost packet, of whichever stream, waits for ``fill`` seconds: the
    migration's stream goes round the connections in order.
    """
    start, good = p.now, packets - lost
    if lost > 0.0 and p.hold_until <= p.now + p.duration:
        passed = 1.0
        for k in range(p.own):
            s = streams[k]
            if s.lost > 0.0 and s.sent > 0.0:
                passed = min(passed, s.first_loss / s.sent)
        hole = start + (stop - start) * passed
        early = min(passed * packets, good)
        if hole > start:
            _deliver(p, start, hole, early, curve)
        if p.hold_until <= min(hole, p.cut):
            _release(p, hole, curve)  # the hole before this one is filled
            p.hold_until = hole + fill
        good -= early
        start = hole
    _deliver(p, start, stop, good, curve)
