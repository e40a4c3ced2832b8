"""TCP by round trips: what n streams over one bottleneck deliver, one step a round.

A step costs the same whatever the rate: all streams send their windows, the bottleneck serves
them, losses are found by counting packets to the next one, and each stream reacts as its
congestion control does. What comes out is a service curve: when the bytes of the stream have left
the bottleneck, in order. Compared with Linux in ``migsim validate tcp``.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.congestion import (
    BBR,
    NONE,
    bbr_learns,
    bbr_sends,
    draw_losses,
    grow,
    reduce_window,
    start_stream,
    unit_draw,
)
from migsim._kernels.draws import portable_exp, random_bits
from migsim._types import Floats, Integers, Record

__all__ = ["ENDLESS", "UNLIMITED", "open_streams", "pause_streams", "run_rounds"]

ENDLESS = 1 << 62
"""Stream bytes that no migration reaches."""

UNLIMITED = 1e18
"""Packets per second that stand for a rate without limit."""

_TIMEOUT = 0.2  # Linux's least retransmission time-out beyond the round trip
_LONGEST_TIMEOUT = 120.0
_RETRANSMISSIONS = 15  # after so many in vain the connection is closed (tcp_retries2)


@jit
def open_streams(path: Record, streams: Record, window: float, seed: np.uint64) -> None:
    """Put all streams into the state of new connections."""
    for k in range(streams.size):
        start_stream(path[0], streams[k], window, random_bits(seed, k))


@jit
def _append(
    p: Record, at: float, pace: float, count: int, out_at: Floats, out_bytes: Integers,
    out_pace: Floats, out_queue: Integers, out_window: Integers,
) -> int:  # fmt: skip
    """Begin a segment of the curve at what is delivered so far; return how many there are."""
    start = np.int64(np.floor(p.delivered * p.segment))
    queue = np.int64(p.standing * p.segment)
    window = np.int64(min(p.window * p.segment, ENDLESS))
    if count > 0:
        last = count - 1
        due = out_at[last] + (start - out_bytes[last]) * out_pace[last]
        if out_pace[last] == pace and at - due <= 2.0 * pace and pace > 0.0 and not p.detail:
            out_queue[last] = max(out_queue[last], queue)
            return count
        at = max(at, due)
        if out_bytes[last] == start:  # an empty segment gives way
            out_at[last] = at
            out_pace[last] = pace
            out_queue[last] = queue
            out_window[last] = window
            return count
    out_at[count] = at
    out_bytes[count] = start
    out_pace[count] = pace
    out_queue[count] = queue
    out_window[count] = window
    return count + 1


@jit
def _deliver(
    p: Record, start: float, stop: float, packets: float, count: int, out_at: Floats,
    out_bytes: Integers, out_pace: Floats, out_queue: Integers, out_window: Integers,
) -> int:  # fmt: skip
    """Let packets leave evenly from ``start`` to ``stop``, those behind a hole when it is filled.

    What lies behind a lost packet reaches the application a round trip later, all at once.
    """
    if p.hold_until > start:
        if p.hold_until >= stop:
            p.held += packets
            return count
        part = packets * (p.hold_until - start) / (stop - start)
        p.held += part
        packets -= part
        start = p.hold_until
    if p.held > 0.0:
        count = _append(p, start, 0.0, count, out_at, out_bytes, out_pace, out_queue, out_window)
        p.delivered += p.held
        p.held = 0.0
    if packets > 0.0:
        pace = (stop - start) / (packets * p.segment)
        full = 1.0 / (p.capacity * p.segment)
        if abs(pace - full) < 1e-9 * full:
            pace = full  # to the bit, so that equal segments become one
        count = _append(p, start, pace, count, out_at, out_bytes, out_pace, out_queue, out_window)
        p.delivered += packets
    return count


@jit
def _time_out(p: Record, streams: Record, change_at: Floats, change_to: Floats) -> None:
    """Let an outage pass: time-outs double until one falls into a time when the link is up."""
    k = p.next_change
    while k < change_at.size and change_to[k] <= 0.0:
        k += 1
    up = change_at[k] if k < change_at.size else np.inf
    timeout = p.delay + _TIMEOUT
    tries = 0
    while p.now < up:
        if tries > _RETRANSMISSIONS:
            p.dead = 1
            return
        p.now = up if p.control == NONE and up < np.inf else p.now + timeout
        timeout = min(2.0 * timeout, _LONGEST_TIMEOUT)
        tries += 1
    p.standing = 0.0
    for k in range(streams.size):
        s = streams[k]
        s.backlog = 0.0
        if p.control != BBR:
            s.sent = 0.0
            p.duration = 0.0
            reduce_window(p, s)
            s.wakes = 0.0


@jit
def _react(p: Record, streams: Record, over: float, total: float, seed: np.uint64) -> None:
    """Find out which streams lost packets this round, and change their windows."""
    for k in range(streams.size):
        s = streams[k]
        s.lost = 0.0
        s.first_loss = np.inf
        if s.wakes > p.now:
            continue
        draw_losses(p, s, s.sent, random_bits(seed, k))
        if over > 0.0:
            share = over * s.sent / total
            # Of few dropped packets a stream may have none: Poisson.
            hit = streams.size == 1 or unit_draw(s, random_bits(seed, k)) > portable_exp(-share)
            if hit:
                s.lost += share
                s.first_loss = min(s.first_loss, s.sent * (1.0 - over / total))
        if s.lost > 0.0:
            reduce_window(p, s)
        elif s.sent + p.used >= s.window - 1.0 or s.window < s.threshold:
            grow(p, s)


@jit
def _window_round(
    p: Record, streams: Record, seed: np.uint64, delay: float, count: int, out_at: Floats,
    out_bytes: Integers, out_pace: Floats, out_queue: Integers, out_window: Integers,
) -> int:  # fmt: skip
    """Make one round of streams that are clocked by their windows (Reno and CUBIC)."""
    total = 0.0
    bursts = True
    wakes = np.inf
    for k in range(streams.size):
        s = streams[k]
        s.sent = 0.0
        wakes = min(wakes, s.wakes)
        if s.wakes <= p.now:
            s.sent = max(0.0, min(s.window, p.limit) - p.used)
            total += s.sent
            bursts = bursts and s.window < min(s.threshold, p.limit)
    if wakes > p.now:  # all have timed out
        p.now = wakes
        return count
    p.window = total + p.used * streams.size
    room = p.capacity * p.delay
    round_trip = delay if p.due <= p.now else max(p.due - p.now, 0.0)
    p.duration = max(round_trip, total / p.capacity)
    over = max(0.0, p.window - room - p.queue)
    p.standing = min(max(0.0, p.window - room), p.queue)
    _react(p, streams, over, max(total, 1.0), seed)
    start, stop = p.now, p.now + p.duration
    filled = start + total / p.capacity if bursts else stop
    lost = 0.0
    first = np.inf
    for k in range(streams.size):
        lost += min(streams[k].lost, streams[k].sent) if streams[k].sent > 0.0 else 0.0
        if streams[k].sent > 0.0 and streams[k].lost > 0.0:
            first = min(first, streams[k].first_loss)
    good = total - lost
    if streams.size == 1 and first < np.inf and p.hold_until <= start + p.duration:
        hole = start + (filled - start) * min(1.0, first / max(total, 1.0))
        early = min(first, good)
        if hole > start:
            count = _deliver(
                p, start, hole, early, count, out_at, out_bytes, out_pace, out_queue, out_window
            )
        if p.hold_until <= hole:
            p.hold_until = hole + max(p.duration, streams[0].wakes - p.now)
        good -= early
        start = hole
    count = _deliver(
        p, start, filled, good, count, out_at, out_bytes, out_pace, out_queue, out_window
    )
    p.now = stop
    return count


@jit
def _bbr_round(
    p: Record, streams: Record, seed: np.uint64, delay: float, count: int, out_at: Floats,
    out_bytes: Integers, out_pace: Floats, out_queue: Integers, out_window: Integers,
) -> int:  # fmt: skip
    """Make one round of streams that are paced by their model of the path (BBR)."""
    p.duration = max(delay + p.standing / p.capacity, 1.0 / p.capacity)
    total = 0.0
    for k in range(streams.size):
        streams[k].sent = bbr_sends(p, streams[k])
        total += streams[k].sent
    p.window = p.standing + total
    served = min(p.standing + total, p.capacity * p.duration)
    share = served / p.window if p.window > 0.0 else 0.0
    p.standing = max(0.0, p.window - served)
    kept = min(1.0, p.queue / p.standing) if p.standing > 0.0 else 1.0
    p.standing *= kept
    good = 0.0
    for k in range(streams.size):
        s = streams[k]
        delivered = share * (s.backlog + s.sent)
        s.backlog = kept * (s.backlog + s.sent - delivered)
        s.lost = 0.0
        s.first_loss = np.inf
        draw_losses(p, s, delivered, random_bits(seed, k))
        good += max(0.0, delivered - s.lost)
        bbr_learns(p, s, delivered)
    start, stop = p.now, p.now + p.duration
    s = streams[0]
    if streams.size == 1 and s.lost > 0.0 and p.hold_until <= start:
        early = min(s.first_loss, good)
        hole = start + p.duration * s.first_loss / max(served, 1.0)
        if hole > start:
            count = _deliver(
                p, start, hole, early, count, out_at, out_bytes, out_pace, out_queue, out_window
            )
        p.hold_until = hole + p.duration
        good -= early
        start = hole
    count = _deliver(
        p, start, stop, good, count, out_at, out_bytes, out_pace, out_queue, out_window
    )
    p.now = stop
    return count


@jit
def _steady_pace(p: Record, streams: Record) -> float:
    """Return the seconds per packet for as long as the path stays as it is, or 0.

    Nothing can change where the socket buffers limit all streams, what they let out fits into the
    queue, and no packet is lost at random.
    """
    if p.control == BBR or p.loss > 0.0 or p.burst_begins > 0.0 or p.jitter > 0.0:
        return 0.0
    total = 0.0
    for k in range(streams.size):
        s = streams[k]
        if s.window < p.limit or s.wakes > p.now:
            return 0.0
        # CUBIC's HyStart may still end slow start, but at such a window it makes no difference.
        total += p.limit
    room = p.capacity * p.delay
    if total > room + p.queue or p.hold_until > p.now or p.due > p.now:
        return 0.0
    p.standing = max(0.0, total - room)
    p.window = total
    p.duration = max(p.delay, total / p.capacity)
    return p.duration / total


@jit
def run_rounds(
    path: Record,
    streams: Record,
    seed: np.uint64,
    change_at: Floats,
    change_to: Floats,
    rounds: int,
    stop_bytes: int,
    stop_at: float,
    out_at: Floats,
    out_bytes: Integers,
    out_pace: Floats,
    out_queue: Integers,
    out_window: Integers,
) -> int:
    """Make rounds and draw the service curve; return the number of its segments.

    Ends after ``rounds`` rounds, where more than ``stop_bytes`` bytes are delivered, behind
    ``stop_at``, where the arrays are full, or where the path is steady for ever. ``change_at`` and
    ``change_to`` are the schedule of the bottleneck's capacity in packets per second.
    """
    p = path[0]
    count = 0
    p.rounds = 0
    while p.rounds < rounds and p.delivered * p.segment <= stop_bytes and p.now < stop_at:
        if count + 4 > out_at.size or p.dead:
            break
        while p.next_change < change_at.size and change_at[p.next_change] <= p.now:
            p.capacity = change_to[p.next_change]
            p.next_change += 1
        p.rounds += 1
        p.began, p.before, p.steady = p.now, p.delivered, 0
        if p.capacity <= 0.0:
            _time_out(p, streams, change_at, change_to)
            continue
        if p.control == NONE:
            pace = 1.0 / p.capacity if p.capacity < UNLIMITED else 0.0
            p.duration = p.delay
            p.window = p.capacity * p.delay
        else:
            pace = _steady_pace(p, streams)
        if pace > 0.0 or p.control == NONE:
            p.steady = 1
            stop = change_at[p.next_change] if p.next_change < change_at.size else np.inf
            count = _append(
                p,
                p.now,
                pace / p.segment,
                count,
                out_at,
                out_bytes,
                out_pace,
                out_queue,
                out_window,
            )
            p.delivered += (stop - p.now) / pace
            p.now = stop
            continue
        delay = p.delay
        if p.jitter > 0.0:
            delay += p.jitter * unit_draw(p, seed)
        if p.control == BBR:
            count = _bbr_round(
                p, streams, seed, delay, count, out_at, out_bytes, out_pace, out_queue, out_window
            )
        else:
            count = _window_round(
                p, streams, seed, delay, count, out_at, out_bytes, out_pace, out_queue, out_window
            )
        p.used, p.due = 0.0, 0.0
    return count


@jit
def pause_streams(
    path: Record, streams: Record, fresh: float, used: float, acknowledged: bool, idle: float,
    initial: float, seed: np.uint64,
) -> None:  # fmt: skip
    """Account for a round that ended early, and for ``idle`` seconds after it.

    Each stream has used ``used`` packets of its window, ``fresh`` of them in this busy period. The
    windows grow by what was acknowledged; a longer pause than the retransmission time-out
    halves them for each one that passed (RFC 2861; Linux's tcp_slow_start_after_idle). BBR keeps
    its model of the path.
    """
    p = path[0]
    p.standing = 0.0
    for k in range(streams.size):
        s = streams[k]
        s.backlog = 0.0
        s.sent = used
        s.lost = 0.0
        s.first_loss = np.inf
        if p.control == NONE:
            continue
        draw_losses(p, s, fresh, random_bits(seed, k))
        if p.control == BBR:
            continue
        if s.lost > 0.0:
            p.duration = 0.0
            reduce_window(p, s)
            s.wakes = 0.0
        elif acknowledged and s.window < min(s.threshold, p.limit):
            s.window = min(s.window + used, max(s.threshold, s.window))
        if not acknowledged:
            continue
        left = idle
        while left > p.delay + _TIMEOUT and s.window > initial:
            s.threshold = max(s.threshold, 0.75 * s.window)
            s.window = max(initial, 0.5 * s.window)
            s.epoch = -1.0
            left -= p.delay + _TIMEOUT
