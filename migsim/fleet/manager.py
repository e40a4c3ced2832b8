"""Starts migrations as limits allow, follows them, and tries again: the fleet in virtual time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from migsim.fleet.conductor import Conductor, Processor
from migsim.fleet.fate import Fate, fate_of
from migsim.fleet.forecast import Forecast
from migsim.fleet.model import Failure, Fleet
from migsim.fleet.positions import Positions
from migsim.fleet.requests import Attempt, Request
from migsim.fleet.topology import capacities, path
from migsim.fleet.trip import Trip, make_trip
from migsim.simulate import Outcome, execute

__all__ = ["Manager", "Recorder"]


class Recorder(Protocol):
    """What keeps the record of a fleet (`migsim.fleet.audit`)."""

    def note(self, at: float, kind: str, subject: str, key: str = "", **details: object) -> None:
        """Keep that something was decided, done, or has come out."""
        ...


class _Nobody:
    """Keeps nothing: for plans that are only tried."""

    def note(self, at: float, kind: str, subject: str, key: str = "", **details: object) -> None:
        """Forget it."""


@dataclass(frozen=True)
class _Ride:
    """A migration under way."""

    request: Request
    source: str
    trip: Trip
    started: float


class Manager:
    """Carries out what is wanted of a fleet.

    Attributes:
        fleet: that it manages.
        conductor: its virtual time.
        positions: where machines are.
        attempts: all migrations that have ended, in order of time.
        lost: machines that run nowhere, and why.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        recorder: Recorder | None = None,
        forecast: Forecast | None = None,
        positions: Positions | None = None,
        concurrency: dict[str, int] | None = None,
        now: float = 0.0,
    ) -> None:
        """Take over ``fleet``.

        ``positions`` are those of its scenario by default, ``concurrency`` the most migrations of a
        job at a time, and ``now`` is when its time begins.
        """
        self.fleet = fleet
        self.conductor = Conductor(
            capacities(fleet), self._processor, tick=fleet.migrating.share_interval
        )
        self.conductor.now = now
        self.positions = positions or Positions(fleet)
        self.attempts: list[Attempt] = []
        self.lost: dict[str, str] = {}
        self._recorder = recorder or _Nobody()
        self._forecast = forecast or Forecast(fleet)
        self._concurrency = concurrency or {}
        self._queue: list[Request] = []
        self._rides: dict[str, _Ride] = {}
        for failure in fleet.failures:
            if failure.kind == "crash" and failure.at >= now:
                self.conductor.call_at(failure.at, lambda failure=failure: self._crash(failure))

    def want(self, *requests: Request) -> None:
        """Queue migrations; those that were wanted first are started first where both could be."""
        for request in requests:
            self._queue.append(request)
            at = max(self.conductor.now, request.not_before)
            self.conductor.call_at(at, self._dispatch)
            if request.until < math.inf:
                self.conductor.call_at(max(at, request.until), self._dispatch)

    def note(self, kind: str, subject: str, key: str = "", **details: object) -> None:
        """Keep a record of what happens now."""
        self._recorder.note(self.conductor.now, kind, subject, key, **details)

    def call_at(self, at: float, action: Callable[[], None]) -> None:
        """Let ``action`` happen at a time of the fleet."""
        self.conductor.call_at(at, action)

    def run(self) -> None:
        """Go on until nothing is left to do; what could never start is cancelled."""
        self.conductor.run()
        for request in self._queue:
            self._cancel(request, self._why_not(request) or "it never came to its turn")
        self._queue.clear()

    # ---- starting ---------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Start what can be started now, in the order in which it was wanted."""
        now = self.conductor.now
        for request in list(self._queue):
            if request.vm in self._rides or now < request.not_before:
                continue
            here = self.positions.where.get(request.vm)
            if here is None:
                self._drop(request, f"{request.vm} does not run")
            elif here == request.to:
                self._drop(request, f"it runs on {here} already")
            elif now > request.until:
                self._drop(request, f"its window has closed: {self._why_not(request)}")
            elif not self._why_not(request):
                self._start(dataclasses.replace(request, to=self._destination(request)), here)
                self._queue.remove(request)

    def _destination(self, request: Request) -> str:
        return request.to or self.positions.choose(request.vm, request.among)

    def _why_not(self, request: Request) -> str:
        """Return why a migration cannot start now; "" where it can."""
        most = self._concurrency.get(request.job, math.inf)
        if sum(ride.request.job == request.job for ride in self._rides.values()) >= most:
            return f"{most} migrations of {request.job} are under way"
        to = self._destination(request)
        if not to:
            return "no host has room for it"
        objection = self.positions.objection(request.vm, to)
        if objection:
            return objection
        way = path(self.fleet, self.positions.where[request.vm], to)
        full = [place for place, most in way.limits.items() if self._under_way(place) >= most]
        return f"{full[0]} has as many migrations as it may" if full else ""

    def _under_way(self, place: str) -> int:
        """Return how many migrations touch a host, network or trunk."""
        return sum(place in ride.trip.path.limits for ride in self._rides.values())

    def _start(self, request: Request, source: str) -> None:
        now, vm = self.conductor.now, self.fleet.vms[request.vm]
        expected = self._forecast.objection(request, vm, source, now)
        if expected:
            self._cancel(request, expected)
            return
        trip = make_trip(self.fleet, vm, source, request.to, now)
        self.positions.bound_for[vm.name] = request.to
        self._rides[vm.name] = _Ride(request, source, trip, now)
        self.note(
            "started", vm.name, trip.task.key, source=source, destination=request.to,
            job=request.job, attempt=request.attempt,
        )  # fmt: skip
        self.conductor.launch(
            trip.crossing,
            lambda share: execute(trip.task, None, share),
            lambda outcome: self._ended(vm.name, outcome),
        )

    # ---- ending -----------------------------------------------------------------------------

    def _ended(self, name: str, outcome: Outcome) -> None:
        """Find out where a machine runs now that its migration has ended."""
        now, ride = self.conductor.now, self._rides.pop(name)
        request = ride.request
        del self.positions.bound_for[name]
        fate = fate_of(self.fleet, ride.trip, outcome, ride.started)
        if fate.runs_at == ():
            self.positions.where.pop(name)
            self.lost[name] = fate.reason
        elif fate.runs_at[0] == "destination":
            self.positions.where[name] = request.to
        attempt = Attempt(
            vm=name, source=ride.source, destination=request.to, job=request.job,
            attempt=request.attempt, wanted=request.not_before, started=ride.started, ended=now,
            end=fate.end, reason=fate.reason, key=ride.trip.task.key, result=outcome.result,
        )  # fmt: skip
        self.attempts.append(attempt)
        self.note(
            fate.end, name, attempt.key, source=ride.source, destination=request.to,
            attempt=request.attempt, reason=fate.reason,
            total_seconds=outcome.result.total_seconds,
            downtime_seconds=outcome.result.downtime_seconds,
            bytes_sent=outcome.result.bytes_sent,
        )  # fmt: skip
        if fate.end == "survived":
            self._try_again(request, fate)
        self.conductor.call_at(self.conductor.soon, self._dispatch)

    def _try_again(self, request: Request, fate: Fate) -> None:
        migrating = self.fleet.migrating
        if request.attempt >= migrating.retries:
            self.note("abandoned", request.vm, reason=fate.reason, attempts=request.attempt + 1)
            return
        wait = migrating.backoff * 2.0**request.attempt
        again = dataclasses.replace(
            request, attempt=request.attempt + 1, not_before=self.conductor.soon + wait
        )
        self.note("retried", request.vm, attempt=again.attempt, not_before=again.not_before)
        self.want(again)

    def _drop(self, request: Request, reason: str) -> None:
        self._queue.remove(request)
        self._cancel(request, reason)

    def _cancel(self, request: Request, reason: str) -> None:
        self.note("cancelled", request.vm, job=request.job, reason=reason)

    # ---- faults -----------------------------------------------------------------------------

    def _crash(self, failure: Failure) -> None:
        """A host goes down, with the machines on it; those that migrate see to themselves."""
        host = failure.target
        self.note("crashed", host, lasts=failure.lasts)
        self.positions.down.add(host)
        for vm in self.positions.on(host):
            if vm.name not in self._rides:
                self.positions.where.pop(vm.name)
                self.lost[vm.name] = f"{host} crashed"
                self.note("lost", vm.name, reason=f"{host} crashed")
        if failure.lasts < math.inf:
            self.conductor.call_at(failure.at + failure.lasts, lambda: self._mended(host))

    def _mended(self, host: str) -> None:
        self.positions.down.discard(host)
        self.note("mended", host)
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
