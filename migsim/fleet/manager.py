"""Starts migrations as limits allow, follows them, and tries again: the fleet in virtual time."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from migsim.fleet.chain import Detail, Entry, Kind
from migsim.fleet.conductor import Conductor, Processor
from migsim.fleet.fate import ending_of, judge
from migsim.fleet.faults import Fault, Policy
from migsim.fleet.forecast import Forecast
from migsim.fleet.handover import Place, Where
from migsim.fleet.model import Failure, Fleet
from migsim.fleet.positions import Positions
from migsim.fleet.requests import Attempt, Request
from migsim.fleet.state import State
from migsim.fleet.topology import Path, capacities, path
from migsim.fleet.trip import Trip, make_trip
from migsim.fleet.waiting import Waiting
from migsim.gang import Gang
from migsim.simulate import Outcome, execute

__all__ = ["Manager", "Minutes", "Recorder"]

_LETS_START: frozenset[Kind] = frozenset(
    {"placed", "stopped", "completed", "failed", "crashed", "recovered", "joined"}
)
"""What may let a migration start that waits, or end its waiting otherwise."""

_MOST_DOUBLINGS = 30
"""Of the wait before a retry: from 10 s on that is three centuries, and still a number."""


class Recorder(Protocol):
    """What keeps the record of a fleet, such as `migsim.fleet.audit.AuditLog`."""

    def record(
        self, at: float, kind: Kind, subject: str, /, key: str = "", **details: Detail
    ) -> Entry:
        """Keep that something was decided, done, or has come out."""
        ...


class Minutes:
    """A record that is kept in memory.

    Attributes:
        entries: what was recorded, not chained.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(
        self, at: float, kind: Kind, subject: str, /, key: str = "", **details: Detail
    ) -> Entry:
        """Keep an entry."""
        entry = Entry(len(self.entries), at, kind, subject, details, key, "")
        self.entries.append(entry)
        return entry


@dataclass(frozen=True)
class _Ride:
    """A migration under way."""

    request: Request
    source: str
    destination: str
    trip: Trip
    started: float
    gang: Gang | None


class Manager:
    """Carries out what is wanted of a fleet.

    Attributes:
        fleet: that it manages.
        positions: where machines are.
        attempts: all migrations that have ended, in order of time.
        cancelled: what was wanted and not done, with the reason.
        forecast: what it predicts.
        carried: bytes on the wire of each directed link.
    """

    def __init__(
        self,
        fleet: Fleet,
        recorder: Recorder | None = None,
        *,
        state: State | None = None,
        concurrency: Mapping[str, int] | None = None,
    ) -> None:
        """Take over ``fleet``, in a ``state`` that is its scenario's beginning by default.

        ``concurrency`` is the most migrations of a job at a time, for jobs that have a limit.
        """
        self.fleet = fleet
        self._conductor = Conductor(
            capacities(fleet), self._processor, tick=fleet.migrating.share_interval,
            awaits=lambda: bool(self._queue) or fleet.migrating.retries > 0,
        )  # fmt: skip
        self._recorder = recorder or Minutes()
        self.positions = Positions(fleet, state or State())
        self.attempts: list[Attempt] = []
        self.cancelled: list[tuple[Request, str]] = []
        self.forecast = Forecast(fleet)
        self.carried: Counter[str] = Counter()
        self.concurrency = dict(concurrency or {})
        self._queue = Waiting()
        self._paths: dict[tuple[str, str], Path] = {}
        self._rides: dict[str, _Ride] = {}
        self._under_way: Counter[str] = Counter()  # migrations of each job and place with a limit
        self._policy = Policy(
            confirm=fleet.migrating.confirm,
            patience=fleet.migrating.patience,
            postcopy=fleet.migrating.postcopy,
        )
        self._conductor.now = self.positions.state.at
        if state is None:
            self._begin()
        for failure in fleet.failures:
            if failure.at >= self.now:
                self.call_at(failure.at, functools.partial(self._break, failure))

    @property
    def now(self) -> float:
        """Seconds of the fleet's virtual time."""
        return self._conductor.now

    @property
    def state(self) -> State:
        """The state of the fleet, folded from what was recorded."""
        return self.positions.state

    def record(self, kind: Kind, subject: str, key: str = "", **details: Detail) -> None:
        """Keep that something happens now; the state of the fleet follows from it."""
        entry = self._recorder.record(self.now, kind, subject, key, **details)
        told = [_machine(subject), _place(subject)]
        if kind == "crashed":
            told += [_machine(name) for name in self.state.running(subject)]
        elif subject in self.state.under_way:
            told += [_place(host) for host in self.state.under_way[subject]]
        self.state.follow(entry)
        if kind in _LETS_START:
            self._queue.tell(*told)

    def call_at(self, at: float, action: Callable[[], None]) -> None:
        """Let ``action`` happen at a time of the fleet."""
        self._conductor.call_at(at, action)

    def want(self, *requests: Request) -> None:
        """Queue migrations; those that were wanted first are started first where both could be."""
        self._queue.tell(*(f"job {request.job}" for request in requests))  # their limit may be new
        self._queue.add(*requests)
        times = {max(self.now, request.not_before) for request in requests}
        times |= {request.until for request in requests if self.now < request.until < math.inf}
        for at in sorted(times):
            self.call_at(at, self._dispatch)

    def run(self) -> None:
        """Go on until nothing is left to do; what could never start is cancelled."""
        self._conductor.run()
        for number, request in self._queue:
            self._drop(number, request, self._obstacle(request)[0] or "nothing let it start")

    def _begin(self) -> None:
        for host in self.fleet.hosts:
            self.record("joined", host)
        for vm in self.fleet.vms.values():
            self.record("placed", vm.name, host=vm.host)

    # ---- starting ---------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Start what can be started now, in the order in which it was wanted."""
        for number, request in self._queue.due(self.now):
            here, machine = self.positions.host_of(request.vm), _machine(request.vm)
            if self.now < request.not_before:
                self._queue.wait(number, until=request.not_before)
            elif request.vm in self._rides:
                self._queue.wait(number, machine)
            elif not here:
                reason = self.state.astray.get(request.vm, "it was stopped")
                self._drop(number, request, f"{request.vm} does not run: {reason}")
            elif request.source and here != request.source:
                self._queue.wait(number, machine)  # it is not where this step begins, yet
            elif here == request.to:
                self._drop(number, request, f"it runs on {here} already")
            else:
                self._start_or_wait(number, request, here)

    def _start_or_wait(self, number: int, request: Request, here: str) -> None:
        """Start a migration if nothing is in its way; drop it once its window is over."""
        why_not, place = self._obstacle(request)
        if self.now > request.until:
            self._drop(number, request, f"its window has closed: {why_not}")
        elif not why_not:
            self._queue.remove(number)
            self._start(request, here, self._destination(request))
        elif self.now == request.until:
            self._drop(number, request, f"its window closes: {why_not}")
        elif place:
            self._queue.wait(
                number, _machine(request.vm), _place(request.to), place,
                until=request.until if request.until < math.inf else None,
            )  # fmt: skip

    def _destination(self, request: Request) -> str:
        if request.to and (request.to in self.state.up or not request.movable):
            return request.to
        return self.positions.choose(request.vm, request.among)

    def _obstacle(self, request: Request) -> tuple[str, str]:
        """Return why a migration cannot start now, "" where it can, and what it has to wait for.

        That is "" where anything may let it start, since its destination is not fixed.
        """
        here = self.positions.host_of(request.vm)
        if not here:
            return f"{request.vm} does not run", _machine(request.vm)
        job, most = f"job {request.job}", self.concurrency.get(request.job)
        if most and self._under_way[job] >= most:
            return f"{most} migrations of '{request.job}' are under way", job
        to = self._destination(request)
        fixed = to == request.to
        if not to:
            return "no host may take it", ""
        objection = self.positions.objection(request.vm, to)
        if objection:
            return objection, _place(to) if fixed else ""
        limits = self._path(here, to).limits.items()
        for place, most in limits:
            if self._under_way[place] >= most:
                return f"{place} has as many migrations as it may", place if fixed else ""
        return "", ""

    def _path(self, source: str, destination: str) -> Path:
        """Return the way between two hosts, which is looked for once."""
        ends = source, destination
        if ends not in self._paths:
            self._paths[ends] = path(self.fleet, *ends)
        return self._paths[ends]

    def _start(self, request: Request, source: str, destination: str) -> None:
        vm = self.fleet.vms[request.vm]
        refused = self.forecast.objection(request, vm, source, destination, self.now)
        if refused:
            self._cancel(request, refused)
            return
        trip = make_trip(self.fleet, vm, source, destination, self.now)
        gang = self._gang(source, destination)
        self._rides[vm.name] = _Ride(request, source, destination, trip, self.now, gang)
        self._under_way.update([f"job {request.job}", *trip.path.limits])
        self.record(
            "started", vm.name, trip.task.key, source=source, destination=destination,
            job=request.job, attempt=request.attempt,
        )  # fmt: skip
        self._conductor.launch(
            trip.crossing,
            lambda share: execute(trip.task, None, share),
            functools.partial(self._ended, vm.name),
            gang,
        )

    def _gang(self, source: str, destination: str) -> Gang | None:
        """Return the gang that a machine joins: its index lasts as long as anybody is under way."""
        if not self.fleet.migrating.gang:
            return None
        under_way = [
            ride.gang for ride in self._rides.values()
            if (ride.source, ride.destination) == (source, destination)
        ]  # fmt: skip
        return under_way[0] if under_way else Gang()

    # ---- ending -----------------------------------------------------------------------------

    def _ended(self, name: str, outcome: Outcome) -> None:
        """Find out where a machine runs now that its migration has ended."""
        ride, result = self._rides.pop(name), outcome.result
        request, trip = ride.request, ride.trip
        freed = [f"job {request.job}", *trip.path.limits]
        self._under_way.subtract(freed)
        self._queue.tell(_machine(name), *freed)
        where = judge(trip.task, outcome, self._policy, _cut_off_by(ride, result.total_seconds))
        where = self._unless_down(where, ride)
        attempt = Attempt(
            vm=name, source=ride.source, destination=ride.destination, job=request.job,
            attempt=request.attempt, wanted=request.not_before, started=ride.started,
            ended=self.now, paused=_paused(ride, outcome), ending=ending_of(where),
            reason=where.reason, key=trip.task.key, result=result,
        )  # fmt: skip
        self.attempts.append(attempt)
        for link in trip.path.links:
            self.carried[link] += result.bytes_sent - result.sent_requests
        measured = {
            "total_seconds": result.total_seconds,
            "downtime_seconds": result.downtime_seconds,
            "bytes_sent": result.bytes_sent,
            "paused": attempt.paused,
        }
        if attempt.ending == "completed":
            self.record("completed", name, attempt.key, **measured)
        else:
            self.record(
                "failed", name, attempt.key, runs_at=_word(where), ending=attempt.ending,
                reason=where.reason, **measured,
            )  # fmt: skip
        if attempt.ending == "stayed":
            self._try_again(request)
        self.call_at(self._conductor.soon, self._dispatch)

    def _unless_down(self, where: Where, ride: _Ride) -> Where:
        """Return where a machine runs if its hosts may both have crashed by now."""
        hosts: dict[Place, str] = {"source": ride.source, "destination": ride.destination}
        left = tuple(place for place in where.runs_at if hosts[place] in self.state.up)
        if left == where.runs_at:
            return where
        down = ", ".join(f"{hosts[end]} is down" for end in where.runs_at if end not in left)
        return Where(left, not left, f"{where.reason}; {down}")

    def _try_again(self, request: Request) -> None:
        migrating = self.fleet.migrating
        if request.attempt >= migrating.retries:
            self._cancel(request, f"it has failed {request.attempt + 1} times")
            return
        wait = migrating.backoff * 2.0 ** min(request.attempt, _MOST_DOUBLINGS)
        again = dataclasses.replace(
            request, attempt=request.attempt + 1, not_before=self._conductor.soon + wait
        )
        self.record("retried", request.vm, attempt=again.attempt, not_before=again.not_before)
        self.want(again)

    def _drop(self, number: int, request: Request, reason: str) -> None:
        self._queue.remove(number)
        self._cancel(request, reason)

    def _cancel(self, request: Request, reason: str) -> None:
        self.cancelled.append((request, reason))
        self.record("cancelled", request.vm, job=request.job, reason=reason)

    # ---- faults -----------------------------------------------------------------------------

    def _break(self, failure: Failure) -> None:
        """Something breaks; migrations that it hits know of it from their links and limits."""
        crash = failure.kind == "crash"
        if not crash:
            self.record("impaired", failure.target, how=failure.kind, left=failure.left)
        elif failure.target in self.state.up:
            self.record("crashed", failure.target)
        if failure.lasts < math.inf:
            self.call_at(failure.at + failure.lasts, functools.partial(self._mend, failure))

    def _mend(self, failure: Failure) -> None:
        """A failure is over; what another one of its kind still keeps broken stays so."""
        if any(
            other.kind == failure.kind and other.target == failure.target
            and other.at <= self.now < other.at + other.lasts
            for other in self.fleet.failures
        ):  # fmt: skip
            return
        if failure.kind != "crash":
            self.record("mended", failure.target, how=failure.kind)
        elif failure.target not in self.state.up:
            self.record("recovered", failure.target)
        self._dispatch()

    def _processor(self, name: str, now: float) -> Processor:
        """Return what encoders share on a host, which may be slow for a while."""
        slow = [
            failure.left for failure in self.fleet.failures
            if failure.kind == "slow" and failure.target == name
            and failure.at <= now < failure.at + failure.lasts
        ]  # fmt: skip
        cores = self.fleet.hosts[name].cores * min(slow, default=1.0)
        return Processor(cores, tuple(vm.cpu for vm in self.positions.on(name)))


def _machine(name: str) -> str:
    """Return the place (`Waiting`) of those that wait for a machine to go, arrive or end."""
    return f"machine {name}"


def _place(host: str) -> str:
    """Return the place of those that wait for room on a host, or for it to be up."""
    return f"room on {host}"


def _cut_off_by(ride: _Ride, seconds: float) -> Fault | None:
    """Return the crash that ended a migration after so many seconds; None where none did."""
    crash = ride.trip.crash
    if crash is None or seconds < crash.at - ride.started:
        return None
    end = "source" if crash.target == ride.source else "destination"
    return Fault(kind="source crash" if end == "source" else "destination crash", at=seconds)


def _paused(ride: _Ride, outcome: Outcome) -> float | None:
    """Return when the guest was first paused, in the fleet's time; None where it never was."""
    pauses = [event.end for event in outcome.timeline if event.act == "pause"]
    return ride.started + pauses[0] if pauses else None


def _word(where: Where) -> str:
    """Return a place as the audit log has it."""
    return "both" if len(where.runs_at) == 2 else (where.runs_at or ("none",))[0]
