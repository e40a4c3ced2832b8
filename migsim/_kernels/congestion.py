"""How a TCP stream's window answers what a round trip brought: Reno, CUBIC and BBR.

Windows and queues are in packets, times in seconds. A stream is one record of `STREAM`, the path
that all streams share one record of `PATH`.
"""

from __future__ import annotations

import numpy as np

from migsim._jit import jit
from migsim._kernels.draws import portable_exp, portable_log, random_unit
from migsim._types import Record

__all__ = [
    "BBR",
    "CUBIC",
    "LEAST_TIMEOUT",
    "LONGEST_TIMEOUT",
    "NONE",
    "PATH",
    "RENO",
    "STREAM",
    "awaited_refill",
    "bbr_busy",
    "bbr_learns",
    "bbr_pauses",
    "bbr_sends",
    "draw_losses",
    "grow",
    "hold_back",
    "may_grow",
    "packets_until",
    "reduce_window",
    "start_competitor",
    "unit_draw",
]

NONE = 0
RENO = 1
CUBIC = 2
BBR = 3

# Modes of BBR; a new stream, all of whose record is zero, looks for the rate.
_STARTUP = 0
_DRAIN = 1
_PROBE_BANDWIDTH = 2
_PROBE_RTT = 3

_LEAST_CHANCE = 1e-15  # of what the logarithm of its complement still tells from 0
_CUBIC_SCALE = 0.4  # RFC 9438, C
_CUBIC_BETA = 0.7
_RENO_BETA = 0.5
_CUBIC_RENO_INCREASE = 3 * (1 - _CUBIC_BETA) / (1 + _CUBIC_BETA)  # RFC 9438, alpha_cubic
_BBR_HIGH_GAIN = 2.885  # 2 / ln 2: doubles the rate each round (Cardwell et al., Queue 2016)
_BBR_WINDOW_GAIN = 2.0
_BBR_FILTER = 10  # rounds over which the bandwidth's maximum is taken
_BBR_PROBE_EVERY = 10.0  # seconds between two looks at the round trip of an empty queue
_BBR_PROBE_SECONDS = 0.2
LEAST_TIMEOUT = 0.2  # Linux's least retransmission time-out beyond the round trip
LONGEST_TIMEOUT = 120.0  # and its longest (TCP_RTO_MAX)

PATH = np.dtype(
    [
        # what the path is
        ("delay", "f8"),  # round trip without queue
        ("jitter", "f8"),  # greatest addition to it, uniform, one draw a round
        ("queue", "f8"),  # packets that the bottleneck can hold beyond those in flight
        ("patient", "i8"),  # a full queue makes the sender wait and drops nothing
        ("limit", "f8"),  # packets that the socket buffers let a stream have in flight
        ("refill", "f8"),  # packets that have to be acknowledged before a blocked writer goes on
        ("socket", "f8"),  # stream bytes that a busy sender's socket holds at most
        ("socket_growth", "f8"),  # and for each packet of the widest window that it has had
        ("control", "i8"),
        ("loss", "f8"),  # chance of a packet in the good state
        ("burst_loss", "f8"),  # and in the bad state of the Gilbert-Elliott channel
        ("burst_begins", "f8"),  # chance per packet that the bad state begins
        ("burst_ends", "f8"),
        ("segment", "f8"),  # bytes of a packet that are stream
        ("own", "i8"),  # the first streams are ours, the others somebody else's
        # where it has come to
        ("now", "f8"),
        ("rate", "f8"),  # packets per second that the bottleneck serves now
        ("next_change", "i8"),  # entry of the schedule that changes it next
        ("delivered", "f8"),  # packets of this busy period that have left, in order
        ("held", "f8"),  # packets that wait behind a lost one
        ("hold_until", "f8"),
        ("draws", "i8"),
        ("detail", "i8"),  # keep segments of equal pace apart, for whoever looks at the windows
        ("dead", "i8"),  # the connection has timed out for good
        # the first round after a pause
        ("used", "f8"),  # packets of the window that left before it, of each stream
        ("due", "f8"),  # when the acknowledgements of those come
        # the round that is being made, or was made last
        ("rounds", "i8"),  # rounds since the record was loaded
        ("trip", "f8"),  # its round trip without queue, jitter included
        ("capacity", "f8"),  # mean packets per second that the bottleneck serves in it
        ("turn", "f8"),  # when the rate changes, if that ends the round
        ("most", "f8"),  # packets that the bottleneck serves until then
        ("cut", "f8"),  # when the link goes down in it
        ("standing", "f8"),  # packets in the queue
        ("window", "f8"),  # packets in flight or queued
        ("share", "f8"),  # the part of them that is ours
        ("backlog", "f8"),  # stream bytes that our sockets hold
        ("began", "f8"),
        ("before", "f8"),  # `delivered` at its start
        ("duration", "f8"),
        ("repeats", "f8"),  # how many equal rounds it stands for
        ("segments", "i8"),  # of the curve, so far
    ]
)

STREAM = np.dtype(
    [
        ("window", "f8"),
        ("widest", "f8"),  # the greatest window so far
        ("threshold", "f8"),
        ("wakes", "f8"),  # after a time-out: when it sends again
        ("timeouts", "i8"),  # in vain so far
        ("until_loss", "f8"),  # packets to the next random loss
        ("until_switch", "f8"),  # packets until the Gilbert-Elliott channel changes its state
        ("in_burst", "i8"),
        ("draws", "i8"),  # random numbers used so far
        # CUBIC
        ("least_queued", "f8"),  # shortest wait in the queue that it has seen, in seconds
        ("epoch", "f8"),  # when this increase began; negative before
        ("last_peak", "f8"),
        ("origin", "f8"),
        ("period", "f8"),
        ("reno_window", "f8"),
        # BBR
        ("mode", "i8"),
        ("bandwidth", "f8"),
        ("full_bandwidth", "f8"),
        ("full_rounds", "i8"),
        ("phase", "i8"),
        ("rounds", "i8"),
        ("stamp", "f8"),
        ("conserving", "i8"),
        ("history", "f8", (_BBR_FILTER,)),
        ("backlog", "f8"),  # packets of this stream in the bottleneck's queue
        # this round
        ("sent", "f8"),
        ("lost", "f8"),
        ("first_loss", "f8"),  # packets of the round before the first lost one
    ]
)


@jit
def unit_draw(s: Record, seed: np.uint64) -> float:
    """Return a number in (0, 1] of the record's own sequence."""
    s.draws += 1
    return 1.0 - random_unit(seed, s.draws)


@jit
def packets_until(chance: float, draw: float) -> float:
    """Return how many packets pass before the next event of the given chance per packet."""
    if chance < _LEAST_CHANCE:
        return np.inf
    if chance >= 1.0:
        return 0.0
    return np.floor(portable_log(draw) / portable_log(1.0 - chance))


@jit
def start_competitor(p: Record, s: Record, count: int) -> None:
    """Put a stream (Reno, CUBIC) into the state of one of ``count`` that have long had the path."""
    s.window = max(2.0, min((p.rate * p.delay + 0.5 * p.queue) / count, p.limit))
    s.threshold = s.last_peak = s.window
    s.epoch = -1.0


@jit
def draw_losses(p: Record, s: Record, packets: float, seed: np.uint64) -> None:
    """Count the random losses among the next ``packets`` of a stream."""
    position = 0.0
    while True:
        step = min(s.until_loss, s.until_switch)
        if step >= packets - position:  # where a lost packet lies across the end, this is negative
            s.until_loss -= packets - position
            s.until_switch -= packets - position
            return
        s.until_loss -= step
        s.until_switch -= step
        position += step
        if s.until_switch <= 0.0:
            s.in_burst = 1 - s.in_burst
            chance = p.burst_ends if s.in_burst else p.burst_begins
            s.until_switch = 1.0 + packets_until(chance, unit_draw(s, seed))
        else:
            s.lost += 1.0
            s.first_loss = min(s.first_loss, position)
            s.until_switch = max(0.0, s.until_switch - 1.0)
            position += 1.0
        s.until_loss = packets_until(p.burst_loss if s.in_burst else p.loss, unit_draw(s, seed))


@jit
def reduce_window(p: Record, s: Record) -> None:
    """Reduce the window after a round with loss; time out where all of it was lost.

    Where anything has arrived, Linux recovers without a time-out (RFC 8985).
    """
    if p.control == CUBIC:
        beta = _CUBIC_BETA
        # Fast convergence (RFC 9438, 4.7): a flow that lost at a lower peak makes room.
        peak = min(s.window, p.limit)
        s.last_peak = peak * (1.0 + beta) / 2.0 if peak < s.last_peak else peak
    else:
        beta = _RENO_BETA
    s.epoch = -1.0
    s.threshold = max(2.0, min(s.window, p.limit) * beta)
    s.window = s.threshold
    if s.lost < s.sent - 0.5:
        return
    s.window = 1.0
    s.wakes = p.now + min((p.delay + LEAST_TIMEOUT) * 2.0**s.timeouts, LONGEST_TIMEOUT)
    s.timeouts += 1


@jit
def _cube_root(x: float) -> float:
    return portable_exp(portable_log(x) / 3.0) if x > 0.0 else 0.0


@jit
def may_grow(p: Record, s: Record) -> bool:
    """Return whether the window limits the stream: otherwise it does not grow (RFC 7661).

    As Linux has it: in slow start as long as half of the window is used.
    """
    used = s.sent + p.used
    return s.window <= p.limit and (
        used >= s.window - 1.0 or (s.window < s.threshold and s.window < 2.0 * used)
    )


@jit
def grow(p: Record, s: Record) -> None:
    """Let the window grow after a round without loss in which all of it was used."""
    if s.window < s.threshold:
        # HyStart (Ha and Rhee, 2011): leave slow start when the queue shows.
        visible = min(max(p.delay / 8.0, 0.004), 0.016)
        queued = p.standing / p.capacity
        s.least_queued = min(s.least_queued, queued)  # a newcomer takes a queue for the path
        if p.control == CUBIC and s.window >= 16.0 and queued - s.least_queued >= visible:
            s.threshold = s.window
        else:
            s.window = min(2.0 * s.window, max(s.threshold, s.window))
        return
    if p.control == RENO:
        s.window += 1.0
        return
    if s.epoch < 0.0:
        s.epoch = p.now
        s.origin = max(s.window, s.last_peak)
        s.period = _cube_root((s.origin - s.window) / _CUBIC_SCALE)
        s.reno_window = s.window
    t = p.now + p.duration + p.delay - s.epoch - s.period
    s.reno_window += _CUBIC_RENO_INCREASE if s.reno_window < s.last_peak else 1.0
    target = max(s.origin + _CUBIC_SCALE * t * t * t, s.reno_window)
    if target > s.window:
        s.window += min(target - s.window, 0.5 * s.window)


@jit
def hold_back(p: Record, streams: Record, total: float) -> float:
    """Let no more be sent than the bottleneck serves before its rate changes.

    A sender whose own interface is the bottleneck fills its queue and no more.
    """
    most = p.most
    if p.patient:
        most = min(most, max(0.0, p.capacity * p.trip + p.queue - p.used * streams.size))
    if total <= most:
        return total
    for k in range(streams.size):
        streams[k].sent *= most / total
    return most


@jit
def awaited_refill(p: Record, s: Record) -> float:
    """Return the packets that a writer waits for whose send buffer limits the stream.

    What the buffer holds beyond what has been sent is there already.
    """
    if s.window < p.limit or s.wakes > p.now:
        return 0.0
    return max(0.0, p.refill - (p.limit - s.sent - p.used))


@jit
def bbr_sends(p: Record, s: Record) -> float:
    """Return what a BBR stream sends in a round of ``p.duration`` seconds (packets)."""
    # Paced packets leave a round trip behind the refill of the buffer that they come from.
    limit = p.limit * p.duration / (p.duration + p.refill / p.capacity)
    if s.mode == _STARTUP:
        return max(0.0, min(s.window, limit) - p.used)
    if s.mode == _PROBE_RTT:
        return min(4.0 * p.duration / p.delay, 0.5 * p.capacity * p.duration)
    gain = 1.0
    if s.mode == _DRAIN:
        gain = 1.0 / _BBR_HIGH_GAIN
    elif s.phase == 0:
        gain = 1.25
    elif s.phase == 1:
        gain = 0.75
    cap = _BBR_WINDOW_GAIN * max(s.bandwidth * p.delay, 4.0)
    return max(0.0, min(gain * s.bandwidth * p.duration, min(cap, limit) - p.used))


@jit
def bbr_busy(p: Record, streams: Record) -> tuple[float, float]:
    """Return the rate that BBR's streams know together, and until when they keep the path busy.

    A single stream has to have drained its queue; several overestimate their shares a little, so
    that a queue stands. Minus infinity where the path is not busy.
    """
    known, rests = 0.0, np.inf
    for k in range(streams.size):
        s = streams[k]
        known += s.bandwidth
        rests = min(rests, s.stamp + _BBR_PROBE_EVERY if s.mode == _PROBE_BANDWIDTH else -np.inf)
        if s.bandwidth > p.limit / (p.delay + p.refill / p.capacity):
            rests = -np.inf  # the buffers may limit it
    if (p.standing > 1.0) == (streams.size == 1) or known < (1.0 - 1e-9) * p.capacity:
        rests = -np.inf
    if known > (1.0 + 1e-9 if streams.size == 1 else 1.5) * p.capacity:
        rests = -np.inf  # the path has become slower: they have to find out first
    return known, rests


@jit
def _startup_cap(s: Record, delay: float) -> float:
    """Return up to which window a BBR stream grows while it looks for the path's rate."""
    return _BBR_HIGH_GAIN * max(s.bandwidth * delay, 4.0)


@jit
def bbr_learns(p: Record, s: Record, delivered: float) -> None:
    """Update a BBR stream's model of the path and its mode (Cardwell et al., Queue 2016)."""
    now = p.now + p.duration
    if s.mode == _PROBE_RTT:
        if now - s.stamp >= _BBR_PROBE_SECONDS + p.delay:
            s.mode = _PROBE_BANDWIDTH
            s.phase = 2
            s.stamp = now
        return
    s.history[s.rounds % _BBR_FILTER] = delivered / p.duration
    s.rounds += 1
    s.bandwidth = 0.0
    for k in range(_BBR_FILTER):
        s.bandwidth = max(s.bandwidth, s.history[k])
    if s.mode == _STARTUP:
        if s.bandwidth >= 1.25 * s.full_bandwidth:
            s.full_bandwidth = s.bandwidth
            s.full_rounds = 0
        else:
            s.full_rounds += 1
        cap = _startup_cap(s, p.delay)
        # Linux holds the window for the first round of a recovery (packet conservation).
        s.conserving = 1 if s.lost > 0.0 and not s.conserving else 0
        if not s.conserving:
            s.window = min(2.0 * s.window, max(s.window, cap))
        if s.full_rounds >= 3:
            s.mode = _DRAIN
    elif s.mode == _DRAIN:
        if p.standing <= 1.0 + 0.01 * p.capacity * p.delay:
            s.mode = _PROBE_BANDWIDTH
            s.phase = 2
            s.stamp = now
    else:
        s.phase = (s.phase + 1) % 8
        if now - s.stamp > _BBR_PROBE_EVERY:
            s.mode = _PROBE_RTT
            s.stamp = now


@jit
def bbr_pauses(s: Record, used: float, span: float, delay: float) -> None:
    """Learn from a round trip that ended for want of data: it can only show a higher rate."""
    if used / span > s.bandwidth:
        s.bandwidth = used / span
        s.history[s.rounds % _BBR_FILTER] = s.bandwidth
    if s.mode == _STARTUP:
        s.window = min(s.window + used, max(s.window, _startup_cap(s, delay)))
