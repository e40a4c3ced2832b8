"""TCP by round trips: what n streams over one bottleneck deliver, one step a round.

A step costs the same whatever the rate: all streams send their windows, the bottleneck serves
them, losses are found by counting packets to the next one, and each stream reacts as its
congestion control does. Rounds that must be equal are made in one step. What comes out is a
service curve: when the bytes of the stream have left the bottleneck, in order. Compared with Linux
in ``migsim validate tcp``.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.congestion import (
    BBR,
    LEAST_TIMEOUT,
    LONGEST_TIMEOUT,
    NONE,
    awaited_refill,
    bbr_learns,
    bbr_pauses,
    bbr_sends,
    draw_losses,
    grow,
    hold_back,
    may_grow,
    packets_until,
    reduce_window,
    start_competitor,
    unit_draw,
)
from migsim._kernels.delivery import (
    SEGMENTS_A_ROUND,
    append_segment,
    deliver_round,
)
from migsim._kernels.draws import portable_exp, random_bits
from migsim._kernels.repeat import equal_bbr_rounds, equal_window_rounds, repeat_round
from migsim._types import Floats, Record

__all__ = [
    "FIRST_DRAWS",
    "UNLIMITED",
    "draw_first_losses",
    "open_competitors",
    "pause_streams",
    "run_bbr_rounds",
    "run_plain",
    "run_window_rounds",
    "wait_for_link",
]

FIRST_DRAWS = 2
"""Random numbers that `draw_first_losses` draws for a stream."""

UNLIMITED = 1e18
"""Packets per second that stand for a rate without limit."""

_RETRANSMISSIONS = 15  # after so many in vain the connection is closed (tcp_retries2)


@jit
def draw_first_losses(path: Record, streams: Record, seed: np.uint64) -> None:
    """Draw when each new stream loses its first packet, and when losses come in bursts."""
    p = path[0]
    for k in range(streams.size):
        s = streams[k]
        s.draws = 0
        s.until_loss = packets_until(p.loss, unit_draw(s, random_bits(seed, k)))
        s.until_switch = packets_until(p.burst_begins, unit_draw(s, random_bits(seed, k)))


@jit
def open_competitors(path: Record, streams: Record) -> None:
    """Put the streams of others into the state of old connections."""
    p = path[0]
    for k in range(p.own, streams.size):
        start_competitor(p, streams[k], streams.size - p.own)


# ---- a bottleneck that changes --------------------------------------------------------------


@jit
def _look_ahead(p: Record, streams: Record, change_at: Floats, change_to: Floats) -> None:
    """Find the mean capacity of the coming round, and when the link goes down in it.

    The round ends when its round trip is over and its packets, or BBR's queue, are served; one that
    lasts longer than its round trip for that ends at the next change of the rate.
    """
    p.capacity, p.cut, p.turn, p.most = p.rate, np.inf, np.inf, np.inf
    window = p.standing
    if p.control != BBR:
        window = 0.0
        for k in range(streams.size):
            window += min(streams[k].window, p.limit)
    packets = max(min(window, p.rate * p.trip + p.queue + 1.0), 1.0)
    served, at, rate, k = 0.0, p.now, p.rate, p.next_change
    while p.turn == np.inf and rate > 0.0:
        stop = max(p.now + p.trip, at + max(0.0, packets - served) / rate)
        following = change_at[k] if k < change_at.size else np.inf
        served += rate * (min(stop, following) - at)
        at = min(stop, following)
        if stop <= following:
            break
        rate = change_to[k]
        k += 1
        if at > p.now + p.trip:
            p.turn, p.most = at, max(served, 1.0)
    if k > p.next_change:
        p.capacity = served / (at - p.now)
    # A window that overflows the queue lasts longer than what is served of it.
    end = p.now + max(p.trip, window / p.capacity)
    k = p.next_change
    while k < change_at.size and change_at[k] <= end:
        if change_to[k] <= 0.0:
            p.cut = change_at[k]
            return
        k += 1


@jit
def _follow_schedule(p: Record, change_at: Floats, change_to: Floats) -> None:
    """Take over the changes up to now."""
    while p.next_change < change_at.size and change_at[p.next_change] <= p.now:
        p.rate = change_to[p.next_change]
        p.next_change += 1


@jit
def _fill_sockets(p: Record, streams: Record) -> None:
    """Find out what our sockets hold: Linux's buffers grow with the window and do not shrink.

    A window that the path cannot hold loses packets before it is reached.
    """
    p.backlog = 0.0
    most = np.inf if p.patient else p.capacity * p.delay + p.queue
    for k in range(p.own):
        s = streams[k]
        s.widest = max(s.widest, min(s.window, most))
        p.backlog += min(p.socket, s.widest * p.socket_growth)


# ---- rounds ---------------------------------------------------------------------------------


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
        if s.lost < s.sent:
            s.timeouts = 0
        if s.lost > 0.0:
            reduce_window(p, s)
            if k < p.own and s.timeouts > _RETRANSMISSIONS + 1:
                p.dead = 1
        elif may_grow(p, s):
            grow(p, s)


@jit
def _window_round(p: Record, streams: Record, seed: np.uint64, curve: Record) -> None:
    """Make one round of streams that are clocked by their windows (Reno and CUBIC)."""
    total = refill = 0.0
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
        return
    total = hold_back(p, streams, total)
    p.window = total
    for k in range(streams.size):
        s = streams[k]
        p.window += min(p.used, s.window)
        refill += awaited_refill(p, s)
    room = p.capacity * p.trip
    round_trip = p.trip if p.due <= p.now else p.due - p.now
    p.duration = max(round_trip + refill / p.capacity, total / p.capacity)
    # Beside the queue there is a packet in service.
    over = max(0.0, p.window - room - p.queue - 1.0) if not p.patient else 0.0
    over = min(over, total)
    p.standing = min(max(0.0, p.window - refill - room), p.queue)
    _react(p, streams, over, max(total, 1.0), seed)
    ours = lost = 0.0
    for k in range(p.own):
        ours += streams[k].sent
        lost += min(streams[k].lost, streams[k].sent)
    p.share = ours / total if total > 0.0 else 0.0
    filled = p.now + (total / p.capacity if bursts else p.duration)
    fill = p.duration
    for k in range(p.own):
        fill = max(fill, streams[k].wakes - p.now)
    deliver_round(p, streams, filled, ours, lost, fill, curve)
    p.now += p.duration


@jit
def _bbr_round(p: Record, streams: Record, seed: np.uint64, curve: Record) -> None:
    """Make one round of streams that are paced by their model of the path (BBR)."""
    round_trip = p.trip if p.due <= p.now else p.due - p.now
    p.duration = max(round_trip + p.standing / p.capacity, 1.0 / p.capacity)
    p.duration = min(p.duration, p.turn - p.now)
    total = 0.0
    for k in range(streams.size):
        streams[k].sent = bbr_sends(p, streams[k])
        total += streams[k].sent
    p.window = p.standing + total
    served = min(p.window, p.capacity * p.duration)
    part = served / p.window if p.window > 0.0 else 0.0
    p.standing = max(0.0, p.window - served)
    kept = min(1.0, p.queue / p.standing) if p.standing > 0.0 else 1.0
    p.standing *= kept
    ours = lost = 0.0
    for k in range(streams.size):
        s = streams[k]
        delivered = part * (s.backlog + s.sent)
        s.backlog = kept * (s.backlog + s.sent - delivered)
        s.lost = 0.0
        s.first_loss = np.inf
        s.sent = delivered
        draw_losses(p, s, delivered, random_bits(seed, k))
        if k < p.own:
            ours += delivered
            lost += min(s.lost, delivered)
        bbr_learns(p, s, delivered)
    p.share = ours / served if served > 0.0 else 0.0
    deliver_round(p, streams, p.now + p.duration, ours, lost, p.duration, curve)
    p.now += p.duration


@jit
def _goes_on(p: Record, rounds: int, stop_bytes: int, stop_at: float, curve: Record) -> bool:
    """Return whether another round is to be made, and can be."""
    if p.rounds >= rounds or p.delivered * p.segment > stop_bytes or p.now >= stop_at:
        return False
    return p.segments + SEGMENTS_A_ROUND <= curve.size and not p.dead


@jit
def _begin_round(p: Record, seed: np.uint64, change_at: Floats, change_to: Floats) -> bool:
    """Begin a round; return whether the link is up in it."""
    _follow_schedule(p, change_at, change_to)
    p.rounds += 1
    p.began, p.before, p.repeats = p.now, p.delivered, 1.0
    if p.rate <= 0.0:
        return False
    p.trip = p.delay
    if p.jitter > 0.0:
        p.trip += p.jitter * unit_draw(p, seed)
    return True


@jit
def _next_change(p: Record, change_at: Floats) -> float:
    return change_at[p.next_change] if p.next_change < change_at.size else np.inf


@jit
def _make_equal_rounds(path: Record, streams: Record, rounds: float, curve: Record) -> None:
    """Make ``rounds`` rounds in one step."""
    p = path[0]
    p.repeats = rounds
    append_segment(p, p.now, p.duration / (p.share * p.window * p.segment), curve)
    if rounds < np.inf:
        repeat_round(path, streams, rounds)
    p.delivered += rounds * p.share * p.window
    p.now += rounds * p.duration


@jit
def _end_round(p: Record) -> None:
    p.now = min(p.now, p.cut)
    p.used, p.due = 0.0, 0.0


@jit
def run_window_rounds(
    path: Record,
    streams: Record,
    seed: np.uint64,
    change_at: Floats,
    change_to: Floats,
    rounds: int,
    stop_bytes: int,
    stop_at: float,
    curve: Record,
) -> bool:
    """Make rounds of Reno or CUBIC and draw their curve.

    The curve goes to ``curve`` (`migsim._kernels.curve.CURVE`), behind the `path.segments` that are
    there. Ends with `path.rounds` at ``rounds``, where more than ``stop_bytes`` bytes are
    delivered, behind ``stop_at``, where the curve is full, or where the path is steady for ever;
    then it returns True. False where the link is down: `wait_for_link` comes next. ``change_at``
    and ``change_to`` are the schedule of the bottleneck's capacity in packets per second.
    """
    p = path[0]
    while _goes_on(p, rounds, stop_bytes, stop_at, curve):
        if not _begin_round(p, seed, change_at, change_to):
            return False
        _look_ahead(p, streams, change_at, change_to)
        _fill_sockets(p, streams)
        equal = equal_window_rounds(p, streams, _next_change(p, change_at))
        if equal > 0.0:
            _make_equal_rounds(path, streams, equal, curve)
            continue
        _window_round(p, streams, seed, curve)
        _end_round(p)
    return True


@jit
def run_bbr_rounds(
    path: Record,
    streams: Record,
    seed: np.uint64,
    change_at: Floats,
    change_to: Floats,
    rounds: int,
    stop_bytes: int,
    stop_at: float,
    curve: Record,
) -> bool:
    """Make rounds of BBR, as `run_window_rounds` does those of windows."""
    p = path[0]
    while _goes_on(p, rounds, stop_bytes, stop_at, curve):
        if not _begin_round(p, seed, change_at, change_to):
            return False
        _look_ahead(p, streams, change_at, change_to)
        _fill_sockets(p, streams)
        equal = equal_bbr_rounds(p, streams, _next_change(p, change_at))
        if equal > 0.0:
            _make_equal_rounds(path, streams, equal, curve)
            continue
        _bbr_round(p, streams, seed, curve)
        _end_round(p)
    return True


@jit
def run_plain(
    path: Record,
    streams: Record,
    seed: np.uint64,
    change_at: Floats,
    change_to: Floats,
    rounds: int,
    stop_bytes: int,
    stop_at: float,
    curve: Record,
) -> bool:
    """Draw the curve of a path without windows: one round for each change of its rate."""
    p = path[0]
    while _goes_on(p, rounds, stop_bytes, stop_at, curve):
        if not _begin_round(p, seed, change_at, change_to):
            return False
        change = _next_change(p, change_at)
        p.capacity, p.window, p.share, p.duration = p.rate, p.rate * p.delay, 1.0, p.delay
        append_segment(p, p.now, 1.0 / (p.rate * p.segment) if p.rate < UNLIMITED else 0.0, curve)
        p.delivered += (change - p.now) * p.rate
        p.now = change
    return True


@jit
def wait_for_link(
    path: Record, streams: Record, change_at: Floats, change_to: Floats, curve: Record
) -> None:
    """Let an outage pass: time-outs double until one falls into a time when the link is up."""
    p = path[0]
    p.window, p.standing = 0.0, 0.0
    append_segment(p, p.now, 0.0, curve)
    timeout = p.delay + LEAST_TIMEOUT
    tries = 0
    while p.rate <= 0.0:
        tries += 1
        if p.control == NONE and p.next_change < change_at.size:
            p.now = change_at[p.next_change]
        elif tries > _RETRANSMISSIONS + 1:
            p.dead = 1
            return
        else:
            p.now += timeout
            timeout = min(2.0 * timeout, LONGEST_TIMEOUT)
        _follow_schedule(p, change_at, change_to)
    p.duration = 0.0
    if p.held > 0.0:  # what had come behind a hole, which is filled now
        p.hold_until = p.now + p.delay
    for k in range(streams.size):
        s = streams[k]
        s.backlog = 0.0
        if p.control != BBR:
            s.sent, s.lost = 0.0, 0.0
            reduce_window(p, s)
            s.wakes, s.timeouts = 0.0, 0


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
    for k in range(p.own):
        s = streams[k]
        s.backlog = 0.0
        s.sent = used
        s.lost = 0.0
        s.first_loss = np.inf
        if p.control == NONE:
            continue
        draw_losses(p, s, fresh, random_bits(seed, k))
        if p.control == BBR:
            if acknowledged and used > 0.0:
                bbr_pauses(s, used, p.duration, p.delay)
            continue
        if s.lost > 0.0:
            reduce_window(p, s)
            s.wakes, s.timeouts = 0.0, 0
        elif acknowledged and s.window < min(s.threshold, p.limit):
            s.window = min(s.window + used, max(s.threshold, s.window))
        if not acknowledged:
            continue
        left = idle
        while left > p.delay + LEAST_TIMEOUT and s.window > initial:
            s.threshold = max(s.threshold, 0.75 * s.window)
            s.window = max(initial, 0.5 * s.window)
            s.epoch = -1.0
            left -= p.delay + LEAST_TIMEOUT
    if acknowledged and idle > p.delay:  # the others have taken what we left
        for k in range(p.own, streams.size):
            start_competitor(p, streams[k], streams.size - p.own)
