"""``migsim bench``: how fast the simulator is on this machine, told as ratios."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migsim.cli.comparison import working
from migsim.cli.outputs import check_file
from migsim.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migsim.bench.rows import Row

__all__ = ["command"]


@click.command("bench")
@click.option("--quick", is_flag=True, help="Half a minute: without terabytes and cold start.")
@click.option("--only", "names", multiple=True, metavar="SECTION",
              help="Measure this section; repeat it for more of them.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--output", type=Path, metavar="FILE.csv", help="Write the rows as CSV, too.")
@click.option("--profiles", type=Path, metavar="FOLDER",
              help="Instead write profiles of some migrations there, as text.")  # fmt: skip
def command(
    quick: bool,
    names: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    profiles: Path | None,
) -> None:
    """Measure how fast migsim is, beside what bounds it and beside others, in one run.

    Sections: replay, scale, numpy, simgrid, start-up, sweep, pieces. What is compared takes turns
    and the best of several counts, kernels compiled before; all takes some minutes, and nothing
    else should run. Targets were set for 2 cores; the exit status does not depend on them.
    """
    from migsim.bench.sections import chosen, machine, section

    sections = chosen(names)
    check_file("--output", output)
    if profiles is not None:
        if quick or names or as_json or output is not None:
            raise InputError("bench: --profiles goes with no other option")
        _write_profiles(profiles)
        return
    about = machine()
    if not as_json:
        click.echo(", ".join(f"{name} {value}" for name, value in about.items()))
    found: list[Row] = []
    for name in sections:
        started = time.perf_counter()
        with working(f"measures {name}"):
            rows = list(section(name)(quick))
        if not as_json:
            _print(name, rows, time.perf_counter() - started)
        found += rows
    if output is not None:
        from migsim.bench.rows import write_csv

        write_csv(found, output)
    if as_json:
        print(json.dumps({"machine": about, "rows": [row.as_dict() for row in found]}, indent=2))


def _write_profiles(folder: Path) -> None:
    from migsim.bench.profiles import write_profiles

    if folder.exists() and not folder.is_dir():
        raise InputError(f"--profiles {folder}: is a file, expected a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--profiles {folder}: cannot be written: {error.strerror}") from None
    with working("profiles"):
        write_profiles(folder, tell=lambda path: click.echo(str(path)))


def _print(name: str, rows: Sequence[Row], took: float) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from migsim.bench.rows import formatted
    from migsim.bench.sections import SECTIONS
    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    console.print()
    console.print(f"[bold]{name}[/]: {SECTIONS[name]} [dim](measured for {took:.1f} s)[/]")
    table = Table(box=None, pad_edge=False, header_style="dim")
    headings = ("what", "", ">migsim", "beside", ">it", ">ratio", "target", "met", "")
    for heading in headings:
        side = "right" if heading[:1] == ">" else "left"
        table.add_column(heading.lstrip(">"), justify=side, no_wrap=True)  # type: ignore[arg-type]
    before = ""
    for row in rows:
        table.add_row(
            "" if row.case == before else escape(row.case),
            row.quantity,
            formatted(row.value, row.unit),
            row.beside,
            formatted(row.reference, row.unit),
            formatted(row.ratio, "x"),
            row.target.words(row.unit) if row.target else "",
            {True: "yes", False: "[bold]no[/]", None: ""}[row.met],
            f"[dim]{escape(row.note)}[/]",
        )
        before = row.case
    print_whole(console, table)
