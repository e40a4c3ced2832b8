"""Guards against algorithms that never end."""

from __future__ import annotations

from dataclasses import dataclass

from migsim.units import Seconds

__all__ = ["Calls", "GaveUp", "Limits", "Lost"]

_LOOKS_PER_ACT = 100
"""An algorithm may look that often for each act that the limits allow: no time passes in a look,
so a loop that waits for one to change would never end."""


class GaveUp(BaseException):
    """Ends a migration that reached a limit, or that the algorithm itself has given up.

    Not an `Exception`, so that an algorithm's ``except Exception`` cannot swallow it.
    """


class Lost(BaseException):
    """Ends a migration whose guest, switched over already, can never get the rest of its memory."""


@dataclass(frozen=True)
class Limits:
    """When a migration is ended from outside.

    Not caught are loops that swallow even a `BaseException`, or that never touch the handle.

    Attributes:
        seconds: virtual time.
        acts: calls of verbs of the handle.
    """

    seconds: Seconds = 86_400.0
    acts: int = 100_000


@dataclass
class Calls:
    """Counts what an algorithm calls, and ends it at the limits.

    Attributes:
        acts: calls of verbs so far.
        looks: calls of what only looks.
    """

    limits: Limits
    acts: int = 0
    looks: int = 0

    def act(self) -> None:
        """Count a verb. Raises `GaveUp` at the limit."""
        self.acts += 1
        if self.acts > self.limits.acts:
            raise GaveUp(f"the algorithm reached the limit of {self.limits.acts} acts")

    def look(self) -> None:
        """Count a look. Raises `GaveUp` at the limit."""
        self.looks += 1
        if self.looks > _LOOKS_PER_ACT * self.limits.acts:
            raise GaveUp("the algorithm keeps looking and does not act")
