"""Faults as work of a sweep: one migration in which something breaks, to a row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from migsim.errors import InputError
from migsim.fleet.fate import strike
from migsim.fleet.faults import Fault, Policy
from migsim.fleet.handover import Phase, Steps, steps_of
from migsim.parameters import Scalar
from migsim.simulate import execute
from migsim.task import ResolvedTask, Task, canonical_json, key_of

__all__ = ["FaultTask", "ResolvedFault"]

Within = Literal[
    "whole", "connecting", "copying", "paused", "in flight", "starting", "unacknowledged",
    "post-copy",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FaultTask:
    """A migration to which a fault happens at some part of it.

    Attributes:
        migration: what migrates, and how; ``seed`` below takes the place of its own.
        kind: of the fault (`migsim.fleet.faults.Fault`).
        lasts: seconds for which the link is down.
        within: the phase in which it happens, or the ``whole`` of the migration.
        share: of that phase that has passed by then, as it passes without a fault.
        policies: by name, what hosts may do that do not hear from each other: the fault is the same
            for all, and each has its own columns in the row.
        seed: chooses what the guest does.
        label: a name for tables and figures; no part of the key.
    """

    migration: Task
    kind: Literal["source crash", "destination crash", "link down"]
    lasts: float = math.inf
    within: Within = "whole"
    share: float = 0.5
    policies: Mapping[str, Policy] | tuple[tuple[str, Policy], ...] = (("fenced", Policy()),)
    seed: int = 0
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", tuple(dict(self.policies).items()))

    def resolve(self) -> ResolvedFault:
        """Return the migration and the fault, ready to run. Raises `InputError`."""
        Fault(kind=self.kind, at=0.0, lasts=self.lasts)
        if not 0 <= self.share <= 1:
            raise InputError(f"fault: share is {self.share!r}, expected from 0 to 1")
        if self.within != "whole" and self.within not in dict(_borders(Steps(connected=0.0))):
            raise InputError(f"fault: there is no phase {self.within!r} for it to be within")
        migration = dataclasses.replace(self.migration, seed=self.seed).resolve()
        migration.make_workload()
        return ResolvedFault(self, migration)


@dataclass(frozen=True)
class ResolvedFault:
    """A fault that can be injected.

    Attributes:
        task: what was asked for.
        migration: to which it happens.
    """

    task: FaultTask
    migration: ResolvedTask

    def describe(self) -> dict[str, Any]:
        """Return what decides the migration, and what breaks in it."""
        task = self.task
        return {
            **self.migration.describe(),
            "work": "fault",
            "fault": {
                "kind": task.kind, "lasts": task.lasts, "within": task.within, "share": task.share,
            },
            "policies": {
                name: canonical_json(dataclasses.asdict(policy))
                for name, policy in dict(task.policies).items()
            },
        }  # fmt: skip

    @property
    def key(self) -> str:
        """The SHA-256 of what `describe` returns."""
        return key_of(self.describe())

    def run(self) -> dict[str, Scalar]:
        """Return one row: what became of the guest, under each policy.

        ``status`` is ``completed`` where that is known, however bad it is: what matters are the
        columns ``ending_POLICY``. It is that of the migration where that comes to nothing even
        without a fault.
        """
        calm = execute(self.migration)
        steps = steps_of(self.migration, calm)
        at = _instant(steps, calm.result.total_seconds, self.task.within, self.task.share)
        fault = Fault(kind=self.task.kind, at=at, lasts=self.task.lasts)
        struck = strike(self.migration, fault, calm)
        row: dict[str, Scalar] = {
            "status": calm.result.status,
            "error": calm.result.error,
            "phase": struck.phase,
            "missing_pages": struck.missing,
            "at_seconds": at,
            "total_seconds": struck.result.total_seconds,
            "bytes_sent": struck.result.bytes_sent,
            "calm_seconds": calm.result.total_seconds,
            "calm_left_at": steps.left,
            "calm_starts_at": steps.starts,
            "calm_complete_at": steps.complete,
        }
        for name, policy in dict(self.task.policies).items():
            fate = struck.fate(policy)
            row |= {f"ending_{name}": fate.ending, f"reason_{name}": fate.reason}
        return row


def _borders(steps: Steps) -> list[tuple[Phase, float]]:
    """Return the phases with the time at which each ends."""
    return [
        ("connecting", steps.connected), ("copying", steps.paused), ("paused", steps.left),
        ("in flight", steps.arrives), ("starting", steps.starts),
        ("unacknowledged", steps.answered), ("post-copy", steps.complete),
    ]  # fmt: skip


def _instant(steps: Steps, total: float, within: str, share: float) -> float:
    """Return the time at which so much of a phase has passed.

    A phase that a migration does not reach is empty, and lies at its end.
    """
    begins = 0.0
    for phase, border in _borders(steps):
        ends = max(begins, total if math.isinf(border) else border)
        if phase == within:
            return begins + share * (ends - begins)
        begins = ends
    return share * total
