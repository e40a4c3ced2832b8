"""One TCP connection that carries a migration: slow start, then the rate of the link.

The flow answers when a byte of the stream leaves, as a piecewise linear curve for each busy
period; compiled kernels walk along it page by page. Anything that can draw such a curve can take
this module's place.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np

from migsim._types import Floats, Integers
from migsim.network.link import Link

__all__ = ["Curve", "Flow"]


@dataclass(frozen=True)
class Curve:
    """When bytes leave: byte b, in segment i, at ``at[i] + (b - bytes[i]) * pace[i]``.

    Attributes:
        at: seconds at which each segment starts, float64 of shape (segments,).
        bytes: stream bytes sent before it, int64, ascending.
        pace: seconds per byte within it, float64; the last segment has no end.
    """

    at: Floats
    bytes: Integers
    pace: Floats

    def departure(self, stream: int) -> float:
        """Return when stream byte number ``stream`` has left."""
        i = max(0, int(np.searchsorted(self.bytes, stream, side="left")) - 1)
        return float(self.at[i] + (stream - self.bytes[i]) * self.pace[i])


@dataclass
class Flow:
    """A connection between the two hosts, opened by a handshake of one round trip.

    Attributes:
        link: the path.
        ready: when the sender has put its last byte on the wire.
        stream: bytes sent in this busy period; a period ends where the sender has nothing to send.
        segment: the part of the curve that ``stream`` lies in.
        shift: how far departures have fallen behind the curve, for want of data.
        window: bytes that may be in flight at the start of this busy period.
        used: how many of them were in flight already when it started.
        acknowledged: when the first acknowledgement of that window comes, if ``shift`` is 0.
        finished: bytes sent in earlier busy periods.
    """

    link: Link
    ready: float
    stream: int = 0
    segment: int = 0
    shift: float = 0.0
    window: float = field(init=False)
    used: int = 0
    acknowledged: float = field(init=False)
    finished: int = 0
    curve: Curve = field(init=False)

    def __post_init__(self) -> None:
        self.ready += self.link.rtt  # SYN, SYN-ACK; data goes with the final ACK
        self.window = float(self.link.initial_window * self.link.segment)
        self.acknowledged = self.ready + self.link.rtt
        self.curve = self._draw(self.ready)

    def copy(self) -> Flow:
        """Return an independent flow in the same state."""
        return copy.copy(self)  # the curve is never changed, only replaced

    @property
    def carried(self) -> int:
        """Stream bytes that the link has carried so far."""
        return self.finished + self.stream

    def begin(self, now: float) -> float:
        """Return when the next byte can leave, given that the sender has data from ``now`` on.

        After a pause this starts a new busy period. While acknowledgements of the last window are
        under way, only the rest of that window can leave; they let the window grow by what they
        acknowledge. A pause longer than the retransmission time-out halves it for each time-out
        that passed, down to the initial window, as Linux does (tcp_slow_start_after_idle,
        RFC 2861).
        """
        if now <= self.ready:
            return self.ready
        k = self._round()
        window = self.window * 2.0**k
        used = self.stream - int(self.curve.bytes[k]) + (self.used if k == 0 else 0)
        acknowledged = now  # at full rate: all the time
        if k + 1 < self.curve.bytes.size:
            acknowledged = self.acknowledged if k == 0 else float(self.curve.at[k + 1])
            acknowledged += self.shift
        if used and now < acknowledged:
            self.window, self.used = window, used
        else:
            full = max(self.window, self.link.goodput * self.link.rtt)
            self.window = self._decayed(min(window + used, full), now - self.ready)
            self.used, acknowledged = 0, now + self.link.rtt
        self.acknowledged = acknowledged
        self.finished += self.stream
        self.stream, self.segment, self.shift, self.ready = 0, 0, 0.0, now
        self.curve = self._draw(now)
        return now

    def transmit(self, now: float, size: int) -> float:
        """Send ``size`` bytes that are no pages; return when the last one has left."""
        self.begin(now)
        if size:
            self.stream += size
            self.ready = max(self.ready, self.curve.departure(self.stream) + self.shift)
        return self.ready

    def _draw(self, start: float) -> Curve:
        """Return the curve from ``start`` on: the window doubles each round trip (RFC 5681).

        Each window leaves at the rate of the link; then the sender waits for the first
        acknowledgement. Once a window lasts a whole round trip the link is never idle again.
        """
        room = int(self.window) - self.used
        pace = 1.0 / self.link.goodput
        at, sent, window = [start], [0], self.window
        while window * pace < self.link.rtt and sent[-1] < 2**60:
            if len(at) == 1:
                at.append(max(self.acknowledged, start + room * pace))
                sent.append(room)
            else:
                at.append(at[-1] + self.link.rtt)
                sent.append(sent[-1] + int(window))
            window *= 2.0
        return Curve(
            np.array(at, np.float64), np.array(sent, np.int64), np.full(len(at), pace, np.float64)
        )

    def _round(self) -> int:
        """Return the segment of the curve that the last byte of the stream lies in."""
        return max(0, int(np.searchsorted(self.curve.bytes, self.stream, side="left")) - 1)

    def _decayed(self, window: float, idle: float) -> float:
        timeout = self.link.retransmission_timeout
        initial = float(self.link.initial_window * self.link.segment)
        while idle > timeout and window > initial:
            window = max(initial, window / 2.0)
            idle -= timeout
        return window
