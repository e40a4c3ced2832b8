"""Printing tables on any screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["print_whole"]


def print_whole(console: Console, table: Table) -> None:
    """Print a table with no figure cut off, however narrow the screen."""
    from rich.measure import Measurement

    before = console.width
    console.width = 1000
    try:
        console.width = max(before, Measurement.get(console, console.options, table).maximum)
        console.print(table)
    finally:
        console.width = before
