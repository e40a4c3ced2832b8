"""Running the tasks of an experiment where the user wants it, with what is left on the screen."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from migsim.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from migsim.adaptive import Need, Precision
    from migsim.jobs import Executor
    from migsim.store import Row
    from migsim.work import Unit

__all__ = ["Sweep", "precision_of", "print_needs", "sweeping"]


class Sweep(Protocol):
    """Runs tasks and returns their rows, in their order."""

    def __call__(self, tasks: Sequence[Unit], keys: Sequence[str] | None = None) -> list[Row]:
        """Run what is not there yet; ``keys`` are those of the tasks, if they are known."""
        ...


@contextmanager
def sweeping(folder: Path, workers: int | None, dask: str | None) -> Iterator[Sweep]:
    """Open the results in ``folder`` and whoever runs tasks, for the length of a ``with`` block."""
    from rich import progress
    from rich.console import Console

    from migsim.collect import collect
    from migsim.store import Store
    from migsim.workers import Crew

    columns = (
        progress.TextColumn("migrations"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[left]}"),
    )
    screen = Console(stderr=True)
    with ExitStack() as stack:
        store = stack.enter_context(Store(folder))
        executor: Executor
        if dask is None:
            executor = stack.enter_context(Crew(workers))
        else:
            from migsim.cluster import connected

            executor = stack.enter_context(connected(dask))

        def run(tasks: Sequence[Unit], keys: Sequence[str] | None = None) -> list[Row]:
            before = len(store.rows)
            with progress.Progress(*columns, console=screen) as bar:
                line = bar.add_task("", total=len(tasks), left="")

                def show(done: int, total: int, left: float) -> None:
                    told = _left(left) if done < total else ""
                    bar.update(line, completed=done, total=total, left=told)

                rows = collect(tasks, store, keys=keys, progress=show, executor=executor)
            old = len({row.key for row in rows}) - (len(store.rows) - before)
            if old:
                screen.print(f"{old} of {len(rows)} results were there already")
            return rows

        yield run


def _left(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    return f"about {datetime.timedelta(seconds=math.ceil(seconds))} left"


def precision_of(
    share: str | None, measure: str, against: str, most_seeds: int
) -> Precision | None:
    """Return what the options about precision say, if anything. Raises `InputError`."""
    if share is None:
        return None
    from migsim.adaptive import Precision
    from migsim.result import Result
    from migsim.units import parse

    try:
        value = parse(share, "fraction")
    except InputError as error:
        raise InputError(f"--precision: {error}") from None
    if not 0 < value <= 1:
        raise InputError(f"--precision {share}: expected more than 0 % and at most 100 %")
    known = [item.name for item in dataclasses.fields(Result) if item.type in {"int", "float"}]
    if measure not in known:
        hint = did_you_mean(measure, known)
        raise InputError(f"--measure {measure}: is no measurement, {hint}")
    return Precision(value, measure, against, most_seeds)


def print_needs(console: Console, needs: Sequence[Need], precision: Precision) -> None:
    """Print how many seeds each scenario needed, and which are not precise enough after all."""
    from rich.table import Table

    from migsim.cli.tables import print_whole

    table = Table(
        title=f"seeds for {precision.measure} to +-{100 * precision.share:.3g} % of its mean",
        title_justify="left", box=None, pad_edge=False, header_style="dim",
    )  # fmt: skip
    for title in ("scenario", "seeds", "half-width (%)", ""):
        table.add_column(title, justify="left" if title == "scenario" else "right")
    for need in needs:
        note = "" if need.reached else "not reached"
        table.add_row(need.name, str(need.seeds), f"{100 * need.share:.2g}", note)
    print_whole(console, table)
    open_ones = sum(not need.reached for need in needs)
    console.print(
        f"{len(needs) - open_ones} of {len(needs)} scenarios are precise enough\n", soft_wrap=True
    )
