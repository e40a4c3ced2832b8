"""``migsim run``: an experiment from the sweep to the figure."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from migsim.errors import InputError, last_line
from migsim.files import replaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from rich.console import Console

    from migsim.experiment import Claim, Experiment
    from migsim.store import Row
    from migsim.work import Unit

__all__ = ["command"]


@click.command("run")
@click.argument("experiment", metavar="EXPERIMENT|FILE.py")
@click.option(
    "--results",
    "folder",
    type=Path,
    default=Path("results"),
    show_default=True,
    metavar="DIR",
    help="Where results and figures are kept; results that are there are not run again.",
)
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Processes; default: all processors."
)
@click.option("--dask", metavar="ADDRESS",
              help="Run on a Dask cluster: tcp://host:8786, scheduler-file:PATH, or local:N for N "
              "workers on this machine. Its workers need this version of migsim, and files of your "
              "own under the same path, as on a shared file system.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True, metavar="N",
              help="Repetitions with other seeds.")  # fmt: skip
@click.option("--precision", metavar="SHARE",
              help="Instead of --seeds: as many as it takes until the 95 % interval of each "
              "algorithm's difference from the first one is narrower than +- SHARE, such as 5%, "
              "of that one's mean.")  # fmt: skip
@click.option("--measure", default="downtime_seconds", show_default=True, metavar="COLUMN",
              help="What --precision is about.")  # fmt: skip
@click.option(
    "--against",
    default="",
    metavar="ALGORITHM",
    help="What --precision compares with; default: the first algorithm of a scenario.",
)
@click.option("--max-seeds", type=click.IntRange(5), default=50, show_default=True, metavar="N",
              help="Where --precision gives up.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Run a small version.")
@click.option("--algorithm", "algorithms", multiple=True, metavar="FILE.py:function",
              help="An algorithm of your own, to run beside the others.")  # fmt: skip
def command(
    experiment: str,
    folder: Path,
    workers: int | None,
    dask: str | None,
    seeds: int,
    precision: str | None,
    measure: str,
    against: str,
    max_seeds: int,
    quick: bool,
    algorithms: tuple[str, ...],
) -> None:
    """Run an experiment: print its table and claims, and draw its figure.

    The exit status is 1 where a claim does not hold or a migration ends corrupt or failed.
    """
    from rich.console import Console
    from rich.markup import escape

    from migsim.adaptive import LEAST_SEEDS, repeat
    from migsim.cli.sweeping import precision_of, print_needs, sweeping
    from migsim.collect import check
    from migsim.experiment import Plan, completed_only, load, tasks_of
    from migsim.store import frame

    if dask is not None and workers is not None:
        raise InputError("--dask and --workers exclude one another: a cluster has its own workers")
    _check_together(precision)
    precise = precision_of(precision, measure, against, max_seeds)
    console = Console(highlight=False)
    chosen = load(experiment)
    plan = Plan(seeds=seeds, quick=quick, algorithms=algorithms)

    def with_seeds(count: int) -> list[Unit]:
        return tasks_of(chosen, dataclasses.replace(plan, seeds=count))

    tasks = with_seeds(seeds if precise is None else LEAST_SEEDS)
    keys = check(tasks)
    title = f"[bold]{escape(chosen.name)}[/]: {escape(chosen.question)}"
    console.print(title, soft_wrap=True)
    with sweeping(folder / chosen.name, workers, dask) as sweep:
        if precise is None:
            rows: Sequence[Row] = sweep(tasks, keys)
        else:
            chosen_tasks, rows, needs = repeat(with_seeds, sweep, precise)
            tasks = list(chosen_tasks)
            print_needs(console, needs, precise)
    results = frame(rows, (task.label for task in tasks))
    usable = completed_only(results)
    written = _write(chosen, results, usable, folder / chosen.name)
    for title, table in chosen.tables(usable).items():
        _print_table(console, title, table)
    claims = chosen.claims(results)
    _print_claims(console, claims)
    shown = ", ".join(str(path) for path in written)
    console.print(f"written: {escape(shown)}", soft_wrap=True)
    ended = results[results["status"] != "completed"]
    for _, row in ended.iterrows():
        told = last_line(str(row["error"])) or "no reason is given"
        place = f"{row['algorithm']} on {row['label'] or row['workload']}, seed {row['seed']}"
        console.print(f"[red]{row['status']}[/]: {escape(f'{place}: {told}')}", soft_wrap=True)
    if ended["status"].isin(["corrupt", "failed"]).any() or not all(
        claim.holds for claim in claims
    ):
        sys.exit(1)


def _check_together(precision: str | None) -> None:
    """Raise `InputError` where an option is given that does nothing beside the others."""
    context = click.get_current_context()
    for name in ("seeds",) if precision is not None else ("measure", "against", "max_seeds"):
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            option = f"--{name.replace('_', '-')}"
            if precision is None:
                raise InputError(f"{option} is about --precision, which is not given")
            raise InputError(f"--precision and {option} exclude one another")


def _write(
    experiment: Experiment, results: pd.DataFrame, usable: pd.DataFrame, folder: Path
) -> list[Path]:
    """Write all results as CSV in task order; of the usable ones a page, figures as PNG and SVG."""
    from migsim.experiment import drawn
    from migsim.plotting import save_figure

    paths = [folder / f"{experiment.name}.csv"]
    try:
        with replaced(paths[0]) as fresh:
            results.to_csv(fresh, index=False, lineterminator="\n")
        for name, figure in drawn(experiment, usable).items():
            png, svg = folder / f"{name}.png", folder / f"{name}.svg"
            save_figure(figure, png, dpi=160)
            save_figure(figure, svg, dpi=round(figure.dpi))
            paths += [png, svg]
        if page := experiment.page(usable):
            paths.append(folder / f"{experiment.name}.md")
            with replaced(paths[-1]) as fresh:
                fresh.write_text(page)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(f"{folder}: results cannot be written there: {reason}") from None
    return paths


def _print_table(console: Console, title: str, table: pd.DataFrame) -> None:
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole

    shown = Table(
        title=escape(title), title_justify="left", box=None, pad_edge=False, header_style="dim"
    )
    for name in table.columns:
        numeric = table[name].dtype.kind in "if"
        shown.add_column(escape(str(name)), justify="right" if numeric else "left")
    for _, row in table.iterrows():
        shown.add_row(
            *(_number(value) if isinstance(value, float) else escape(str(value)) for value in row)
        )
    print_whole(console, shown)
    console.print()


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _print_claims(console: Console, claims: Sequence[Claim]) -> None:
    from rich.markup import escape

    for claim in claims:
        mark = "[green]holds [/]" if claim.holds else "[red]broken[/]"
        told = f"{escape(claim.sentence)} [dim]({escape(claim.evidence)})[/]"
        console.print(f"{mark} {told}", soft_wrap=True)
