"""The commands ``migsim trace record`` and ``migsim trace info``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim import units
from migsim.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from migsim.trace.analysis import TraceSummary
    from migsim.trace.content_summary import ContentSummary
    from migsim.trace.format import Trace

__all__ = ["trace"]


@click.group()
def trace() -> None:
    """Record which pages a real program writes, and look at recordings."""


def _seconds(option: str, text: str) -> float:
    try:
        value = units.parse(text, "time")
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    if not 0 < value < math.inf:
        raise InputError(f"{option}: got '{text}', expected a time above 0 such as '100ms'")
    return value


@trace.command("record")
@click.option("--interval", default="100ms", show_default=True, help="Time between two looks.")
@click.option("--duration", default="30s", show_default=True, help="When to stop.")
@click.option("--pid", type=int, help="Observe this running process instead of starting one.")
@click.option("--largest-mapping", is_flag=True, help="Of --pid, only that: QEMU's guest memory.")
@click.option("--content", is_flag=True, help="Also record what happens to the bytes of pages.")
@click.option("--output", type=Path, help="File to write; the program's name + .mtrace if absent.")
@click.option("--note", default="", help="Free text kept in the file.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def record_command(
    *, interval: str, duration: str, pid: int | None, largest_mapping: bool,
    content: bool, output: Path | None, note: str, command: tuple[str, ...],
) -> None:  # fmt: skip
    """Record which pages COMMAND writes, and write them to a file.

    Put -- before COMMAND if it has options of its own. A started COMMAND is ended after the
    duration; a process given by --pid runs on. Ctrl-C ends the recording and keeps it. A process
    that forks keeps only the parent recorded. Without --pid no special rights are needed.

    With --content every page that was dirtied is read and compared with its last copy: how many of
    its bytes changed, in how many runs, whether it is zeros or equals another page; and what codecs
    make of up to 64 pages an interval. The recorder then holds two more copies of the program's
    memory. What the program writes while its pages are read counts in the interval before.
    """
    looks, length = _seconds("--interval", interval), _seconds("--duration", duration)
    target = output or Path(f"{Path(command[0]).name if command else pid}.mtrace")
    if not target.parent.is_dir():
        raise InputError(f"cannot write trace '{target}': there is no folder '{target.parent}'")
    from migsim.trace.format import write_trace
    from migsim.trace.recording import record

    result = record(
        command, pid=pid, interval=looks, duration=length, notes=note,
        largest_mapping=largest_mapping, content=content,
    )  # fmt: skip
    write_trace(target, result)
    click.echo(
        f"{target}: {result.duration:.1f} s, {result.counts.size} intervals, "
        f"{result.pages.size} page writes to {result.pages_total} pages, by {result.method}"
    )
    if result.method == "compare":
        reason = result.meta["method_reason"]
        click.echo(f"Writes that left a page as it was are missing ({reason}).", err=True)


@trace.command("info")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--plot", type=Path, help="Also draw the trace to this file, such as redis.png.")
def info_command(file: str, as_json: bool, plot: Path | None) -> None:
    """Print what a recorded trace is like: its rate, working set, skew and content.

    FILE is a file, or the bare name of a trace that comes with migsim. It is drawn in characters,
    and with --plot as a figure.
    """
    from migsim.registry import trace_path
    from migsim.trace.analysis import summarize
    from migsim.trace.content_summary import summarize_content
    from migsim.trace.format import read_trace

    path = trace_path(file)
    recorded = read_trace(path)
    summary, content = summarize(recorded), summarize_content(recorded)
    if as_json:
        found = {"file": path.name, "header": dict(recorded.meta)} | summary.as_dict()
        found["content"] = content.as_dict() if content else None
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(path, recorded, summary, content)
    if plot is not None:
        from migsim.trace.drawing import save

        save(recorded, plot, path.stem)


def _pages(count: float, page_size: int) -> str:
    return f"{count:,.0f} pages = {units.format_size(count * page_size)}"


def _rows(recorded: Trace, s: TraceSummary) -> list[tuple[str, str]]:
    meta: dict[str, Any] = dict(recorded.meta)
    rate = f"{s.dirty_rate:,.0f} pages/s = {s.dirty_bytes_per_second / 1e6:.4g} MB/s"
    interval = f"median {s.interval_median * 1e3:.0f} ms, longest {s.interval_max * 1e3:.0f} ms"
    rows = [
        ("command", " ".join(meta.get("argv", []))),
        ("recorded", f"{meta.get('date', '?')}, {meta.get('kernel', '?')}, by {recorded.method}"),
        ("notes", str(meta.get("notes", ""))),
        ("duration", f"{s.duration:.1f} s in {s.intervals} intervals ({interval})"),
        ("memory", _pages(s.pages, s.page_size)),
        ("present at the start", _pages(s.pages_resident, s.page_size)),
        ("written", _pages(s.pages_written, s.page_size)),
        ("dirty rate", rate),
        ("dirty per interval", f"median {_pages(s.dirty_per_interval_median, s.page_size)}"),
        ("hottest 1 % of pages", f"take {s.hottest_1_percent:.1%} of the dirtyings"),
        ("hottest 10 % of pages", f"take {s.hottest_10_percent:.1%} of the dirtyings"),
        ("Gini coefficient", f"{s.gini:.3f}"),
        ("written only once", f"{s.written_once:.1%} of the written pages"),
    ]
    return [(name, value) for name, value in rows if value]


def _working_set_table(s: TraceSummary) -> Table:
    from rich.table import Table

    table = Table(title="Working set: distinct pages written in a window", title_justify="left")
    for heading in ("window (s)", "mean", "median", "largest", "mean (MiB)"):
        table.add_column(heading, justify="right")
    for w in s.working_sets:
        size = f"{w.mean * s.page_size / units.MIB:,.1f}"
        row = (f"{w.window:g}", f"{w.mean:,.0f}", f"{w.median:,.0f}", f"{w.maximum:,}", size)
        table.add_row(*row)
    return table


def _content_table(c: ContentSummary) -> Table:
    from rich.table import Table

    table = Table(
        title="Content: the bytes of the dirtied pages", title_justify="left", show_header=False
    )
    rows = [
        ("measured", f"{c.measured:,} pages written, {c.sampled:,} of them encoded"),
        ("written unchanged", f"{c.silent:.1%}"),
        ("without earlier copy", f"{c.new:.1%}"),
        ("all zeros", f"{c.zero:.1%}"),
        ("equal to another page", f"{c.duplicate:.1%} (zeros not counted)"),
        ("bytes changed, if any", f"mean {c.changed_mean:,.0f}, median {c.changed_median:,.0f}"),
        ("in runs of bytes", f"mean {c.runs_mean:,.1f}"),
        *((f"size by {name}", f"{share:.1%} of a page") for name, share in c.sizes.items()),
    ]
    if c.growth_times:  # else no page was written twice between two checkpoints
        growth = f"{c.growth:.2f} times the bytes after {c.growth_times:.1f} writes of a page"
        rows.append(("growth", growth))
    for name, value in rows:
        table.add_row(name, value)
    return table


def _print(
    path: Path, recorded: Trace, summary: TraceSummary, content: ContentSummary | None
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from migsim.trace.sketch import sketch

    console = Console()
    table = Table(title=path.name, title_justify="left", show_header=False)
    for name, value in _rows(recorded, summary):
        table.add_row(name, Text(value))  # not markup: a command may contain brackets
    console.print(table)
    console.print(_working_set_table(summary))
    if content is not None:
        console.print(_content_table(content))
    console.print(sketch(recorded), markup=False, highlight=False, soft_wrap=True)
