"""What migsim predicts of a machine's migration before it is started."""

from __future__ import annotations

import math

from migsim.fleet.model import Fleet, Vm
from migsim.fleet.requests import Request
from migsim.fleet.trip import make_trip
from migsim.result import Result
from migsim.simulate import execute
from migsim.units import format_seconds

__all__ = ["Forecast"]


class Forecast:
    """Simulates migrations by themselves, each once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: dict[tuple[str, str, str, float, float], Result] = {}

    def of(self, vm: Vm, source: str, destination: str, at: float, part: float = 1.0) -> Result:
        """Return what the migration comes to that starts ``at``, with ``part`` of its path."""
        place = (vm.name, source, destination, at, part)
        if place not in self._known:
            trip = make_trip(self._fleet, vm, source, destination, at, part=part)
            self._known[place] = execute(trip.task).result
        return self._known[place]

    def objection(self, request: Request, vm: Vm, source: str, now: float) -> str:
        """Return why a migration should not be started, if more is predicted than is allowed."""
        if math.isinf(request.most_downtime) and math.isinf(request.most_seconds):
            return ""
        expected = self.of(vm, source, request.to, now)
        if expected.status != "completed":
            return f"predicted not to complete: {expected.error.splitlines()[0]}"
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
