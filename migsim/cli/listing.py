"""``migsim list``: what there is, with parameters and defaults."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from migsim.errors import InputError, did_you_mean
from migsim.parameters import Parameter
from migsim.units import format_rate, format_seconds, format_size

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]

_KINDS = ("algorithms", "workloads", "links", "machine", "experiments")


@click.command("list")
@click.argument("kind", required=False, metavar="[algorithms|workloads|links|machine|experiments]")
def command(kind: str | None) -> None:
    """List algorithms, workloads, links, the machine's parameters or experiments; else all."""
    from rich.console import Console

    if kind is not None and kind not in _KINDS:
        raise InputError(f"list: got '{kind}', {did_you_mean(kind, _KINDS)}")
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for chosen in [kind] if kind else _KINDS:
        if kind is None:
            console.print(f"{chosen}:", style="bold")
        entries = _entries(chosen)
        width = max((len(name) for name, _, _ in entries), default=0)
        for name, summary, parameters in entries:
            console.print(
                f"{name:{width}}  {summary}" + (f"  [{parameters}]" if parameters else "")
            )
        if chosen == "links":
            console.print("\nEvery link has these parameters (-l):")
            _explain(console)
        if kind is None:
            console.print()


def _entries(kind: str) -> list[tuple[str, str, str]]:
    from migsim.experiment import load
    from migsim.machine import VirtualMachine
    from migsim.parameters import read_parameters
    from migsim.registry import find, names

    if kind == "experiments":
        return [(name, load(name).question, "") for name in names("experiment")]
    if kind == "machine":
        shown = " ".join(_show(p) for p in read_parameters(VirtualMachine, skip=0))
        return [("-v", "What the virtual machine and its hypervisor are like", shown)]
    singular = {"algorithms": "algorithm", "workloads": "workload", "links": "link"}[kind]
    entries = []
    for name in names(singular):  # type: ignore[arg-type]
        plugin = find(singular, name)  # type: ignore[arg-type]
        shown = " ".join(_show(each) for each in plugin.parameters if _differs(kind, each))
        summary = plugin.summary.split(". ")[0].rstrip(".").replace("``", "'")
        entries.append((name, summary, shown))
    return entries


def _differs(kind: str, parameter: Parameter) -> bool:
    """Return whether a preset link sets a parameter to something else than all links do."""
    from migsim.network import Link

    if kind != "links":
        return True
    return parameter.required or parameter.default != getattr(Link, parameter.name, None)


def _explain(console: Console) -> None:
    """Print what each parameter of a link means: the text of `Link`."""
    from rich.table import Table

    from migsim.cli.tables import print_whole
    from migsim.network import Link
    from migsim.parameters import read_parameters

    attributes = inspect.cleandoc(Link.__doc__ or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    ([a-z_, ]+): (.*(?:\n        .*)*)", attributes, re.MULTILINE)
    texts = {name: text for names, text in found for name in names.split(", ")}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=80)
    for parameter in read_parameters(Link, skip=0):
        text = " ".join(texts[parameter.name].split()).replace("``", "'")
        table.add_row(_show(parameter), text)
    print_whole(console, table)


def _show(parameter: Parameter) -> str:
    """Return ``name=default`` in the unit that a person would write."""
    value = parameter.default
    if parameter.required:
        return f"{parameter.name}=..."
    if value is None:
        defaults = {
            "working_set": "25%", "device_state": "256KiB+9.5kB/vCPU",
            "queue": "local|1bdp", "send_buffer": "up to 4MiB",
        }  # fmt: skip
        return f"{parameter.name}={defaults.get(parameter.name, 'none')}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if parameter.dimension in {"size", "memory share"}:
            whole = f"{value}B" if value % 1024 else format_size(value)
            return f"{parameter.name}={whole.replace(' ', '')}"
        printers = {"time": format_seconds, "byte rate": format_rate}
        if parameter.dimension in printers:
            return f"{parameter.name}={printers[parameter.dimension](value).replace(' ', '')}"
        return f"{parameter.name}={value:g}"
    return f"{parameter.name}={value}"
