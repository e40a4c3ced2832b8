"""``migsim list``: what there is, with parameters and defaults."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from migsim.errors import InputError, did_you_mean
from migsim.parameters import Parameter, shown_default

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["command"]

_KINDS = ("algorithms", "workloads", "links", "codecs", "machine", "clients", "experiments")


@click.command("list")
@click.argument("kind", required=False, metavar=f"[{'|'.join(_KINDS)}]")
def command(kind: str | None) -> None:
    """List algorithms, workloads, links, codecs, machine, clients, experiments; or all."""
    from rich.console import Console

    from migsim.clients import Clients, client_parameters
    from migsim.content import ContentRule
    from migsim.network import Link
    from migsim.network.announcing import Reach
    from migsim.network.client import Client

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
            _explain(console, Link)
        if chosen == "workloads":
            console.print("\nEvery workload has these parameters (-w) besides:")
            _explain(console, ContentRule)
        if chosen == "clients":
            console.print("\nClients have these parameters (-c):")
            _explain(console, Clients, client_parameters())
            _explain(console, Client, client_parameters())
            console.print("\nThe network between them and the guest has these (-c) besides:")
            _explain(console, Reach)
        if kind is None:
            console.print()


def _entries(kind: str) -> list[tuple[str, str, str]]:
    from migsim.codecs import CODECS
    from migsim.experiment import load
    from migsim.machine import VirtualMachine
    from migsim.network.announcing import REACHES
    from migsim.parameters import read_parameters
    from migsim.registry import find, names

    if kind == "experiments":
        return [(name, load(name).question, "") for name in names("experiment")]
    if kind == "codecs":
        return [
            (
                name,
                _sentence(inspect.cleandoc(make.__doc__ or "").split("\n\n")[0]),
                " ".join(shown_default(each) for each in read_parameters(make, skip=0)),
            )
            for name, make in CODECS.items()
        ]
    if kind == "machine":
        shown = " ".join(shown_default(p) for p in read_parameters(VirtualMachine, skip=0))
        return [("-v", "What the virtual machine and its hypervisor are like", shown)]
    if kind == "clients":
        return [
            (
                name,
                _sentence(summary),
                f"reach={name}" + "".join(f" {k}={v}" for k, v in own.items()),
            )
            for name, (summary, own) in REACHES.items()
        ]
    singular = {"algorithms": "algorithm", "workloads": "workload", "links": "link"}[kind]
    entries = []
    for name in names(singular):  # type: ignore[arg-type]
        plugin = find(singular, name)  # type: ignore[arg-type]
        shown = " ".join(shown_default(each) for each in plugin.parameters if _differs(kind, each))
        entries.append((name, _sentence(plugin.summary), shown))
    return entries


def _sentence(text: str) -> str:
    """Return the first sentence of a docstring, on one line."""
    return re.split(r"\. (?=[A-Z])", " ".join(text.split()))[0].rstrip(".").replace("``", "'")


def _differs(kind: str, parameter: Parameter) -> bool:
    """Return whether a preset link sets a parameter to something else than all links do."""
    from migsim.network import Link

    if kind != "links":
        return True
    return parameter.required or parameter.default != getattr(Link, parameter.name, None)


def _explain(console: Console, described: type, usual: tuple[Parameter, ...] | None = None) -> None:
    """Print what each parameter of a class means: the text of its docstring.

    ``usual`` are parameters, some of the class among them, whose defaults are not the class's.
    """
    from rich.table import Table

    from migsim.cli.tables import print_whole
    from migsim.parameters import read_parameters

    attributes = inspect.cleandoc(described.__doc__ or "").partition("Attributes:\n")[2]
    found = re.findall(r"^    ([a-z_, ]+): (.*(?:\n        .*)*)", attributes, re.MULTILINE)
    texts = {name: text for names, text in found for name in names.split(", ")}
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(max_width=80)
    listed = read_parameters(described, skip=0) if usual is None else usual
    for parameter in (each for each in listed if each.name in texts):
        text = " ".join(texts[parameter.name].split()).replace("``", "'")
        table.add_row(shown_default(parameter), text)
    print_whole(console, table)
