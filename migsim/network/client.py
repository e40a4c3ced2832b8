"""What a TCP client of a migrating guest sees: how long it waits, and whether it stays connected.

From the pause on, frames for the guest go to a host where nobody takes them, until the guest runs
at the destination *and* the switches know it: that time is called ``away``. The network loses what
a client sends meanwhile, and the client goes on when it next retransmits, not when the guest is
back. The rules are Linux's: RFC 6298 with a floor of 200 ms, RFC 8985's tail loss probe, and
Documentation/networking/ip-sysctl on when a connection is given up. ``migsim/data/tcp-gap.csv``
holds what Linux was measured to do (`migsim.validate.client`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from migsim.errors import InputError

__all__ = ["Client", "Traffic", "announced"]

Traffic = Literal["requests", "upload", "download"]

_PROBE_SLACK = 0.008
"""Seconds that Linux adds to a probe of several segments: TCP_TIMEOUT_MIN, two ticks at 250 Hz."""


def announced(lost: int = 0) -> float:
    """Return seconds from the resume to the first announcement that arrives, if ``lost`` do not.

    QEMU sends five, at once and then after 50, 150, 250 and 350 ms (migration parameters
    announce-initial, -step and -rounds). VMware's knowledge base (343401) tells of about five, and
    of no times. Infinite where all are lost: then the guest's own first frame announces it, or the
    switch's table ages.

    >>> [round(announced(lost), 3) for lost in range(6)]
    [0.0, 0.05, 0.2, 0.45, 0.8, inf]
    """
    if lost >= 5:
        return math.inf
    return math.fsum(0.05 + 0.1 * step for step in range(lost))


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client with an open connection to the guest, and its TCP.

    Attributes:
        traffic: ``requests`` with one outstanding at a time, an ``upload`` or a ``download``
            without end.
        rtt: round trip between client and guest on an idle path, seconds.
        queue: seconds that a bulk transfer's own data wait on the way, on top of that.
        period: seconds from one request to the next; infinite for one that comes at any time, and
            hits the absence.
        floor: least of the part of the retransmission timeout that stands for variation: with a
            steady round trip the timeout is that and the round trip (tcp_rto_min, 200 ms).
        ceiling: greatest retransmission timeout (tcp_rto_max, 120 s).
        tail_probe: whether a probe goes first (RFC 8985, sec. 7; Linux since 3.10): the timeout
            then starts anew after it.
        retries: retransmissions by which a steady connection of the least timeout would have been
            given up (tcp_retries2: 15, after 924.6 s; Windows has 5, KB 170359).
        user_timeout: seconds after which the application or TCP_USER_TIMEOUT gives up instead.
        queued: whether the network keeps what it cannot deliver and delivers it then. Ethernet
            switches do not; some virtual ones do.
    """

    traffic: Traffic = "requests"
    rtt: float = 0.0
    queue: float = 0.0
    period: float = math.inf
    floor: float = 0.2
    ceiling: float = 120.0
    tail_probe: bool = True
    retries: int = 15
    user_timeout: float | None = None
    queued: bool = False

    def __post_init__(self) -> None:
        if self.traffic not in {"requests", "upload", "download"}:
            raise InputError(
                f"client: traffic is {self.traffic}, expected requests, upload or download"
            )
        for name in ("rtt", "queue"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"client: {name} is {getattr(self, name)}, expected 0 s or more")
        for name in ("period", "floor"):
            if not getattr(self, name) > 0:
                raise InputError(f"client: {name} is {getattr(self, name)}, expected more than 0 s")
        if not self.ceiling >= self.timeout:
            raise InputError(
                f"client: ceiling is {self.ceiling}, expected at least the timeout {self.timeout}"
            )
        if self.retries < 1:
            raise InputError(f"client: retries is {self.retries}, expected at least 1")

    @property
    def timeout(self) -> float:
        """Seconds after which a segment is retransmitted first, without a probe."""
        return self.rtt + self.queue + self.floor

    @property
    def probe(self) -> float:
        """Seconds after the last acknowledgement when a bulk transfer's tail loss probe is sent.

        Two round trips, but no later than the timeout of the oldest segment, which was sent a round
        trip before.
        """
        return min(2.0 * (self.rtt + self.queue) + _PROBE_SLACK, self.floor)

    @property
    def patience(self) -> float:
        """Seconds of retransmission timeouts after which the connection is given up."""
        if self.user_timeout is not None:
            return self.user_timeout
        waits = (min(self.ceiling, self.floor * 2.0**i) for i in range(self.retries + 1))
        return math.fsum(waits)

    def attempts(self) -> list[float]:
        """Return when a segment goes out, seconds after its first time, until TCP gives up.

        The connection is given up when the timer fires and `patience` has passed since it was set
        first (tcp_retries2's rule: a time, not a count; Linux counts from the first retransmission,
        but its timers are late). The probe does not count. A bulk transfer's times count from the
        last acknowledgement, and begin with what follows it.

        >>> [round(at, 1) for at in Client(tail_probe=False).attempts()][:6]
        [0.0, 0.2, 0.6, 1.4, 3.0, 6.2]
        >>> [round(at, 1) for at in Client().attempts()][:6]
        [0.0, 0.2, 0.4, 0.8, 1.6, 3.2]
        """
        bulk = self.traffic != "requests"
        times = [] if bulk else [0.0]
        at = 0.0
        if self.tail_probe:
            # One segment's probe waits for a delayed acknowledgement too, but not longer than
            # the timeout.
            at = self.probe if bulk else self.timeout
            times.append(at)
        wait, first = self.timeout, at
        while (at := at + wait) - first < self.patience:
            times.append(at)
            wait = min(self.ceiling, 2.0 * wait)
        return times

    def gap(self, away: float, at: float = 0.0) -> float:
        """Return how long the client waits: infinite where the connection is lost.

        A request that is first sent ``at`` seconds into the absence is answered after this time.
        ``at`` is of no concern to bulk: an upload's last segment that arrived and the next one that
        the guest's program can read are so far apart. A download's next segment leaves the guest,
        whose clock stands still in the pause, with its probe or first retransmission, and tells the
        switches where it is; so ``away`` is the downtime there, and nothing is multiplied.
        """
        if self.traffic == "download":
            return away + (self.probe if self.tail_probe else self.timeout)
        if self.traffic == "requests":
            return self.rtt if away <= at else self._answered(self._first_after(away - at))
        if self.queued or away < self.rtt + self.queue:
            return away + self.rtt  # what was sent last arrives, and tells what is missing
        return self._answered(self._first_after(away - self.rtt))

    def _answered(self, attempt: float) -> float:
        """Return when the client goes on, of the attempt that the guest receives.

        An upload's last acknowledgement takes half a round trip, and so does what is sent again. A
        probe takes a whole one more: it tells what is missing, which is sent then.
        """
        probed = self.traffic == "upload" and self.tail_probe and attempt <= self.probe
        return attempt + (2.0 if probed else 1.0) * self.rtt

    def _first_after(self, needed: float) -> float:
        if self.queued:
            return needed
        return next((at for at in self.attempts() if at >= needed), math.inf)

    def worst(self, away: float) -> float:
        """Return the longest wait over all phases: that of a request as the guest has just gone."""
        return self.gap(away)

    def mean(self, away: float) -> float:
        """Return the mean wait over all phases of those clients that the absence hits.

        Exact: a request x before the guest is back waits for the first attempt from x on, and x is
        uniform between ``away - period``, or 0, and ``away``.
        """
        if self.traffic != "requests" or away <= 0.0:
            return self.gap(away)
        low = max(0.0, away - self.period)
        if self.queued:
            return (low + away) / 2.0 + self.rtt
        times = self.attempts()
        if away > times[-1]:
            return math.inf
        area = math.fsum(
            high * max(0.0, min(high, away) - max(before, low)) for before, high in pairwise(times)
        )
        return area / (away - low) + self.rtt

    def survives(self, away: float) -> bool:
        """Return whether a connection with data under way is still there afterwards."""
        return self.traffic == "download" or self.gap(away) < math.inf

    @property
    def longest(self) -> float:
        """The longest absence that the connection survives with data of the client's under way."""
        extra = self.rtt if self.traffic == "upload" else 0.0
        return math.inf if self.traffic == "download" else self.attempts()[-1] + extra

    def longest_within(self, wait: float) -> float:
        """Return the longest absence in which no client waits longer than ``wait`` seconds.

        >>> round(Client().longest_within(1.0), 3)
        0.8
        >>> round(Client(tail_probe=False).longest_within(1.0), 3)
        0.6
        """
        if self.traffic == "download":
            return max(0.0, wait - self.gap(0.0))
        if self.queued:
            return max(0.0, wait - self.rtt)
        upload = self.traffic == "upload"
        met = [at for at in self.attempts() if self._answered(at) <= wait]
        if met:
            return met[-1] + (self.rtt if upload else 0.0)
        return max(0.0, min(wait - self.rtt, self.rtt + self.queue)) if upload else 0.0
