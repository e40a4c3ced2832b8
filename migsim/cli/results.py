"""``migsim results``: look at what sweeps have left, export it, merge it, clean it up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from migsim.cli.outputs import check_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    import pandas as pd

__all__ = ["results"]

_SHOWN = ("label", "algorithm", "workload", "link", "seed", "status", "total_seconds",
          "downtime_seconds", "bytes_sent")  # fmt: skip


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what `show` and `export` have in common."""
    for decorate in (
        click.option("--columns", metavar="A,B,...", help="Which columns, in that order."),
        click.option("--where", metavar="CONDITION",
                     help="Which rows, such as 'seed < 3 and link.rtt > 0.01': a query of pandas."),
        click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=Path),
    ):  # fmt: skip
        command = decorate(command)
    return command


@click.group("results")
def results() -> None:
    """List, filter, export, merge and clean up results.

    PATH is a folder of results, a rows.jsonl, or an exported .csv, .csv.gz or .parquet.
    """


@results.command("list")
@click.argument("folder", metavar="[DIR]", type=Path, default=Path("results"))
def list_command(folder: Path) -> None:
    """List experiments: rows, model versions, algorithms, and how many rows are stale."""
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole
    from migsim.housekeeping import UNKNOWN, summarise

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("experiment", "rows", "stale", "unknown", "model", "algorithms"):
        table.add_column(name, justify="right" if name in {"rows", "stale", "unknown"} else "left")
    for found in summarise(folder):
        unknown = found.reasons.get(UNKNOWN, 0)
        stale = sum(found.reasons.values()) - unknown
        table.add_row(
            found.file.resolve().parent.name, str(found.rows), str(stale), str(unknown),
            ", ".join(map(str, found.models)), ", ".join(found.algorithms),
        )  # fmt: skip
    print_whole(Console(highlight=False), table)


@results.command("show")
@_options
@click.option("--sort", metavar="A,B,...", help="By which columns to sort.")
def show_command(
    paths: Sequence[Path], where: str | None, columns: str | None, sort: str | None
) -> None:
    """Print rows as a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole
    from migsim.results_query import choose, load_all

    table = load_all(paths)
    wanted = _names(columns) or [name for name in _SHOWN if name in table]
    chosen = choose(table, where, wanted, _names(sort))
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for name in chosen.columns:
        numeric = chosen[name].dtype.kind in "iuf"
        shown.add_column(escape(str(name)), justify="right" if numeric else "left")
    for row in chosen.itertuples(index=False):
        shown.add_row(*(escape(_cell(value)) for value in row))
    console = Console(highlight=False)
    print_whole(console, shown)
    console.print(f"{len(chosen)} of {len(table)} rows", soft_wrap=True)


@results.command("export")
@_options
@click.option("--sort", metavar="A,B,...", help="By which columns to sort.")
@click.option("--output", type=Path, required=True, metavar="FILE",
              help="A name that ends in .csv, .csv.gz, .parquet or .tex (booktabs).")  # fmt: skip
def export_command(
    paths: Sequence[Path],
    where: str | None,
    columns: str | None,
    sort: str | None,
    output: Path,
) -> None:
    """Write rows to a file."""
    from migsim.results_query import choose, load_all, write

    check_file("--output", output)
    table: pd.DataFrame = choose(load_all(paths), where, _names(columns), _names(sort))
    write(table, output)
    click.echo(f"written: {output}, {len(table)} rows")


@results.command("merge")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=Path)
@click.option("--output", type=Path, required=True, metavar="DIR",
              help="The folder that takes all rows; those that it has already stay.")  # fmt: skip
def merge_command(paths: Sequence[Path], output: Path) -> None:
    """Put the rows of several folders or rows.jsonl into one folder.

    Where two of them have different results for one task, nothing is written.
    """
    from migsim.housekeeping import merge

    new, total = merge(paths, output)
    click.echo(f"{output}: {total} rows, {new} of them new")


@results.command("gc")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=Path)
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--unknown", is_flag=True,
              help="Remove rows of plug-ins that cannot be found, too.")  # fmt: skip
def gc_command(paths: Sequence[Path], dry_run: bool, unknown: bool) -> None:
    """Remove rows that no task can ever use again.

    Those of another model version, and those whose algorithm, workload, link or codec costs have
    changed since.
    """
    from migsim.housekeeping import collect_garbage

    for path in paths:
        for found in collect_garbage(path, unknown=unknown, dry=dry_run):
            click.echo(_removed(found.file, found.rows, found.reasons, unknown, dry_run))


def _removed(file: Path, rows: int, reasons: Mapping[str, int], unknown: bool, dry: bool) -> str:
    from migsim.housekeeping import UNKNOWN

    gone = {why: count for why, count in reasons.items() if unknown or why != UNKNOWN}
    total = sum(gone.values())
    verb = "would be removed" if dry else "removed"
    lines = [f"{file}: {total} of {rows} rows {verb}"]
    lines += [f"  {count}: {why}" for why, count in sorted(gone.items())]
    if not unknown and reasons.get(UNKNOWN):
        lines.append(f"  kept {reasons[UNKNOWN]} of {UNKNOWN} (--unknown removes them)")
    return "\n".join(lines)


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.6g}"  # noqa: PLR0124 - NaN
    return str(value)
