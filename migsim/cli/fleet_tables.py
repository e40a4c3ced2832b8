"""Tables and sentences of ``migsim fleet``, printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from migsim.fleet.history import History
from migsim.fleet.report import (
    LEG_HEADINGS,
    alarms,
    clock,
    event_rows,
    host_rows,
    leg_rows,
    shortfalls,
    summary,
)

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "console",
    "print_facts",
    "print_history_end",
    "print_legs",
    "print_report",
    "print_table",
]


def console() -> Console:
    """Return where tables go."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int, last_left: bool = False
) -> None:
    """Print a table whose first columns are ``left`` aligned, the last one if told, too."""
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole

    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, heading in enumerate(headings):
        is_left = place < left or (last_left and place == len(headings) - 1)
        table.add_column(heading, justify="left" if is_left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    print_whole(console(), table)
    console().print()


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print pairs of a name and a value."""
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole

    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts:
        table.add_row(escape(name), escape(value))
    print_whole(console(), table)


def print_legs(history: History) -> None:
    """Print the name of the scenario and its migrations."""
    console().print(history.name, style="bold", markup=False)
    if history.legs:
        print_table(LEG_HEADINGS, leg_rows(history), left=3, last_left=True)


def print_history_end(history: History) -> None:
    """Print what came out, and loudly what must not be overlooked."""
    screen = console()
    print_facts(summary(history))
    word = "not done" if history.ended else "not done yet"
    for sentence in shortfalls(history):
        screen.print(f"{word}: {sentence}", style="yellow", markup=False)
    for sentence in alarms(history.state):
        screen.print(f"ALARM: {sentence}", style="bold red", markup=False)


def print_report(history: History) -> None:
    """Print what happened, what came of each migration, and the hosts as they are then."""
    print_legs(history)
    rows = event_rows(history.entries)
    if rows:
        print_table(("time", "what", "happened"), rows, left=3)
    headings = ("host", "is", "machines", "moving")
    console().print(f"hosts at {clock(history.at)}", style="bold")
    print_table(headings, host_rows(history), left=4)
    print_history_end(history)
