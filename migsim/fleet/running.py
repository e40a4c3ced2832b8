"""A whole fleet from beginning to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migsim.fleet.jobs import schedule, with_deadlines
from migsim.fleet.manager import Manager, Recorder
from migsim.fleet.model import Fleet
from migsim.fleet.requests import Attempt, Request
from migsim.fleet.state import State
from migsim.fleet.topology import capacities, path

__all__ = ["FleetOutcome", "run_fleet"]


@dataclass(frozen=True)
class FleetOutcome:
    """What became of a fleet.

    Attributes:
        fleet: as it was in the beginning.
        attempts: its migrations in the order in which they ended.
        cancelled: migrations that were wanted and not done, each with the reason.
        state: in the end.
        carried: bytes on the wire of each directed link that carried any.
    """

    fleet: Fleet
    attempts: tuple[Attempt, ...]
    cancelled: tuple[tuple[Request, str], ...]
    state: State
    carried: Mapping[str, int]

    @property
    def seconds(self) -> float:
        """When the last migration had ended; 0 where there was none."""
        return max((attempt.ended for attempt in self.attempts), default=0.0)

    def breaches(self) -> list[str]:
        """Return a sentence for each link that carried more than it can; an empty list is the rule.

        Shares are divided anew once a tick, and a sender learns of it within a round trip.
        """
        rates, found = capacities(self.fleet), []
        if not self.attempts:
            return []
        begun = min(attempt.started for attempt in self.attempts)
        ways = {(one.source, one.destination) for one in self.attempts}
        slack = self.fleet.migrating.share_interval + max(
            path(self.fleet, *way).rtt for way in ways
        )
        for link, size in self.carried.items():
            if size > rates[link] * (self.seconds - begun + slack):
                found.append(f"link {link} carried {size} bytes in {self.seconds - begun:g} s")
        return found


def run_fleet(fleet: Fleet, recorder: Recorder | None = None) -> FleetOutcome:
    """Return what becomes of ``fleet`` when its jobs are done, and its faults have happened.

    ``recorder`` keeps the record, such as `migsim.fleet.audit.AuditLog`. Raises `InputError` for
    parameters that only a migration itself can judge.
    """
    manager = Manager(with_deadlines(fleet), recorder)
    schedule(manager)
    manager.run()
    return FleetOutcome(
        fleet, tuple(manager.attempts), tuple(manager.cancelled), manager.state,
        dict(sorted(manager.carried.items())),
    )  # fmt: skip
