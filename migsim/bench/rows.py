"""What a benchmark tells: one quantity a row, what it is compared with, and what is wanted."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from migsim.units import format_seconds

__all__ = ["Row", "Section", "Target", "Unit", "formatted", "write_csv"]

Unit = Literal["s", "bytes", "bytes/page", "bytes/s", "1/s", "x", "share", ""]

_PREFIXES = ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, " "))


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is wanted of a row: of its value, or of its ratio to what stands beside it.

    Attributes:
        least, most: bounds, of which one is given.
        of_ratio: whether they bound the ratio.
    """

    least: float | None = None
    most: float | None = None
    of_ratio: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is within the bounds."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def words(self, unit: Unit) -> str:
        """Return the bounds as text.

        >>> Target(most=10.0).words("s"), Target(least=0.8, of_ratio=True).words("1/s")
        ('10 s at most', '0.8 x at least')
        """
        said: Unit = "x" if self.of_ratio else unit
        bounds = ((self.least, "at least"), (self.most, "at most"))
        return ", ".join(f"{formatted(v, said)} {word}" for v, word in bounds if v is not None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured quantity of one case.

    Attributes:
        section: the part of the benchmarks.
        case: what was done.
        quantity: what was measured of it.
        value: in ``unit``; None where it could not be measured, which ``note`` then tells.
        beside: what it is compared with, such as ``NumPy``.
        reference: the same quantity of that.
        target: what is wanted, if anything is.
        note: what else a reader should know.
        details: further figures by name, for programs; the name tells the unit.
    """

    section: str
    case: str
    quantity: str
    value: float | None
    unit: Unit
    beside: str = ""
    reference: float | None = None
    target: Target | None = None
    note: str = ""
    details: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The value over the reference."""
        if self.value is None or not self.reference:
            return None
        return self.value / self.reference

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or nothing was measured."""
        judged = self.ratio if self.target is not None and self.target.of_ratio else self.value
        if self.target is None or judged is None:
            return None
        return self.target.holds(judged)

    def as_dict(self) -> dict[str, Any]:
        """Return the row as plain values, what is derived included."""
        return {
            "section": self.section,
            "case": self.case,
            "quantity": self.quantity,
            "value": self.value,
            "unit": self.unit,
            "beside": self.beside,
            "reference": self.reference,
            "ratio": self.ratio,
            "target": self.target.words(self.unit) if self.target else "",
            "met": self.met,
            "note": self.note,
            **self.details,
        }


Section = Callable[[bool], Iterator[Row]]
"""Measures one part of the benchmarks, briefly if so told, a row at a time."""


def formatted(value: float | None, unit: Unit) -> str:
    """Return a value with its unit, short enough for a table.

    >>> formatted(0.0123, "s"), formatted(2.5e8, "1/s"), formatted(2031.4, "x")
    ('12.3 ms', '250 M/s', '2,031 x')
    >>> formatted(300e6, "bytes"), formatted(0.4512, "share"), formatted(None, "s")
    ('300 MB', '45.1 %', '')
    """
    if value is None:
        return ""
    match unit:
        case "s":
            return format_seconds(value)
        case "share":
            return f"{100 * value:.3g} %"
        case "1/s" | "bytes/s" | "bytes":
            factor, prefix = next((p for p in _PREFIXES if abs(value) >= p[0]), (1.0, " "))
            name = unit.replace("bytes", "B").removeprefix("1")
            return f"{value / factor:.3g}{prefix}{name}".replace(" /", "/")
        case "bytes/page":
            return f"{value:.3g} B/page"
        case _:
            digits = ",.0f" if abs(value) >= 1000 else ".3g"
            return f"{value:{digits}} {unit}".strip()


def write_csv(rows: Iterable[Row], path: Path) -> None:
    """Write the rows, without details, as CSV."""
    with path.open("w", newline="") as file:
        writer: csv.DictWriter[str] | None = None
        for row in rows:
            fields = row.as_dict()
            kept = {name: value for name, value in fields.items() if name not in row.details}
            if writer is None:
                writer = csv.DictWriter(file, list(kept), lineterminator="\n")
                writer.writeheader()
            writer.writerow(kept)
