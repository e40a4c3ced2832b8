"""A published figure, what we say of it, and how far apart the two may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["KINDS", "Check", "Finding", "Kind", "Summary", "Unit", "compare", "summarise"]

Kind = Literal["hard", "calibrated", "ordering", "miss"]
Unit = Literal["s", "bytes", "bytes/s", "pages", "rounds", "ratio"]

KINDS: dict[Kind, str] = {
    "hard": "no parameter was set by this figure",
    "calibrated": "a parameter was set by this figure or by others of the same run",
    "ordering": "only that the ratio is on the published side of 1",
    "miss": "known to be outside the tolerance, with the reason",
}
"""The kinds of checks: what it means that one holds."""

Summary = dict[Kind, dict[str, float | int | None]]
"""Kind -> ``count``, how many are ``within`` the tolerance, ``median_error`` (relative)."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One published figure and how we predict it.

    Attributes:
        name: unique; words joined by hyphens.
        source: paper and section, table or figure.
        claim: the quantity, and of what migration.
        unit: of ``published`` and of what ``predict`` returns; a ratio compares two migrations.
        published: the figure; infinite where one of them did not end.
        predict: returns our figure. Migrations that several checks share run once.
        kind: one of `KINDS`.
        tolerance: relative difference up to which the check holds; 0 for orderings.
        free: what was set that the source does not tell, and by what; ``none``.
        note: why it misses, or what else to know.
    """

    name: str
    source: str
    claim: str
    unit: Unit = "s"
    published: float
    predict: Callable[[], float]
    kind: Kind = "hard"
    tolerance: float = 0.0
    free: str = "none"
    note: str = ""

    def __post_init__(self) -> None:
        if (self.kind == "ordering") != (self.tolerance == 0):
            raise ValueError(f"{self.name}: {self.kind} with a tolerance of {self.tolerance}")
        if self.kind == "ordering" and self.unit != "ratio":
            raise ValueError(f"{self.name}: ordering of {self.unit}, expected a ratio")
        if math.isinf(self.published) and self.kind != "ordering":
            raise ValueError(f"{self.name}: {self.kind} of {self.published}, expected a number")
        if self.kind == "miss" and not self.note:
            raise ValueError(f"{self.name}: a known miss without a note, expected the reason")


@dataclass(frozen=True)
class Finding:
    """A check and what came of it.

    >>> check = Check(name="x", source="A", claim="b", published=2.0, predict=float, tolerance=0.1)
    >>> Finding(check, 2.1).holds, Finding(check, 2.3).holds
    (True, False)
    """

    check: Check
    predicted: float

    @property
    def error(self) -> float | None:
        """Relative difference, signed; None for an ordering, of which only the side counts."""
        if self.check.kind == "ordering":
            return None
        return self.predicted / self.check.published - 1.0

    @property
    def holds(self) -> bool:
        """Whether the figure is within the tolerance, or on the published side of 1."""
        error = self.error
        if error is None:
            return self.predicted > 1.0 if self.check.published > 1.0 else self.predicted < 1.0
        return abs(error) <= self.check.tolerance

    @property
    def verdict(self) -> Literal["holds", "fails", "misses"]:
        """``misses`` is the verdict on a known miss, which does not count as a failure."""
        if self.holds:
            return "holds"
        return "misses" if self.check.kind == "miss" else "fails"


def compare(checks: Iterable[Check]) -> list[Finding]:
    """Run the migrations of all checks."""
    return [Finding(check, check.predict()) for check in checks]


def summarise(findings: Sequence[Finding]) -> Summary:
    """Return for each kind how many there are and hold, and the median of their errors' sizes.

    Orderings have no errors: their median is None.
    """
    found: Summary = {}
    for kind in KINDS:
        chosen = [finding for finding in findings if finding.check.kind == kind]
        errors = [abs(item.error) for item in chosen if item.error is not None]
        found[kind] = {
            "count": len(chosen),
            "within": sum(finding.holds for finding in chosen),
            "median_error": float(np.median(errors)) if errors else None,
        }
    return found
