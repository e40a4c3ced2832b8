"""What migsim predicts of a machine's migration before it is started."""

from __future__ import annotations

import dataclasses
import math

from migsim.errors import last_line
from migsim.fleet.model import Fleet, Vm
from migsim.fleet.requests import Request
from migsim.fleet.topology import path
from migsim.fleet.trip import make_trip
from migsim.result import Result
from migsim.simulate import execute
from migsim.units import format_seconds

__all__ = ["Forecast"]


class Forecast:
    """Simulates migrations by themselves, each once; faults are not foreseen."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = dataclasses.replace(fleet, failures=())
        self._known: dict[tuple[str, str, str, float, float], Result] = {}
        self._kinds: dict[str, Result] = {}

    def of(self, vm: Vm, source: str, destination: str, at: float, part: float = 1.0) -> Result:
        """Return what the migration comes to that starts ``at``, with ``part`` of its path."""
        place = (vm.name, source, destination, at, part)
        if place not in self._known:
            trip = make_trip(self._fleet, vm, source, destination, at, part=part)
            self._known[place] = execute(trip.task).result
        return self._known[place]

    def of_kind(self, vm: Vm, source: str, destination: str) -> Result:
        """Return what the migration of a machine such as ``vm`` comes to, whatever its seed.

        It starts at once over the whole path; equal machines on equal paths are predicted once.
        """
        way = path(self._fleet, source, destination)
        kind = repr(
            (dataclasses.replace(vm, name="", host="", seed=0), way.rate, way.rtt, way.loss)
        )
        if kind not in self._kinds:
            self._kinds[kind] = self.of(vm, source, destination, 0.0)
        return self._kinds[kind]

    def failure(self, expected: Result) -> str:
        """Return why a migration that is predicted not to complete does not."""
        return f"predicted not to complete: {last_line(expected.error)}"

    def objection(self, request: Request, vm: Vm, source: str, destination: str, now: float) -> str:
        """Return why a migration should not be started, if more is predicted than is allowed."""
        if math.isinf(request.most_downtime) and math.isinf(request.most_seconds):
            return ""
        expected = self.of(vm, source, destination, now)
        if expected.status != "completed":
            return self.failure(expected)
        for name, value, most in (
            ("downtime", expected.downtime_seconds, request.most_downtime),
            ("total time", expected.total_seconds, request.most_seconds),
        ):
            if value > most:
                return (
                    f"predicted {name} {format_seconds(value)}, at most {format_seconds(most)} "
                    "is allowed"
                )
        return ""
