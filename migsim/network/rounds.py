"""The round model of one connection, between two pieces of its curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from migsim._kernels.congestion import BBR, CUBIC, NONE, PATH, RENO, STREAM
from migsim._kernels.curve import CURVE
from migsim._kernels.delivery import ENDLESS
from migsim._kernels.draws import random_bits
from migsim._kernels.tcp import (
    FIRST_DRAWS,
    UNLIMITED,
    draw_first_losses,
    open_competitors,
    pause_streams,
    run_bbr_rounds,
    run_plain,
    run_window_rounds,
    wait_for_link,
)
from migsim._types import Record
from migsim.network.link import Link
from migsim.network.schedule import Schedule

__all__ = ["MOST_ROUNDS", "Curve", "Rounds", "copied", "joined"]

_CONTROLS = {"none": NONE, "reno": RENO, "cubic": CUBIC, "bbr": BBR}
_KERNELS = {
    NONE: run_plain,
    RENO: run_window_rounds,
    CUBIC: run_window_rounds,
    BBR: run_bbr_rounds,
}
MOST_ROUNDS = 2048
"""Rounds of one piece of the curve."""
_MOST_SEGMENTS = 1024
_SYN_RETRIES = 6
_LEAST_DELAY = 20e-6  # what the hosts themselves take, where a link is given without a round trip


def copied(records: Record) -> Record:
    """Return a copy of records; as bytes, since NumPy copies records field by field."""
    return records.view(np.uint8).copy().view(records.dtype)


def joined(first: Record, second: Record) -> Record:
    """Return the records of both, in one array."""
    both: Record = np.concatenate((first.view(np.uint8), second.view(np.uint8)))
    return both.view(first.dtype)


@dataclass(frozen=True)
class Curve:
    """When bytes leave: byte b, in segment i, at ``at[i] + (b - bytes[i]) * pace[i]``.

    Attributes:
        segments: records of `migsim._kernels.curve.CURVE`, shape (segments,), ascending.
        end: the byte up to which the curve is known.
    """

    segments: Record
    end: int

    @classmethod
    def at_rest(cls, now: float) -> Curve:
        """Return the curve of a period that begins now and of which nothing is drawn yet."""
        segments: Record = np.zeros(1, dtype=CURVE)
        segments["at"] = now
        return cls(segments, 0)

    def segment_of(self, stream: int) -> int:
        """Return the segment that stream byte number ``stream`` lies in."""
        return max(0, int(self.segments["bytes"].searchsorted(stream, side="left")) - 1)

    def departure(self, stream: int) -> float:
        """Return when stream byte number ``stream`` has left."""
        segment = self.segments[self.segment_of(stream)]
        return float(segment["at"] + (stream - segment["bytes"]) * segment["pace"])


class Rounds:
    """The state of a connection's streams and of the path that they share.

    Attributes:
        path, streams: records of the kernels (`migsim._kernels.congestion`).
    """

    def __init__(self, link: Link, seed: int) -> None:
        self._link = link
        self._seed = np.uint64(random_bits(np.uint64(seed % 2**64), 0))
        plan = link.schedule(seed)
        self._plan = Schedule(plan.at, np.minimum(plan.rate / link.packet, UNLIMITED))
        self._changes = self._plan
        self._queue = link.queue_bytes, link.packet
        bursts = link.bursts
        self.path: Record = np.zeros(1, dtype=PATH)
        path = self.path[0]
        path["delay"] = max(link.rtt, _LEAST_DELAY)
        path["jitter"], path["loss"] = link.jitter, link.loss
        path["queue"], path["patient"] = link.queue_bytes / link.packet, link.queue_is_local
        path["limit"] = link.buffer / link.segment
        path["socket"], path["socket_growth"] = link.socket, link.socket_growth
        path["refill"] = link.refill / link.segment
        path["control"] = NONE if link.plain else _CONTROLS[link.congestion]
        path["burst_begins"], path["burst_ends"] = bursts.begins, bursts.ends
        path["burst_loss"] = 1.0 - (1.0 - bursts.inside) * (1.0 - link.loss)
        path["segment"], path["own"] = link.segment, link.streams
        path["rate"] = self._changes.rate[0]
        self.streams: Record = np.zeros(link.streams + link.background_flows, dtype=STREAM)
        self._open()

    def copy(self) -> Rounds:
        """Return an independent copy."""
        other = Rounds.__new__(Rounds)
        other.__dict__.update(self.__dict__)  # `copy.copy` takes longer than a draw
        other.path, other.streams = copied(self.path), copied(self.streams)
        return other

    def _open(self) -> None:
        streams, path = self.streams, self.path[0]
        streams.view(np.uint8)[:] = 0
        path["dead"] = 0
        streams["window"], streams["epoch"] = float(self._link.initial_window), -1.0
        for name in ("threshold", "least_queued", "until_loss", "until_switch"):
            streams[name] = np.inf
        streams["draws"] = FIRST_DRAWS  # whatever the link, so that later ones are the same
        if path["loss"] > 0.0 or path["burst_begins"] > 0.0:
            draw_first_losses(self.path, streams, self._seed)
        if streams.size > path["own"]:
            open_competitors(self.path, streams)

    @property
    def changes(self) -> bool:
        """Whether the link changes over time."""
        return self._changes.at.size > 1

    @property
    def dead(self) -> bool:
        """Whether the connection has timed out for good."""
        return bool(self.path[0]["dead"])

    @property
    def now(self) -> float:
        """How far the curve is drawn, in seconds."""
        return float(self.path[0]["now"])

    def show_details(self) -> None:
        """Keep segments of equal pace apart from now on, for whoever looks at the windows."""
        self.path["detail"] = 1

    def connect(self, now: float) -> float:
        """Return when a connection that is asked for ``now`` stands; it is dead if it never does.

        The first packet is sent again after 1, 2, 4 ... seconds while the link is down, six times
        (Linux's tcp_syn_retries); it is not lost at random.
        """
        wait = 1.0
        for _ in range(_SYN_RETRIES + 1):
            if self._changes.rate_at(now) > 0:
                return now + self._link.rtt  # SYN, SYN-ACK; data goes with the final ACK
            now += wait
            wait *= 2.0
        self.path["dead"] = 1
        return now

    def take(self, part: float, until: float) -> None:
        """Have ``part`` of the path from now on, to be told again ``until`` then.

        So is its queue: the packets of others stand in the rest of it.
        """
        at, rate = self._plan.at, self._plan.rate * part
        if until < math.inf:  # rounds that are made in one step end there
            place = self._plan.following(until)
            at = np.concatenate([at[:place], [until], at[place:]])
            rate = np.concatenate([rate[:place], rate[place - 1 : place], rate[place:]])
        self._changes = Schedule(at, rate)
        path = self.path[0]
        queue, packet = self._queue
        path["queue"] = part * queue / packet
        self._follow_schedule(path["now"])

    def begin_period(self, now: float) -> None:
        """Start to count bytes anew: the sender has data from ``now`` on."""
        path = self.path[0]
        path["now"] = now
        path["delivered"], path["held"], path["hold_until"] = 0.0, 0.0, 0.0
        self._follow_schedule(now)

    def _follow_schedule(self, now: float) -> None:
        """Have the rate that the link has ``now``, and know when it changes next."""
        path, following = self.path[0], self._changes.following(now)
        path["next_change"], path["rate"] = following, self._changes.rate[max(0, following - 1)]

    def slip(self, seconds: float) -> None:
        """Let everything that is to come come later."""
        if seconds == 0.0:
            return
        path = self.path[0]
        path["now"] += seconds
        path["hold_until"] += seconds if path["hold_until"] else 0.0
        path["due"] += seconds if path["due"] else 0.0

    def draw(
        self, rounds: int = MOST_ROUNDS, stop_bytes: int = ENDLESS - 1, stop_at: float = math.inf
    ) -> Curve:
        """Return the next piece of the curve; ends as `run_window_rounds` tells."""
        segments: Record = np.empty(_MOST_SEGMENTS, dtype=CURVE)
        path, at, rate = self.path[0], self._changes.at, self._changes.rate
        path["rounds"], path["segments"] = 0, 0
        run = _KERNELS[int(path["control"])]
        while not run(
            self.path, self.streams, self._seed, at, rate, rounds, stop_bytes, stop_at, segments
        ):
            wait_for_link(self.path, self.streams, at, rate, segments)
        size = path["delivered"] * path["segment"]
        return Curve(segments[: path["segments"]], math.floor(size) if size < ENDLESS else ENDLESS)

    def before_round_of(self, stream: int, drawn: bool) -> Rounds:
        """Return the state before the round in which byte ``stream`` leaves, which is noted.

        ``drawn`` tells whether anything of this busy period has been drawn.
        """
        after, before = self.copy(), self.copy()
        if not drawn:
            path = before.path[0]
            path["began"], path["before"], path["repeats"] = path["now"], path["delivered"], 1.0
            path["duration"] = path["delay"]
            return before
        after.draw(stop_bytes=stream - 1)
        notes, rounds = after.path[0], int(after.path[0]["rounds"])
        if rounds > 1:
            before.draw(rounds - 1)
        path = before.path[0]
        for name in ("began", "before", "duration", "repeats", "share", "window", "rate",
                     "next_change"):  # fmt: skip
            path[name] = notes[name]
        before.streams["sent"] = after.streams["sent"]
        return before

    def pause(self, stream: int, ready: float, shift: float, now: float) -> None:
        """Account for a rest from ``ready`` to ``now``, after byte ``stream`` of the noted round.

        While acknowledgements of the last window are under way, only the rest of that window can
        leave; they let the window grow by what they acknowledge. A pause longer than the
        retransmission time-out halves it for each time-out that passed, down to the initial
        window (RFC 2861).
        """
        path = self.path[0]
        sent = max(0.0, stream / float(path["segment"]) - float(path["before"]))
        began, duration = float(path["began"]) + shift, float(path["duration"])
        if path["repeats"] > 1.0:  # of many equal rounds, the one that the last byte lies in
            passed = math.floor(max(0.0, ready - began) / duration)
            began += passed * duration
            sent = max(0.0, sent - passed * float(path["share"] * path["window"]))
            for name in ("until_loss", "until_switch"):  # as `repeat_round` does
                self.streams[name] -= float(passed) * self.streams["sent"]
        fresh = sent / self._link.streams
        used = fresh + float(path["used"])
        due = began + max(duration, float(path["delay"]))
        if path["used"]:
            due = float(path["due"]) + shift
        acknowledged = used <= 0.0 or now >= due
        path["duration"] = max(duration, float(path["delay"]))
        pause_streams(
            self.path, self.streams, fresh, used, acknowledged, now - ready,
            float(self._link.initial_window), self._seed,
        )  # fmt: skip
        path["used"], path["due"] = (0.0, 0.0) if acknowledged else (used, due)

    def reopen(self) -> bool:
        """Open a new connection once the link is back; return False where it never is."""
        changes, up = self._changes, self.now
        if changes.rate_at(up) <= 0:
            later = np.flatnonzero((changes.at > up) & (changes.rate > 0))
            if not later.size:
                return False
            up = float(changes.at[later[0]])
        self._open()
        self.begin_period(self.connect(up))
        return not self.dead
