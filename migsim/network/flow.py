"""The connection that carries a migration: when its bytes leave, drawn piece by piece.

Compiled kernels walk along a piecewise linear curve page by page and ask for more of it where it
ends. The curve of each busy period comes from the round model in `migsim._kernels.tcp`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from migsim._kernels.congestion import BBR, CUBIC, NONE, PATH, RENO, STREAM
from migsim._kernels.draws import random_bits
from migsim._kernels.tcp import ENDLESS, UNLIMITED, open_streams, pause_streams, run_rounds
from migsim._types import Floats, Integers, Record
from migsim.errors import ConnectionLost
from migsim.network.link import Link
from migsim.network.schedule import Schedule

__all__ = ["Curve", "Flow"]

_CONTROLS = {"none": NONE, "reno": RENO, "cubic": CUBIC, "bbr": BBR}
_ROUNDS = 2048  # of one piece of the curve
_SEGMENTS = 1024
_TIMED_PIECE = 0.25  # seconds of a piece where the link changes over time
_LEAST_DELAY = 20e-6  # what the hosts themselves take, where a link is given without a round trip


@dataclass(frozen=True)
class Curve:
    """When bytes leave: byte b, in segment i, at ``at[i] + (b - bytes[i]) * pace[i]``.

    Attributes:
        at: seconds at which each segment starts, float64 of shape (segments,).
        bytes: stream bytes sent before it, int64, ascending.
        pace: seconds per byte within it, float64.
        queue: stream bytes of ours that stand in the bottleneck's queue meanwhile, int64.
        window: stream bytes of ours in flight or queued meanwhile, int64.
        end: the byte up to which the curve is known.
    """

    at: Floats
    bytes: Integers
    pace: Floats
    queue: Integers
    window: Integers
    end: int

    def departure(self, stream: int) -> float:
        """Return when stream byte number ``stream`` has left."""
        i = max(0, int(np.searchsorted(self.bytes, stream, side="left")) - 1)
        return float(self.at[i] + (stream - self.bytes[i]) * self.pace[i])


@dataclass
class _State:
    """The round model between two pieces of the curve."""

    path: Record
    streams: Record

    def copy(self) -> _State:
        return _State(self.path.copy(), self.streams.copy())


@dataclass
class Flow:
    """A connection between the two hosts, opened by a handshake of one round trip.

    Attributes:
        link: the path.
        ready: when the sender has put its last byte on the wire.
        seed: chooses which packets are lost.
        stream: bytes sent in this busy period; a period ends where the sender has nothing to send.
        segment: the part of the curve that ``stream`` lies in.
        shift: how far departures have fallen behind the curve, for want of data.
        finished: bytes sent in earlier busy periods.
    """

    link: Link
    ready: float
    seed: int = 0
    stream: int = 0
    segment: int = 0
    shift: float = 0.0
    finished: int = 0
    curve: Curve = field(init=False)
    _state: _State = field(init=False)
    _snapshot: _State = field(init=False)
    _changes: Schedule = field(init=False)

    def __post_init__(self) -> None:
        link = self.link
        self._seed = np.uint64(random_bits(np.uint64(self.seed % 2**64), 0))
        plan = link.schedule(self.seed)
        rate = np.minimum(plan.rate / link.packet, UNLIMITED)
        self._changes = Schedule(plan.at, rate)
        self.ready += link.rtt  # SYN, SYN-ACK; data goes with the final ACK
        path: Record = np.recarray(1, dtype=PATH)
        path.view(np.uint8)[:] = 0
        bursts = link.bursts
        path.delay = max(link.rtt, _LEAST_DELAY)
        path.jitter, path.loss = link.jitter, link.loss
        path.queue = link.queue_bytes / link.packet
        path.limit = link.buffer / link.segment
        path.control = NONE if link.plain else _CONTROLS[link.congestion]
        path.burst_begins, path.burst_ends = bursts.begins, bursts.ends
        path.burst_loss = 1.0 - (1.0 - bursts.inside) * (1.0 - link.loss)
        path.segment = link.segment
        streams: Record = np.recarray(link.streams, dtype=STREAM)
        streams.view(np.uint8)[:] = 0
        open_streams(path, streams, float(link.initial_window), self._seed)
        self._state = _State(path, streams)
        self._begin_period(self.ready)

    def copy(self) -> Flow:
        """Return an independent flow in the same state."""
        other = copy.copy(self)  # curves and snapshots are never changed, only replaced
        other._state = self._state.copy()
        return other

    @property
    def carried(self) -> int:
        """Stream bytes that the link has carried so far."""
        return self.finished + self.stream

    @property
    def timed(self) -> bool:
        """Whether the link changes over time."""
        return self._changes.at.size > 1

    def begin(self, now: float) -> float:
        """Return when the next byte can leave, given that the sender has data from ``now`` on.

        After a pause this starts a new busy period. While acknowledgements of the last window are
        under way, only the rest of that window can leave; they let the window grow by what they
        acknowledge. A pause longer than the retransmission time-out halves it for each time-out
        that passed, down to the initial window (RFC 2861).
        """
        if now <= self.ready:
            return self.ready
        self.finished += self.stream
        if self.link.plain:
            self._begin_period(now)
            return now
        state = self._state_at(self.stream)
        path = state.path[0]
        sent = max(0.0, self.stream / self.link.segment - float(path.before))
        began, duration = float(path.began) + self.shift, float(path.duration)
        if path.steady:  # many equal rounds: the one that the last byte lies in
            cycles = math.floor(max(0.0, self.ready - began) / duration)
            began += cycles * duration
            sent = max(0.0, sent - cycles * float(path.limit) * self.link.streams)
        fresh = sent / self.link.streams
        used = fresh + float(path.used)
        due = float(path.due) + self.shift if path.used else began + max(duration, path.delay)
        acknowledged = used <= 0.0 or now >= due
        idle = now - self.ready
        pause_streams(
            state.path, state.streams, fresh, used, acknowledged, idle,
            float(self.link.initial_window), self._seed,
        )  # fmt: skip
        path.used, path.due = (0.0, 0.0) if acknowledged else (used, due)
        self._state = state
        self._begin_period(now)
        return now

    def transmit(self, now: float, size: int) -> float:
        """Send ``size`` bytes that are no pages; return when the last one has left.

        Raises `ConnectionLost` where the link stays down.
        """
        self.begin(now)
        if size:
            self.extend(self.stream + size)
            self.stream += size
            self.segment = max(0, int(np.searchsorted(self.curve.bytes, self.stream)) - 1)
            self.ready = max(self.ready, self.curve.departure(self.stream) + self.shift)
        return self.ready

    def reconnect(self) -> bool:
        """Open a new connection once the link is back; return False where it never is."""
        path, changes = self._state.path[0], self._changes
        later = np.flatnonzero((changes.at >= path.now) & (changes.rate > 0))
        now = changes.at[later[0]] if later.size else math.inf
        at = int(np.searchsorted(changes.at, path.now, side="right")) - 1
        if changes.rate[max(0, at)] > 0:
            now = path.now
        if math.isinf(now):
            return False
        self.finished += self.stream
        path.dead = 0
        self._state.streams.view(np.uint8)[:] = 0
        open_streams(
            self._state.path, self._state.streams, float(self.link.initial_window), self._seed
        )
        self._begin_period(float(now) + self.link.rtt)
        return True

    def pieces(self) -> Iterator[Curve]:
        """Yield the curve of a bulk transfer that begins now, piece by piece, in full detail.

        Ends with an endless piece, or where the connection dies. The flow is used up by this.
        """
        state = self._state
        state.path.detail = 1
        while not state.path[0].dead:
            piece = self._run(state, _ROUNDS, ENDLESS - 1, math.inf)
            yield piece
            if piece.end >= ENDLESS:
                return

    def extend(self, end: int) -> None:
        """Draw the curve at least to byte ``end`` of this busy period.

        Raises `ConnectionLost` where the connection dies before.
        """
        while self.curve.end < end:
            self._draw()

    # ---- the model ---------------------------------------------------------------------------

    def _begin_period(self, now: float) -> None:
        path = self._state.path[0]
        path.now = now
        path.delivered, path.held, path.hold_until = 0.0, 0.0, 0.0
        entry = int(np.searchsorted(self._changes.at, now, side="right"))
        path.next_change = entry
        path.capacity = self._changes.rate[max(0, entry - 1)]
        self.stream, self.segment, self.shift, self.ready = 0, 0, 0.0, now
        self._snapshot = self._state.copy()
        none = np.zeros(1, np.int64)
        self.curve = Curve(np.array([now]), none, np.zeros(1), none, none, 0)

    def _run(self, state: _State, rounds: int, stop_bytes: int, stop_at: float) -> Curve:
        at, pace = np.empty(_SEGMENTS), np.empty(_SEGMENTS)
        start, queue, window = (np.empty(_SEGMENTS, np.int64) for _ in range(3))
        count = run_rounds(
            state.path, state.streams, self._seed, self._changes.at, self._changes.rate,
            rounds, stop_bytes, stop_at, at, start, pace, queue, window,
        )  # fmt: skip
        path = state.path[0]
        end = ENDLESS
        if path.delivered * path.segment < ENDLESS:
            end = math.floor(path.delivered * path.segment)
        return Curve(at[:count], start[:count], pace[:count], queue[:count], window[:count], end)

    def _draw(self) -> None:
        """Append a piece to the curve, and forget what lies behind the sockets' backlog."""
        state = self._state
        path = state.path[0]
        if path.dead:
            raise ConnectionLost(float(path.now))
        old = self.curve
        if self.shift:  # what follows is drawn at the times at which it happens
            path.now += self.shift
            path.hold_until += self.shift if path.hold_until else 0.0
            path.due += self.shift if path.due else 0.0
        self._snapshot = state.copy()
        stop_at = float(path.now) + _TIMED_PIECE if self.timed else math.inf
        new = self._run(state, _ROUNDS, ENDLESS - 1, stop_at)
        keep = self.stream - int(self.link.backlog) - int(path.queue * path.segment)
        first = max(0, int(np.searchsorted(old.bytes, keep, side="right")) - 1)
        self.curve = Curve(
            np.concatenate([old.at[first:] + self.shift, new.at]),
            np.concatenate([old.bytes[first:], new.bytes]),
            np.concatenate([old.pace[first:], new.pace]),
            np.concatenate([old.queue[first:], new.queue]),
            np.concatenate([old.window[first:], new.window]),
            new.end,
        )
        self.shift = 0.0
        self.segment = max(0, int(np.searchsorted(self.curve.bytes, self.stream)) - 1)

    def _state_at(self, stream: int) -> _State:
        """Return the model as it was before the round in which byte ``stream`` leaves."""
        state = self._snapshot.copy()
        if stream == 0 and self.curve.end == 0:
            path = state.path[0]
            path.began, path.before, path.steady = path.now, path.delivered, 0
            path.duration = path.delay
            return state
        self._run(state, _ROUNDS, stream - 1, math.inf)
        return self._rewound(int(state.path[0].rounds), state)

    def _rewound(self, rounds: int, after: _State) -> _State:
        """Return the model before its last round, with the notes on that round."""
        state = self._snapshot.copy()
        if rounds > 1:
            self._run(state, rounds - 1, ENDLESS - 1, math.inf)
        notes, path = after.path[0], state.path[0]
        path.began, path.before = notes.began, notes.before
        path.duration, path.steady = notes.duration, notes.steady
        path.next_change, path.capacity = notes.next_change, notes.capacity
        return state
