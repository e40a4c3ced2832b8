"""``migsim predict``: what to expect of a migration, and which settings keep a downtime."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.migrate import pairs
from migsim.errors import InputError
from migsim.units import Dimension, format_rate, format_seconds, format_size, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from migsim.machine import VirtualMachine
    from migsim.predict.candidates import Candidate
    from migsim.predict.curves import Curve
    from migsim.predict.guests import Guest
    from migsim.predict.report import Estimate, Report, Spread
    from migsim.predict.sampling import Scenario

__all__ = ["command"]


@click.command("predict")
@click.option(
    "--trace", metavar="NAME|FILE", help="A recording: 'migsim trace record', or shipped."
)
@click.option(
    "--curve",
    type=Path,
    metavar="FILE",
    help="A dirty-rate curve: CSV with period and pages, bytes or rate; or JSON, also QEMU's.",
)
@click.option("--dirty-rate", "rates", multiple=True, metavar="TIME=RATE",
              help="A point of such a curve, as of calc-dirty-rate: 1s=100MiB/s.")  # fmt: skip
@click.option("--link", "link", metavar="L", help="Name of a preset, see 'migsim list links'.")
@click.option("--memory", metavar="SIZE", help="Guest memory; default: the curve's, or 4GiB.")
@click.option("--zero", metavar="SHARE", help="Share of its pages that are zero, such as 40%.")
@click.option("--downtime", metavar="TIME", help="The wanted downtime, such as 300ms.")
@click.option("--deadline", metavar="TIME",
              help="When a migration has failed; default: four copies of the memory.")  # fmt: skip
@click.option("--hypervisor", default="qemu", show_default=True, metavar="H",
              help="Whose ways to compare: qemu, or generic: algorithms of papers.")  # fmt: skip
@click.option("--algorithm", "algorithms", multiple=True, metavar="A",
              help="Only this way, or this algorithm, your own included; repeatable.")  # fmt: skip
@click.option("--samples", type=click.IntRange(1, 1000), default=5, show_default=True, metavar="N",
              help="Simulations of each setting.")  # fmt: skip
@click.option("-a", "algorithm_args", multiple=True, metavar="KEY=VALUE",
              help="Parameter of all algorithms that have it.")  # fmt: skip
@click.option("-w", "workload_args", multiple=True, metavar="KEY=VALUE",
              help="Parameter of the workload, such as content.")  # fmt: skip
@click.option("-l", "link_args", multiple=True, metavar="KEY=VALUE", help="Parameter of the link.")
@click.option(
    "-v", "vm_args", multiple=True, metavar="KEY=VALUE", help="Parameter of the virtual machine."
)
@click.option(
    "--workers", type=click.IntRange(1), metavar="N", help="Processes; default: all processors."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--schema", is_flag=True, help="Print the JSON Schema of that object, and nothing else."
)
def command(
    trace: str | None,
    curve: Path | None,
    rates: tuple[str, ...],
    link: str | None,
    memory: str | None,
    zero: str | None,
    downtime: str | None,
    deadline: str | None,
    hypervisor: str,
    algorithms: tuple[str, ...],
    samples: int,
    algorithm_args: tuple[str, ...],
    workload_args: tuple[str, ...],
    link_args: tuple[str, ...],
    vm_args: tuple[str, ...],
    workers: int | None,
    as_json: bool,
    schema: bool,
) -> None:
    """Predict total time, downtime and bytes of a migration, for each way of migrating.

    What the guest does is a recording, a dirty-rate curve, or points of one on the command line.
    With --downtime also: which settings keep it, and otherwise which bandwidth or throttling would.
    The exit status is 1 where none of the ways compared keeps the wanted downtime.
    """
    from migsim.predict.report import schema as schema_of

    if schema:
        print(json.dumps(schema_of(), indent=2))
        return
    if link is None:
        raise InputError("predict: expected --link")
    if (trace is not None) + (curve is not None) + bool(rates) != 1:
        raise InputError("predict: expected one of --trace, --curve and --dirty-rate")
    from migsim.predict.candidates import choose
    from migsim.predict.sampling import Scenario

    goal = _time("--downtime", downtime)
    end = _time("--deadline", deadline)
    known = _curve(curve, rates)
    vm_given, vm = _machine(pairs("-v", vm_args), memory, zero, known)
    guest = _guest(trace, curve, known, vm, pairs("-w", workload_args))
    scenario = Scenario(guest, vm_given, vm, link, pairs("-l", link_args), end, samples)
    base, candidates = choose(hypervisor, algorithms, pairs("-a", algorithm_args))
    report = _predict(scenario, candidates, base, goal, workers)
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        _print(report)
    if goal is not None and not any(one.within == one.samples for one in report.estimates):
        sys.exit(1)


def _quantity(option: str, text: str, dimension: Dimension) -> float:
    try:
        return parse(text, dimension)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None


def _time(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    value = _quantity(option, text, "time")
    if not 0 < value < math.inf:
        raise InputError(f"{option} {text}: expected more than 0, and no infinity")
    return value


def _curve(file: Path | None, rates: tuple[str, ...]) -> Curve | None:
    from migsim.predict.curves import rates_curve, read_curve

    if file is not None:
        return read_curve(file)
    return rates_curve(rates) if rates else None


def _machine(
    given: dict[str, Any], memory: str | None, zero: str | None, curve: Curve | None
) -> tuple[dict[str, Any], VirtualMachine]:
    """Return the machine and its attributes: as given, as the curve knows them, or the defaults."""
    from migsim.build import build_vm

    for option, name, value in (("--memory", "memory", memory), ("--zero", "zero_fraction", zero)):
        if value is not None:
            if name in given:
                raise InputError(f"predict: {option} and -v {name} are both given")
            given[name] = value
    if curve is not None:
        if curve.memory is not None:
            given.setdefault("memory", curve.memory)
        if curve.zero_share is not None:
            given.setdefault("zero_fraction", curve.zero_share)
    return given, build_vm(given)


def _guest(
    trace: str | None,
    file: Path | None,
    curve: Curve | None,
    vm: VirtualMachine,
    given: dict[str, str],
) -> Guest:
    from migsim.predict.guests import from_curve, from_trace

    if curve is None:
        assert trace is not None
        return from_trace(trace, given)
    return from_curve("the curve" if file is None else f"curve {file}", curve, vm, given)


def _predict(
    scenario: Scenario,
    candidates: tuple[Candidate, ...],
    base: Candidate,
    downtime: float | None,
    workers: int | None,
) -> Report:
    from rich.console import Console

    from migsim.predict.prediction import predict

    with Console(stderr=True).status("simulating") as line:

        def show(done: int) -> None:
            line.update(f"{done} migrations simulated")

        return predict(scenario, candidates, base, downtime, workers=workers, progress=show)


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    rate = "unlimited" if report.link_rate is None else format_rate(report.link_rate)
    console.print(
        f"[bold]{escape(report.guest)}[/], {format_size(report.memory)} "
        f"({100 * report.zero_share:.3g} % zero), over {report.link} "
        f"({rate}, {format_seconds(report.round_trip)} round trip), "
        f"deadline {format_seconds(report.deadline)}"
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    wanted = report.wanted_downtime
    titles = ["", "total time", "downtime", "sent", "guest loses", "faults"]
    if wanted is not None:
        titles += ["limit", f"within {format_seconds(wanted)}"]
    for title in titles:
        table.add_column(title, justify="right" if title else "left", no_wrap=True)
    for one in report.estimates:
        table.add_row(*_cells(one, wanted is not None))
    print_whole(console, table)
    for one in report.estimates:
        if one.reason:
            failed = f"{one.samples - one.completed} of {one.samples} samples failed"
            console.print(f"{escape(one.name)}: {failed}: {escape(one.reason)}")
    for sentence in report.verdict:
        console.print(escape(sentence))
    console.print(f"[dim]intervals: {escape(report.interval)}[/]")
    for note in report.notes:
        console.print(f"[dim]{escape(note)}[/]")


def _cells(one: Estimate, wanted: bool) -> list[str]:
    cells = [
        one.name,
        _spread(one.total, format_seconds),
        _spread(one.downtime, format_seconds),
        _spread(one.bytes_sent, format_size),
        _spread(one.guest_lost, format_seconds),
        "" if one.faults is None or not one.faults.high else f"{one.faults.mean:,.0f}",
    ]
    if wanted:
        limit = "" if one.downtime_limit is None else format_seconds(one.downtime_limit)
        cells += [limit, f"{one.within} of {one.samples}"]
    return cells


def _spread(spread: Spread | None, form: Callable[[float], str]) -> str:
    """Return the mean in three digits, and the range where it is wider than a hundredth of it."""
    if spread is None:
        return "-"
    number, unit = form(spread.mean).split(" ")
    scale = float(number) / spread.mean if spread.mean else 1.0
    shown = f"{float(number):.3g} {unit}"
    if spread.high - spread.low <= 0.01 * spread.mean:
        return shown
    return f"{shown} ({spread.low * scale:.3g} to {spread.high * scale:.3g})"
