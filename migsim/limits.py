"""Guards against algorithms that never end."""

from __future__ import annotations

from dataclasses import dataclass

from migsim.units import Seconds

__all__ = ["GaveUp", "Limits", "Lost"]


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
