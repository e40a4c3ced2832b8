"""Migrations that are wanted, and what became of each attempt."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from migsim.fleet.fate import Ending
from migsim.result import Result

__all__ = ["Attempt", "Request"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A migration that somebody wants.

    Attributes:
        vm: the machine.
        source: the host that it has to be on; "" for any.
        to: the host that takes it; "" for whichever has room when it is started.
        among: the hosts to choose from then; empty for all.
        movable: whether one of them may take it as well if ``to`` is down.
        job: who wants it.
        not_before, until: seconds between which it may start.
        most_downtime, most_seconds: it is cancelled where migsim predicts more.
        attempt: 0 for the first one.
    """

    vm: str
    source: str = ""
    to: str = ""
    among: tuple[str, ...] = ()
    movable: bool = False
    job: str = ""
    not_before: float = 0.0
    until: float = math.inf
    most_downtime: float = math.inf
    most_seconds: float = math.inf
    attempt: int = 0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One migration of a fleet, as it happened.

    Attributes:
        vm, source, destination, job: which and why.
        attempt: 0 for the first one.
        wanted, started, ended: seconds of the fleet's time; wanted is when it could have started.
        paused: when its guest was first paused, likewise; None where it never was.
        ending: what became of the machine.
        reason: how that came, in one sentence.
        key: of the task, which gives the same result where the machine has its path for itself.
        result: what was measured.
    """

    vm: str
    source: str
    destination: str
    job: str
    attempt: int
    wanted: float
    started: float
    ended: float
    paused: float | None
    ending: Ending
    reason: str
    key: str
    result: Result

    def as_dict(self) -> dict[str, Any]:
        """Return one flat row: the fields of the attempt, then those of its result."""
        own = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "result"
        }
        return own | self.result.as_dict()
