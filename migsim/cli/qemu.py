"""``migsim qemu``: migrate a real guest between two QEMUs, and record what came of it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from migsim.cli.comparison import END, both, error, working
from migsim.cli.outputs import check_file
from migsim.errors import SweepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migsim.hypervisor.live import Tools
    from migsim.hypervisor.runs import RecordedRun
    from migsim.hypervisor.scenario import Scenario

__all__ = ["print_outcome", "qemu"]

_KERNEL = click.option(
    "--kernel", type=Path, metavar="FILE", help="The guest's kernel; default: Debian's."
)
_PROGRAM = click.option(
    "--qemu", "program", metavar="FILE", help="The QEMU to run; default: qemu-system-x86_64."
)


@click.group()
@click.pass_context
def qemu(context: click.Context) -> None:
    """Run real migrations: source and destination QEMU, a guest of ours, a recorded run."""
    from migsim.hypervisor.processes import cleaning_up

    context.with_resource(cleaning_up())


@qemu.command()
@_KERNEL
def build(kernel: Path | None) -> None:
    """Build the guest and find its kernel; `run` and `suite` do it by themselves.

    Needs gcc. The kernel is one of /boot, or that of Debian's package linux-image-cloud-amd64,
    which apt downloads and nobody installs.
    """
    from migsim.hypervisor.guest import build

    for name, path in build(kernel=kernel)._asdict().items():
        click.echo(f"{name}: {path}")


@qemu.command()
@click.argument("scenario", type=Path, metavar="SCENARIO.toml|NAME")
@click.option("--output", type=Path, metavar="FILE.jsonl", help="Append the recorded runs.")
@click.option("--repeat", "repeats", type=click.IntRange(1), default=1, show_default=True,
              help="How many times.")  # fmt: skip
@_KERNEL
@_PROGRAM
def run(
    scenario: Path, output: Path | None, repeats: int, kernel: Path | None, program: str | None
) -> None:
    """Run one scenario and print what was measured, and what migsim predicts."""
    from rich.console import Console
    from rich.markup import escape

    from migsim.hypervisor.live import run
    from migsim.hypervisor.runs import write_run
    from migsim.hypervisor.scenario import find_scenario, read_scenario
    from migsim.hypervisor.suite import check_known, held

    check_file("--output", output)
    chosen = read_scenario(find_scenario(scenario))
    click.get_current_context().with_resource(held(output))
    known = check_known(output, [chosen]) if output is not None else []
    first = max((past.repeat + 1 for past in known if past.name == chosen.name), default=0)
    tools = _tools(kernel, program)(chosen)
    screen = Console(stderr=True, highlight=False)
    for repeat in range(first, first + repeats):
        with screen.status(f"{escape(chosen.name)}: starts") as status, _told():
            recorded = run(
                chosen, tools, repeat=repeat,
                tell=lambda stage: status.update(f"{escape(chosen.name)}: {stage}"),
            )  # fmt: skip
        try:
            if output is not None:
                write_run(output, recorded)
        finally:
            print_outcome(recorded)


@qemu.command()
@click.argument("files", type=Path, nargs=-1, required=True, metavar="FILE_OR_DIR...")
@click.option("--output", type=Path, required=True, metavar="FILE.jsonl",
              help="Where runs are appended; what it holds is not run again.")  # fmt: skip
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True,
              help="Repetitions of each scenario.")  # fmt: skip
@click.option("--set", "collection", default="", help="What the runs are marked as.")
@_KERNEL
@_PROGRAM
def suite(
    files: tuple[Path, ...],
    output: Path,
    repeats: int,
    collection: str,
    kernel: Path | None,
    program: str | None,
) -> None:
    """Run scenarios with repetitions; stopped and started again, it goes on where it was."""
    from rich import progress
    from rich.console import Console

    from migsim.hypervisor.scenario import read_scenarios
    from migsim.hypervisor.suite import Failure, check_known, held, missing, run_missing

    check_file("--output", output)
    scenarios = read_scenarios(list(files))
    click.get_current_context().with_resource(held(output))
    known = check_known(output, scenarios)
    todo = missing(scenarios, repeats, known)
    total = len(scenarios) * repeats
    columns = (
        progress.TextColumn("runs"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[stage]}", markup=False),
    )
    screen = Console(stderr=True, highlight=False)
    tools = _tools(kernel, program)
    failures: list[Failure] = []
    with progress.Progress(*columns, console=screen) as bar:
        line = bar.add_task("", total=total, completed=total - len(todo), stage="")
        done = run_missing(
            todo, tools, output, collection, lambda stage: bar.update(line, stage=stage)
        )
        for ended in done:
            bar.update(line, advance=1, stage="")
            if isinstance(ended, Failure):
                failures.append(ended)
                told = f"{ended.name} {ended.repeat}: failed, {ended.reason}"
                bar.console.print(told, soft_wrap=True, markup=False)
            else:
                bar.console.print(_one_line(ended), soft_wrap=True, markup=False)
    if failures:
        raise SweepError(f"{len(failures)} of {len(todo)} runs failed; started again, they are run")


def print_outcome(run: RecordedRun) -> None:
    """Print what was measured, and beside it what migsim predicts for the same inputs.

    The one place where recording meets predicting.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole
    from migsim.validate.qemu import predict_all

    console = Console(highlight=False, soft_wrap=True)
    with working(f"{run.name}: predicts"):
        (said,) = predict_all([run])
    console.print(f"[bold]{escape(run.name)}[/] on {run.hypervisor}: {run.measured.status}")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "measured", "predicted", "error"):
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name, text, quantity in _facts(run):
        cells = []
        if quantity:
            cells = [both(said, run.measured, quantity)[1], error(said, run.measured, quantity)]
        table.add_row(name, text, *cells)
    print_whole(console, table)
    if said.reason:
        console.print(f"not predicted: {escape(said.reason)}")
    elif not said.converged or run.measured.status != "completed":
        console.print(f"predicted: {END[said.converged]}")


def _facts(run: RecordedRun) -> list[tuple[str, str, str]]:
    """Return name, value, and the quantity of a prediction that says the same, if one does."""
    found = run.measured
    rows = [
        ("total time", f"{found.total_seconds:.3f} s", "total"),
        ("downtime", _milliseconds(found.downtime_seconds), "downtime"),
        ("guest ran nowhere", _milliseconds(found.visible_downtime_seconds), ""),
        ("bytes", f"{found.transferred_bytes / 1e6:.1f} MB", "bytes"),
        ("pages", f"{found.normal_pages}", ""),
        ("zero pages", f"{run.zero_pages}", ""),
        ("dirty log read", f"{found.dirty_syncs} times", "rounds"),
    ]
    if "postcopy-ram" in run.capabilities:
        rows.append(("pages requested", f"{found.postcopy_requests}", "postcopy_requests"))
    if found.xbzrle is not None:
        rows += [(f"XBZRLE {key}", f"{value}", "") for key, value in found.xbzrle.items()]
    if found.throttle_percent is not None:
        rows.append(("throttle", f"{found.throttle_percent} %", ""))
    return rows


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f} ms"


def _one_line(run: RecordedRun) -> str:
    found = run.measured
    return (
        f"{run.name} {run.repeat}: {found.status}, {found.total_seconds:.2f} s, "
        f"downtime {_milliseconds(found.downtime_seconds)}, "
        f"{found.transferred_bytes / 1e6:.1f} MB, {found.dirty_syncs} syncs"
    )


def _tools(kernel: Path | None, program: str | None) -> Callable[[Scenario], Tools]:
    """Return what finds QEMU, kernel and accelerator for a scenario; everything is found once."""
    from migsim.hypervisor.guest import build
    from migsim.hypervisor.live import Tools
    from migsim.hypervisor.qemu import find_program, pick_accel

    found = find_program(program)
    kit = build(kernel=kernel)
    accel = cache(lambda wanted: pick_accel(wanted, found, kit))
    return lambda scenario: Tools(found, kit, accel(scenario.accel))


@contextmanager
def _told() -> Iterator[None]:
    """Turn the failure of a run into one sentence and exit status 1."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise SweepError(str(error)) from None
