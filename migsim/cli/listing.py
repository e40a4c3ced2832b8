"""``migsim list``: what there is, with parameters and defaults."""

from __future__ import annotations

import click

from migsim.errors import InputError, did_you_mean
from migsim.parameters import Parameter
from migsim.units import format_rate, format_seconds, format_size

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
        shown = " ".join(_show(parameter) for parameter in plugin.parameters)
        summary = plugin.summary.split(". ")[0].rstrip(".").replace("``", "'")
        entries.append((name, summary, shown))
    return entries


def _show(parameter: Parameter) -> str:
    """Return ``name=default`` in the unit that a person would write."""
    value = parameter.default
    if parameter.required:
        return f"{parameter.name}=..."
    if value is None:
        defaults = {"working_set": "25%", "device_state": "256KiB+9.5kB/vCPU"}
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
