"""What a TCP client of a migrating guest sees: how long it waits, and whether it stays connected.

From the pause on, frames for the guest go to a host where nobody takes them, until the guest runs
at the destination *and* the network knows it (`migsim.network.announcing`): that time is called
``away``. The network loses what a client sends meanwhile, and the client goes on when it next
retransmits, not when the guest is back. The rules are Linux's: RFC 6298 with a floor of 200 ms,
RFC 8985's tail loss probe, and Documentation/networking/ip-sysctl on when a connection is given up.
``migsim/data/tcp-gap.csv`` holds what Linux was measured to do (`migsim.validate.client`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from migsim.errors import InputError
from migsim.units import Count, Seconds

__all__ = ["Client", "Traffic"]

Traffic = Literal["requests", "upload", "download"]

_PROBE_SLACK = 0.008
"""Seconds that Linux adds to a probe of several segments: TCP_TIMEOUT_MIN, two ticks at 250 Hz."""
_MOST_RETRIES = 255
"""Of tcp_retries2, which newer kernels keep in a byte."""
_MOST_ATTEMPTS = 100_000
"""Of a user timeout in ceilings: 140 days by default, and what can still be listed."""


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
    rtt: Seconds = 0.0
    queue: Seconds = 0.0
    period: Seconds = math.inf
    floor: Seconds = 0.2
    ceiling: Seconds = 120.0
    tail_probe: bool = True
    retries: Count = 15
    user_timeout: Seconds | None = None
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
        for name in ("floor", "ceiling"):
            if math.isinf(getattr(self, name)):
                raise InputError(f"client: {name} is inf, expected a finite time")
        if not self.ceiling >= self.timeout:
            raise InputError(
                f"client: ceiling is {self.ceiling}, expected at least the timeout {self.timeout}"
            )
        if not 1 <= self.retries <= _MOST_RETRIES:
            raise InputError(
                f"client: retries is {self.retries}, expected at least 1 and at most "
                f"{_MOST_RETRIES}"
            )
        most, patience = _MOST_ATTEMPTS * self.ceiling, self.user_timeout
        if patience is not None and not 0 < patience <= most:
            raise InputError(
                f"client: user_timeout is {patience}, expected more than 0 s and at most {most:g}"
            )

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
        return self._timers()[:-1]

    @property
    def given_up(self) -> float:
        """Seconds from the first sending until the program is told that the connection is lost.

        >>> round(Client(retries=5, tail_probe=False).given_up, 1)
        12.6
        >>> Client(user_timeout=5.0).given_up
        5.2
        """
        return self._timers()[-1]

    def _timers(self) -> list[float]:
        """Return the `attempts` and, at the end, when TCP gives up.

        That is when the timer fires once too often; Linux since 4.19 sets it for no later than the
        user timeout (tcp_clamp_rto_to_user_timeout).
        """
        bulk = self.traffic != "requests"
        times = [] if bulk else [0.0]
        at = 0.0
        if self.tail_probe:
            # One segment's probe waits for a delayed acknowledgement too, but not longer than
            # the timeout.
            at = self.probe if bulk else self.timeout
            times.append(at)
        wait, first, patience = self.timeout, at, self.patience
        while (at := at + wait) - first < patience:
            times.append(at)
            wait = min(self.ceiling, 2.0 * wait)
        return [*times, at if self.user_timeout is None else first + self.user_timeout]

    def gap(
        self, away: float, at: float = 0.0, *, unheard: float = 0.0, farther: float = 0.0
    ) -> float:
        """Return how long the client waits: infinite where the connection is lost.

        A request that is first sent ``at`` seconds into the absence is answered after this time.
        ``at`` is of no concern to bulk: an upload's last segment that arrived and the next one that
        the guest's program can read are so far apart. A download's next segment leaves the guest,
        whose clock stands still in the pause, with its probe or first retransmission; nothing is
        multiplied. During the last ``unheard`` seconds of the absence the guest runs and sends, but
        acknowledgements do not find it: what is sent then brings a download no further.

        ``farther`` is what the path's round trip has grown by when the client is answered.
        """
        if self.traffic == "download":
            return away - unheard + self._first_after(unheard) + farther / 2.0
        if self.traffic == "requests":
            if away <= at:
                return self.rtt + farther
            return self._answered(self._first_after(away - at), farther)
        if self.queued or away < self.rtt + self.queue:
            return away + self.rtt + farther  # what was sent last arrives, and tells what is lost
        return self._answered(self._first_after(away - self.rtt), farther)

    def _answered(self, attempt: float, farther: float = 0.0) -> float:
        """Return when the client goes on, of the attempt that the guest receives.

        An upload's last acknowledgement takes half a round trip, and so does what is sent again. A
        probe takes a whole one more: it tells what is missing, which is sent then.
        """
        probed = self.traffic == "upload" and self.tail_probe and attempt <= self.probe
        return attempt + (2.0 if probed else 1.0) * (self.rtt + farther)

    def _first_after(self, needed: float) -> float:
        if self.queued and self.traffic != "download":
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
