"""What a sweep is made of: migrations (`Task`), and other work that comes to one row.

Such work is a frozen dataclass with a field ``seed``, as it is pickled, compared, and repeated with
other seeds. Evacuations of a host and migrations with a fault are two (`migsim.fleet.work`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from migsim.parameters import Scalar
from migsim.task import Task

__all__ = ["Job", "ResolvedWork", "Unit", "Work", "told"]


class ResolvedWork(Protocol):
    """Work with all that it names looked up and checked."""

    @property
    def key(self) -> str:
        """`migsim.task.key_of` of what `describe` returns."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return all that decides the outcome, as plain JSON values one or two levels deep.

        ``work`` says what kind it is, ``model`` the version of the model; ``algorithm``,
        ``workload`` and ``seed`` are there as in a migration's description, and digests of sources.
        """
        ...

    def run(self) -> Mapping[str, Scalar]:
        """Return the measurements; ``status`` and ``error`` are as those of `migsim.Result`.

        Pure: the same work comes to the same. Raises `InputError` as `migsim.simulate.execute`.
        """
        ...


class Work(Protocol):
    """One piece of work."""

    @property
    def seed(self) -> int:
        """What is random in it."""
        ...

    @property
    def label(self) -> str:
        """A name for tables and figures; no part of the key."""
        ...

    def resolve(self) -> ResolvedWork:
        """Return the work ready to run. Raises `InputError` where it could not."""
        ...


Unit: TypeAlias = Task | Work
"""What one row of results comes from."""

Job: TypeAlias = tuple[str, Unit]
"""A unit, with the key under which its row is wanted."""


def told(unit: Unit) -> str:
    """Return what a unit is called in messages."""
    if isinstance(unit, Task):
        return f"{unit.algorithm} on {unit.workload} with seed {unit.seed}"
    return f"{unit.label or type(unit).__name__} with seed {unit.seed}"
