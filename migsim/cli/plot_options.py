"""What the commands of ``migsim plot`` share: where a figure goes, and which rows it shows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.outputs import check_figure
from migsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Output", "chosen", "numeric", "output", "where"]


@dataclasses.dataclass(frozen=True)
class Output:
    """Where a figure goes, how wide it is in inches, and what it is called."""

    path: Path
    width: float
    title: str | None

    def save(self, figure: Figure) -> None:
        """Write the figure. Raises `InputError`."""
        from migsim.plotting import save_figure

        save_figure(figure, self.path)
        click.echo(f"written: {self.path}")


def output(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of its figure, which come as one argument ``out``."""

    @click.option("--output", "to", type=Path, required=True, metavar="FILE",
                  help="Where to write the figure: FILE.png, .svg or .pdf.")  # fmt: skip
    @click.option("--width", type=click.Choice(["page", "column"]), default="page",
                  show_default=True, help="7.0 in, across the page, or 3.4 in, one column."
                  )  # fmt: skip
    @click.option("--title", metavar="TEXT", help="What stands above the figure.")
    @functools.wraps(command)
    def wrapped(*args: Any, to: Path, width: str, title: str | None, **kwargs: Any) -> Any:
        from migsim.plotting.style import COLUMN, PAGE

        check_figure("--output", to)
        return command(*args, out=Output(to, PAGE if width == "page" else COLUMN, title), **kwargs)

    return wrapped


def where(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option that chooses rows."""
    return click.option(
        "--where", "conditions", multiple=True, metavar="EXPR",
        help="Draw the rows for which it holds, such as \"link.rtt < 0.01 and seed == 0\": a query "
        "of pandas; may be given more than once.",
    )(command)  # fmt: skip


def chosen(path: Path, conditions: tuple[str, ...]) -> pd.DataFrame:
    """Return the rows of the results at ``path`` that fulfil all conditions, with scenarios.

    Measurements of what did not complete are blank; a line says how many rows that concerns.
    Raises `InputError`, also where nothing is left.
    """
    from migsim.experiment import completed_only, with_lost_time
    from migsim.plotting.quantities import with_scenarios
    from migsim.results import load_results
    from migsim.results_query import choose

    results = load_results(path)
    for condition in conditions:
        results = choose(results, condition, [])
    if results.empty:
        held = " for which --where holds" if conditions else ""
        raise InputError(f"{path}: there are no results{held}")
    ended = int((results["status"] != "completed").sum())
    if ended:
        click.echo(f"{ended} of {len(results)} migrations did not complete and are left out")
    named = with_scenarios(results.reset_index(drop=True).copy())
    return with_lost_time(completed_only(named.copy()).copy())


def numeric(results: pd.DataFrame, option: str, column: str) -> str:
    """Return ``column``, which holds numbers. Raises `InputError`."""
    from migsim.errors import did_you_mean

    if column not in results:
        names = [str(name) for name in results]
        raise InputError(
            f"{option} {column}: there is no such column, {did_you_mean(column, names)}"
        )
    values = results[column]
    if values.dtype.kind not in "iuf" or values.isna().all():
        raise InputError(f"{option} {column}: expected a column of numbers")
    return column
