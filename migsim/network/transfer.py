"""A bulk transfer over a link: the quickest way to understand a path."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from migsim._kernels.delivery import ENDLESS
from migsim._types import Floats
from migsim.errors import InputError
from migsim.network.flow import Flow
from migsim.network.link import Link
from migsim.network.rounds import Curve

__all__ = ["REPLY_BYTES", "BulkTransfer", "bulk_transfer"]

MOST_SECONDS = 86_400.0

REPLY_BYTES = 4096
"""What a small request asks for: a page."""


@dataclass(frozen=True)
class BulkTransfer:
    """What a receiver sees of a transfer; time starts with the connection's first packet.

    Attributes:
        link: the path.
        seconds: how long it took, or was given.
        bytes: payload bytes received, in order, by then.
        lost_at: when the sender gave the connection up; None if it did not.
        at, received: the received bytes as a piecewise linear function of time.
        window_at, window, queue, backlog: payload bytes in flight, those of them that stand in the
            bottleneck's queue, and all that the sockets hold, each from a time on.
    """

    link: Link
    seconds: float
    bytes: int
    lost_at: float | None
    at: Floats
    received: Floats
    window_at: Floats
    window: Floats
    queue: Floats
    backlog: Floats

    @property
    def mean_rate(self) -> float:
        """Payload bytes per second over the whole transfer."""
        return self.bytes / self.seconds if self.seconds > 0 else math.inf

    def received_at(self, times: Floats) -> Floats:
        """Return the bytes received by each of ``times``."""
        found: Floats = np.interp(times, self.at, self.received)
        return found

    def rates(self, times: Floats) -> Floats:
        """Return the payload bytes per second between each two of ``times``."""
        steps: Floats = np.diff(self.received_at(times)) / np.diff(times)
        return steps

    def first_time_at(self, rate: float, interval: float = 0.1, begin: float = 0.0) -> float:
        """Return the end of the first interval in which at least ``rate`` was received, or inf.

        The first interval starts at ``begin``.
        """
        times = np.arange(begin, self.seconds + interval / 2, interval)
        reached = np.flatnonzero(self.rates(times) >= rate)
        return float(times[reached[0] + 1]) if reached.size else math.inf

    def reply_seconds(self, asked: Floats, *, behind_bulk: bool = False) -> Floats:
        """Return how long the receiver waits for a page that it asks for; NaN if beyond the end.

        The request takes half a round trip. The page has a connection of its own and waits in the
        bottleneck's queue only; or, ``behind_bulk``, it goes through the same socket and waits for
        all that the sender has written to it before.
        """
        link, trip = self.link, self.link.rtt
        arrives = asked + trip / 2  # at the sender
        at_once = arrives + trip / 2
        queue = self._noted(self.queue, arrives)
        ahead = self.received_at(at_once) + queue
        if behind_bulk:
            acknowledged = self.received_at(arrives - trip / 2)
            ahead = np.maximum(ahead, acknowledged + self._noted(self.backlog, arrives))
        gone = np.interp(ahead, self.received, self.at, right=np.nan)
        free = (queue == 0) & (not behind_bulk)
        own = (REPLY_BYTES + link.message_header) / link.goodput
        waited: Floats = np.where(free, at_once, np.maximum(gone, at_once)) + own - asked
        return waited

    def _noted(self, values: Floats, times: Floats) -> Floats:
        """Return the value of each segment of the curve that ``times`` lie in."""
        found = np.searchsorted(self.window_at, times, side="right") - 1
        return np.asarray(values[np.maximum(0, found)])

    def series(self, samples: int = 100) -> list[dict[str, float | None]]:
        """Return rate, window, queue and waits over equal intervals, as rows of plain numbers.

        ``reply`` and ``reply_behind_bulk`` are `reply_seconds`, None near the end.
        """
        if not 0 < self.seconds < math.inf:
            return []
        times = np.linspace(0.0, self.seconds, samples + 1)
        middle = (times[1:] + times[:-1]) / 2
        columns = {
            "seconds": times[1:],
            "rate": self.rates(times),
            "window": self._noted(self.window, middle),
            "queue": self._noted(self.queue, middle),
            "reply": self.reply_seconds(middle),
            "reply_behind_bulk": self.reply_seconds(middle, behind_bulk=True),
        }
        return [
            {name: None if math.isnan(values[k]) else float(values[k])
             for name, values in columns.items()}
            for k in range(samples)
        ]  # fmt: skip


def bulk_transfer(
    link: Link, *, size: int | None = None, duration: float | None = None, seed: int = 0
) -> BulkTransfer:
    """Return a transfer of ``size`` bytes, or one that lasts ``duration`` seconds.

    A transfer whose connection dies ends when that is noticed. Raises `InputError` unless exactly
    one is given, for a link of unlimited rate, and for what takes longer than a day.
    """
    if (size is None) == (duration is None):
        raise InputError("a transfer needs either a size or a duration")
    if size is not None and not 0 < size < ENDLESS:
        raise InputError(f"a transfer of {size} bytes: expected more than 0 and less than 2^62")
    if duration is not None and not 0 < duration <= MOST_SECONDS:
        raise InputError(f"a transfer of {duration:g} s: expected more than 0 and at most a day")
    if math.isinf(link.rate):
        raise InputError("a transfer over a link of unlimited rate takes no time, expected a rate")
    last, until = size or ENDLESS, math.inf if duration is None else duration
    later = link.rtt / 2  # from the bottleneck's exit to the receiver
    pieces: list[Curve] = []
    flow = Flow(link, 0.0, seed)
    stands = flow.ready
    for piece in flow.pieces():
        pieces.append(piece)
        reached = piece.segments["at"][-1] + later if piece.segments.size else 0.0
        if piece.end >= last or reached > until:
            break
        if reached > MOST_SECONDS:
            raise InputError("the transfer takes longer than a day, expected fewer bytes")
    pieces = pieces or [Curve.at_rest(stands)]
    curve = np.concatenate([piece.segments for piece in pieces])
    at, start, pace = curve["at"], curve["bytes"].astype(np.float64), curve["pace"]
    stop = np.minimum(np.append(start[1:], pieces[-1].end), last)
    if math.isfinite(until):  # an endless segment, cut
        with np.errstate(divide="ignore", invalid="ignore"):
            fits = start + np.maximum(0.0, until - at) / pace
        stop = np.where(pace > 0, np.minimum(stop, np.maximum(start, fits)), stop)
    times = np.column_stack([at, at + np.maximum(0.0, stop - start) * pace]).ravel() + later
    amounts = np.column_stack([start, np.maximum(start, stop)]).ravel()
    times = np.maximum.accumulate(np.concatenate([[0.0, stands + later], times]))
    amounts = np.maximum.accumulate(np.concatenate([[0.0, 0.0], np.minimum(amounts, last)]))
    if duration is not None:
        seconds, received = duration, int(np.interp(duration, times, amounts))
    else:
        done = int(np.searchsorted(amounts, last, side="left"))
        seconds = float(times[min(done, times.size - 1)])
        if seconds > MOST_SECONDS:
            raise InputError("the transfer takes longer than a day, expected fewer bytes")
        received = int(min(last, amounts[-1]))
    lost_at = flow.lost_at if flow.dead and received < last else math.inf
    if duration is None and lost_at < math.inf:
        seconds = lost_at
    window, queue, backlog = (
        curve[name].astype(np.float64) for name in ("window", "queue", "backlog")
    )
    return BulkTransfer(
        link, seconds, received, lost_at if lost_at <= seconds else None,
        times, amounts, at, window, queue, backlog,
    )  # fmt: skip
