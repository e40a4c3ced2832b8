"""Migrations that are wanted and cannot start yet, and what each of them waits for."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from migsim.fleet.requests import Request

__all__ = ["Waiting"]


class Waiting:
    """Requests in the order in which they were wanted.

    One that cannot start waits for places, which are names such as ``host a``, or for a time; it is
    due again once one of them has come. So what happens costs time by what it lets happen, and not
    by how many wait.
    """

    def __init__(self) -> None:
        self._requests: dict[int, Request] = {}  # in ascending order of numbers
        self._count = 0
        self._due: set[int] = set()
        self._places: dict[str, set[int]] = {}
        self._times: list[tuple[float, int]] = []
        self._pass: list[int] = []  # those still to come in the pass under way
        self._at = -1  # the one that it is at

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[tuple[int, Request]]:
        return iter(list(self._requests.items()))

    def add(self, *requests: Request) -> None:
        """Append requests, which are due."""
        for request in requests:
            self._requests[self._count] = request
            self._wake(self._count)
            self._count += 1

    def remove(self, number: int) -> None:
        """Take out a request: it is started, or not wanted any more."""
        del self._requests[number]
        self._due.discard(number)

    def due(self, now: float) -> Iterator[tuple[int, Request]]:
        """Yield the number and the request of each that is due, in their order.

        What is woken meanwhile comes in the same pass if its turn is still to come. A request stays
        due unless it is told to `wait`, or removed.
        """
        while self._times and self._times[0][0] <= now:
            self._wake(heapq.heappop(self._times)[1])
        self._pass, self._at = sorted(self._due), -1
        while self._pass:
            self._at = heapq.heappop(self._pass)
            if self._at in self._due:
                yield self._at, self._requests[self._at]
        self._at = self._count

    def wait(self, number: int, *places: str, until: float | None = None) -> None:
        """Let a request wait until one of ``places`` is told of, or the time has come."""
        self._due.discard(number)
        for place in places:
            self._places.setdefault(place, set()).add(number)
        if until is not None:
            heapq.heappush(self._times, (until, number))

    def tell(self, *places: str) -> None:
        """Something has become free, or has changed: who waits for it is due."""
        for place in places:
            for number in self._places.pop(place, ()):
                self._wake(number)

    def _wake(self, number: int) -> None:
        if number in self._requests and number not in self._due:
            self._due.add(number)
            if number > self._at:
                heapq.heappush(self._pass, number)
