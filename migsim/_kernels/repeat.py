"""Rounds that must be equal, to be made in one step."""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.congestion import awaited_refill, bbr_busy, hold_back, may_grow
from migsim._types import Record

__all__ = ["equal_bbr_rounds", "equal_window_rounds", "repeat_round"]


@jit
def _lossless_rounds(streams: Record) -> float:
    """Return how many rounds like this one pass before a packet is lost."""
    rounds = np.inf
    for k in range(streams.size):
        s = streams[k]
        if s.sent > 0.0:
            rounds = min(rounds, np.floor(min(s.until_loss, s.until_switch) / s.sent))
    return rounds


@jit
def _window_rounds(p: Record, streams: Record) -> float:
    """Return how many equal rounds come where no window can grow; 0 if not even one.

    The socket buffers limit all streams, or the interface that makes the sender wait; and what
    they send fits into the queue.
    """
    total = refill = ours = 0.0
    for k in range(streams.size):
        s = streams[k]
        if s.wakes > p.now:
            return 0.0
        s.sent = min(s.window, p.limit)
        total += s.sent
    total = hold_back(p, streams, total)
    for k in range(streams.size):
        refill += awaited_refill(p, streams[k])
    room = p.capacity * p.delay
    if total > room + p.queue:
        return 0.0
    for k in range(streams.size):
        if may_grow(p, streams[k]):
            return 0.0
        ours += streams[k].sent if k < p.own else 0.0
    p.standing = max(0.0, total - refill - room)
    p.window, p.share = total, ours / total
    p.duration = max(p.delay + refill / p.capacity, total / p.capacity)
    return _lossless_rounds(streams)


@jit
def _bbr_rounds(p: Record, streams: Record) -> float:
    """Return how many rounds BBR's streams keep the path busy; a multiple of their cycle of eight.

    They do once they know its rate, until one of them next looks for the shortest round trip.
    """
    known, rests = bbr_busy(p, streams)
    if p.queue < 0.25 * p.capacity * p.delay or rests <= p.now:
        return 0.0
    duration = p.delay + p.standing / p.capacity
    served = p.capacity * duration
    if streams.size == 1:
        # The second round of the cycle drains the queue of the first: it lasts a quarter longer,
        # and what it sends at three quarters of the rate leaves a sixteenth of it unused.
        served *= (7.0 + 1.25 * 0.95) / 8.0
        duration *= (7.0 + 1.25) / 8.0
    ours = 0.0
    for k in range(streams.size):
        s = streams[k]
        s.sent = served * s.bandwidth / known
        ours += s.bandwidth / known if k < p.own else 0.0
    rounds = min((rests - p.now) / duration, _lossless_rounds(streams))
    p.window, p.share, p.duration = served, ours, duration
    return 8.0 * np.floor(rounds / 8.0)


@jit
def _may_repeat(p: Record) -> bool:
    """Return whether nothing is under way in a round that the next one will not have."""
    return not (p.jitter > 0.0 or p.hold_until > p.now or p.due > p.now or p.cut < np.inf)


@jit
def _more_than_one(p: Record, rounds: float, change: float) -> float:
    """Return how many of ``rounds`` end before ``change``, or 0 for a single one."""
    if rounds > 1.0:
        rounds = min(rounds, np.floor((change - p.now) / p.duration))
    return rounds if rounds > 1.0 else 0.0


@jit
def equal_window_rounds(p: Record, streams: Record, change: float) -> float:
    """Return how many rounds of windows must come that are like this one, more than one, or 0.

    Until ``change`` nothing happens to the path. Sets `share`, `window`, `standing`, `duration`
    and what each stream sends.
    """
    if not _may_repeat(p):
        return 0.0
    return _more_than_one(p, _window_rounds(p, streams), change)


@jit
def equal_bbr_rounds(p: Record, streams: Record, change: float) -> float:
    """Return the same for streams that BBR paces."""
    if not _may_repeat(p):
        return 0.0
    return _more_than_one(p, _bbr_rounds(p, streams), change)


@jit
def repeat_round(path: Record, streams: Record, rounds: float) -> None:
    """Count the packets of ``rounds`` equal rounds, of which none is lost."""
    for k in range(streams.size):
        s = streams[k]
        s.until_loss -= rounds * s.sent
        s.until_switch -= rounds * s.sent
