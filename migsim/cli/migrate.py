"""``migsim migrate``: one migration, as a summary or as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.outputs import check_file
from migsim.errors import InputError
from migsim.units import format_rate, format_seconds, format_size

if TYPE_CHECKING:
    from migsim.simulate import Outcome
    from migsim.task import ResolvedTask

__all__ = ["command", "pairs", "task_of", "task_options"]


def pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """Return what the texts ``key=value`` of an option say. Raises `InputError`."""
    found: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"{option} {text}: expected key=value")
        if key in found:
            raise InputError(f"{option} {text}: '{key}' is given twice")
        found[key] = value
    return found


def task_options(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command the options of one migration.

    Algorithm, workload and link have to be given where they are ``required``. The options come as
    keyword arguments, all of which `task_of` takes.
    """
    named = "Name, FILE.py:function or module:function."
    key_value: dict[str, Any] = {"multiple": True, "metavar": "KEY=VALUE"}
    options = [
        click.option("--algorithm", required=required, metavar="A", help=named),
        click.option("--workload", required=required, metavar="W", help=named),
        click.option("--link", required=required, metavar="L",
                     help="Name of a preset, see 'migsim list links'."),
        click.option("--memory", metavar="SIZE", help="Guest memory, such as 4GiB (the default)."),
        click.option("--seed", type=int, default=0, show_default=True,
                     help="Chooses the guest's behaviour and which packets are lost."),
        click.option("-a", "algorithm_args", help="Parameter of the algorithm.", **key_value),
        click.option("-w", "workload_args", help="Parameter of the workload.", **key_value),
        click.option("-l", "link_args", help="Parameter of the link.", **key_value),
        click.option("-v", "vm_args", help="Parameter of the virtual machine.", **key_value),
        click.option("-c", "client_args",
                     help="Parameter of the guest's clients and their network.", **key_value),
        click.option("-d", "disk_args", help="Parameter of its disk; without any it has none.",
                     **key_value),
    ]  # fmt: skip

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def task_of(
    *,
    algorithm_args: tuple[str, ...],
    workload_args: tuple[str, ...],
    link_args: tuple[str, ...],
    vm_args: tuple[str, ...],
    client_args: tuple[str, ...] = (),
    disk_args: tuple[str, ...] = (),
    **plain: Any,
) -> ResolvedTask:
    """Return the task that the options say. Raises `InputError`."""
    from migsim.task import Task

    return Task(
        algorithm_args=pairs("-a", algorithm_args),
        workload_args=pairs("-w", workload_args),
        link_args=pairs("-l", link_args),
        vm_args=pairs("-v", vm_args),
        client_args=pairs("-c", client_args),
        disk_args=pairs("-d", disk_args),
        **plain,
    ).resolve()


@click.command("migrate")
@task_options(required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--timeline", type=Path, metavar="FILE.csv",
              help="Write every act to a CSV file.")  # fmt: skip
def command(as_json: bool, timeline: Path | None, **options: Any) -> None:
    """Simulate one migration.

    Sizes, rates and times take units: 4GiB, 125MB/s, 1Gbit/s, 100ms. The exit status is 1 unless
    the migration completes.
    """
    from migsim._jit import compile_seconds
    from migsim.compile_ahead import compile_ahead
    from migsim.simulate import execute

    task = task_of(**options)
    check_file("--timeline", timeline)
    compile_ahead(task.link, task.workload.name)
    started = time.perf_counter() - compile_seconds()
    outcome = execute(task)
    wall = time.perf_counter() - compile_seconds() - started
    if timeline is not None:
        outcome.timeline.write_csv(timeline)
    if as_json:
        _print_json(task, outcome, wall)
    else:
        _print_summary(task, outcome, wall)
    if outcome.result.status != "completed":
        sys.exit(1)


def _print_json(task: ResolvedTask, outcome: Outcome, wall: float) -> None:
    result = outcome.result
    fields = {k: v for k, v in result.as_dict().items() if not k.startswith("sent_")}
    fields["sent_by_kind"] = result.sent_by_kind
    fields["wall_seconds"] = wall
    fields["key"] = task.key
    fields["task"] = json.loads(task.text)
    print(json.dumps(fields, indent=2))


def _print_summary(task: ResolvedTask, outcome: Outcome, wall: float) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    result = outcome.result
    vm, link = task.vm, task.link
    console.print(
        f"[bold]{escape(task.algorithm.name)}[/] of a {format_size(vm.memory)} guest "
        f"({escape(task.workload.name)}) over {task.link_name} "
        f"({format_rate(link.rate)}, {format_seconds(link.rtt)} round trip)"
    )
    rounds = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "start", "took", "pages", "bytes", "rate", "then dirty"):
        rounds.add_column(name, justify="left" if not name else "right", no_wrap=True)
    for line in _phases(outcome):
        rounds.add_row(*line)
    print_whole(console, rounds)
    colour = "green" if result.status == "completed" else "red"
    reason = f": {escape(result.error.strip())}" if result.error else ""
    console.print(f"[{colour}]{result.status}[/]{reason}")
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(outcome):
        facts.add_row(name, value)
    print_whole(console, facts)
    console.print(
        f"[dim]{result.accesses:,} accesses replayed in {wall:.3f} s of real time; "
        f"key {task.key[:16]}[/]"
    )


def _phases(outcome: Outcome) -> list[tuple[str, ...]]:
    """Return a line for each stretch of sending, with what was found dirty after it."""
    lines: list[list[str]] = []
    for event in outcome.timeline:
        if event.act == "sync" and lines and not lines[-1][-1]:
            lines[-1][-1] = f"{event.pages:,}"
        if event.act not in {"send", "push", "resume", "send_blocks", "push_blocks"}:
            continue
        names = {
            "send": "stop-and-copy" if event.guest == "paused" else f"round {event.round}",
            "push": "post-copy",
            "resume": "switch-over",
            "send_blocks": "disk",
            "push_blocks": "post-copy of the disk",
        }
        rate = event.stream_bytes / event.seconds if event.seconds > 0 else 0.0
        pages = f"{event.pages:,}" if event.act != "resume" else ""
        lines.append([
            names[event.act], format_seconds(event.start), format_seconds(event.seconds), pages,
            format_size(event.stream_bytes), format_rate(rate) if rate else "", "",
        ])  # fmt: skip
    return [tuple(line) for line in lines]


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    result = outcome.result
    facts = [
        ("total time", format_seconds(result.total_seconds)),
        ("downtime", format_seconds(result.downtime_seconds)),
        (
            "clients",
            f"waited {format_seconds(result.client_outage_seconds)} at most; "
            f"connections lost: {result.connections_lost}",
        ),
        ("on the wire", f"{format_size(result.bytes_sent)} ({_kinds(result.sent_by_kind)})"),
        ("pages sent", f"{result.pages_sent:,} ({result.zero_pages:,} as zero pages)"),
    ]
    if result.cpu_seconds:
        facts.append((
            "encoded",
            f"{result.encoded_pages:,} pages in {format_seconds(result.cpu_seconds)} of processor "
            f"time; {result.unchanged_pages:,} not sent because unchanged, "
            f"{result.cache_misses:,} cache misses, {result.overflows:,} overflows",
        ))  # fmt: skip
    if result.faults:
        facts.append((
            "faults",
            f"{result.faults:,}: mean {format_seconds(result.fault_mean_seconds)}, "
            f"99 % {format_seconds(result.fault_p99_seconds)}, "
            f"worst {format_seconds(result.fault_max_seconds)}; "
            f"each vCPU stalled {format_seconds(result.stalled_seconds)}",
        ))  # fmt: skip
    if result.disk_blocks_sent or result.mirrored_writes:
        facts.append((
            "disk",
            f"{result.disk_blocks_sent:,} blocks sent; {result.mirrored_writes:,} mirrored writes "
            f"cost {format_seconds(result.mirror_seconds)}, {result.disk_faults:,} I/Os that "
            f"waited for a block {format_seconds(result.disk_stalled_seconds)}",
        ))  # fmt: skip
    if result.throttled_seconds:
        facts.append(("throttled", f"{format_seconds(result.throttled_seconds)} of processor time"))
    return facts


def _kinds(sent: dict[str, int]) -> str:
    return ", ".join(
        f"{kind.replace('_', ' ')} {format_size(size)}" for kind, size in sent.items() if size
    )
