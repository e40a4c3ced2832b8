"""The connection that carries a migration: when its bytes leave, drawn piece by piece.

Compiled kernels walk along a piecewise linear curve page by page and ask for more of it where it
ends. The curve of each busy period comes from the round model in `migsim._kernels.tcp`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from migsim._kernels.delivery import ENDLESS
from migsim.errors import ConnectionLost
from migsim.network.link import Link
from migsim.network.rounds import MOST_ROUNDS, Curve, Rounds, copied, joined
from migsim.network.sharing import Plans, Share

__all__ = ["Flow"]

_LEAST_ROUNDS = 16  # of a piece: short periods need not draw far ahead
_MOST_SHIFT = 0.01  # seconds that departures may lag where the link changes over time
_TIMED_PIECE = 0.25  # seconds of a piece where the link changes over time


@dataclass
class Flow:
    """A connection between the two hosts, opened by a handshake.

    Attributes:
        link: the path.
        ready: when the sender has put its last byte on the wire; at first, when the connection
            stands.
        seed: chooses which packets are lost.
        stream: bytes sent in this busy period; a period ends where the sender has nothing to send.
        segment: the part of the curve that ``stream`` lies in.
        shift: how far departures have fallen behind the curve, for want of data.
        share: who divides the path among this flow and others; None where there are no others.
        plans: what will surely be sent next, for whoever divides it.
        cpu: the part of their time that the threads which encode it get.
        finished: bytes sent in earlier busy periods.
        curve: what is drawn of this busy period, save for what lies far behind.
    """

    link: Link
    ready: float
    seed: int = 0
    share: Share | None = None
    plans: Plans = field(default_factory=Plans)
    cpu: float = 1.0
    stream: int = 0
    segment: int = 0
    shift: float = 0.0
    finished: int = 0
    curve: Curve = field(init=False)
    _rounds: Rounds = field(init=False)  # where the curve ends
    _reach: int = field(init=False)  # bytes behind the last one that somebody may still ask for
    _piece: int = field(init=False)  # rounds of the next piece
    _snapshot: Rounds = field(init=False)  # where its last piece begins
    _horizon: float = field(init=False)  # up to when its share of the path is known
    _busy_since: float = field(init=False)  # the start of this busy period

    def __post_init__(self) -> None:
        link = self.link
        self._reach = int(link.streams * link.socket) + int(link.queue_bytes)
        self._rounds = Rounds(link, self.seed)
        self._horizon = math.inf if self.share is None else -math.inf
        self._begin_period(self._rounds.connect(self.ready))

    def copy(self) -> Flow:
        """Return an independent flow in the same state, which keeps its share of the path."""
        other = copy.copy(self)  # curves and snapshots are never changed, only replaced
        other.share, other._horizon = None, math.inf
        other._rounds = self._rounds.copy()
        return other

    @property
    def carried(self) -> int:
        """Stream bytes that the link has carried so far."""
        return self.finished + self.stream

    @property
    def dead(self) -> bool:
        """Whether the connection has timed out, or has never stood."""
        return self._rounds.dead

    @property
    def lost_at(self) -> float:
        """When a dead connection was given up."""
        return self._rounds.now

    @property
    def shifts_freely(self) -> bool:
        """Whether a gap between two bytes changes nothing but the times of what follows."""
        return self.link.plain and not self._changes

    @property
    def most_shift(self) -> float:
        """How far departures may fall behind the curve, which knows when the link changes."""
        return _MOST_SHIFT if self._changes else math.inf

    @property
    def _changes(self) -> bool:
        """Whether the link, or our share of it, changes over time."""
        return self._rounds.changes or -math.inf < self._horizon < math.inf

    def begin(self, now: float) -> float:
        """Return when the next byte can leave, given that the sender has data from ``now`` on.

        After a pause this starts a new busy period (see `Rounds.pause`).
        """
        if now <= self.ready:
            return self.ready
        if not self.link.plain:
            rounds = self._snapshot.before_round_of(self.stream, drawn=self.curve.end > 0)
            rounds.pause(self.stream, self.ready, self.shift, now)
            self._rounds = rounds
        else:
            self._rounds = self._snapshot.copy()  # forget what was drawn ahead
        self._begin_period(now)
        return now

    def transmit(self, now: float, size: int) -> float:
        """Send ``size`` bytes that are no pages; return when the last one has left.

        Raises `ConnectionLost` where the link stays down.
        """
        self.begin(now)
        if size:
            end = self.stream + size
            while self.curve.end < end:
                self.stream = self.curve.end  # so that what lies far behind is forgotten
                self._draw()
            self.stream = end
            self.segment = self.curve.segment_of(self.stream)
            self.ready = max(self.ready, self.curve.departure(self.stream) + self.shift)
        return self.ready

    def reconnect(self) -> bool:
        """Open a new connection once the link is back; return False where it never is."""
        if not self._rounds.reopen():
            return False
        self._begin_period(self._rounds.now)
        return True

    def pieces(self) -> Iterator[Curve]:
        """Yield the curve of a bulk transfer that begins now, piece by piece, in full detail.

        Ends with an endless piece, or where the connection dies. The flow is used up by this.
        """
        self._rounds.show_details()
        while not self._rounds.dead:
            piece = self._rounds.draw()
            yield piece
            if piece.end >= ENDLESS:
                return

    def extend(self, end: int) -> None:
        """Draw the curve at least to byte ``end`` of this busy period.

        Raises `ConnectionLost` where the connection dies before.
        """
        while self.curve.end < end:
            self._draw()

    def _begin_period(self, now: float) -> None:
        self.finished += self.stream
        self.stream, self.segment, self.shift, self.ready = 0, 0, 0.0, now
        self._rounds.begin_period(now)
        self._busy_since = now
        self._piece = _LEAST_ROUNDS
        self._snapshot = self._rounds.copy()
        self.curve = Curve.at_rest(now)

    def _draw(self) -> None:
        """Append a piece to the curve, and forget what lies behind the sockets' backlog."""
        rounds = self._rounds
        if rounds.dead:
            raise ConnectionLost(rounds.now)
        rounds.slip(self.shift)  # what follows is drawn at the times at which it happens
        if self.share is not None and rounds.now >= self._horizon:
            self._ask(self.share)
        self._snapshot = rounds.copy()
        stop_at = rounds.now + _TIMED_PIECE if rounds.changes else math.inf
        stop_at = min(stop_at, self._horizon)
        piece = rounds.draw(self._piece, stop_at=stop_at)
        self._piece = min(2 * self._piece, MOST_ROUNDS)
        keep = self.stream - self._reach
        old = copied(self.curve.segments[self.curve.segment_of(keep) :])
        if self.shift:
            old["at"] += self.shift
            self.shift = 0.0
        self.curve = Curve(joined(old, piece.segments), piece.end)
        self.segment = self.curve.segment_of(self.stream)

    def _ask(self, share: Share) -> None:
        """Wait until it is known which part of the path we have from here on, and for how long."""
        drawn = self.curve.end - self.stream
        plans = self.plans
        plans = Plans(max(0, plans.bytes - drawn), plans.rests_at, plans.threads)
        grant = share.grant(self._rounds.now, self._busy_since, plans)
        self._horizon, self.cpu = grant.until, grant.cpu
        self._rounds.take(grant.part, grant.until)
