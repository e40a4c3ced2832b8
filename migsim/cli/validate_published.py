"""``migsim validate published``: figures of papers and vendors, and what we say of them."""

from __future__ import annotations

import json
import math
import string
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.outputs import check_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migsim.validate.published.check import Finding, Unit

__all__ = ["published"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--summary", "brief", is_flag=True, help="Print no single checks.")
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw predicted over published.")
def published(as_json: bool, brief: bool, plot: Path | None) -> None:
    """Predict figures that papers and vendors have published, and show the errors.

    A hard check is one that no parameter was set by; the exit status is 1 if one of them fails.
    """
    from migsim.validate import published as suite

    check_figure("--plot", plot)
    findings = suite.compare(suite.CHECKS)
    if plot is not None:
        from migsim.plotting import save_figure
        from migsim.validate.published.drawing import published_figure

        save_figure(published_figure(findings), plot)
    if as_json:
        print(json.dumps(_as_json(findings), indent=2))
    else:
        _print(findings, brief)
    if any(item.check.kind == "hard" and not item.holds for item in findings):
        sys.exit(1)


def _as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    from migsim.validate.published.check import summarise

    fields = ("name", "source", "claim", "unit", "kind", "tolerance", "free", "note")
    checks = [
        {name: getattr(item.check, name) for name in fields}
        | {
            # JSON knows no infinity: null stands for a migration that did not end.
            "published": None if math.isinf(item.check.published) else item.check.published,
            "predicted": item.predicted,
            "error": item.error,
            "verdict": item.verdict,
        }
        for item in findings
    ]
    return {"checks": checks, "summary": summarise(findings)}


def _print(findings: Sequence[Finding], brief: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
    if brief:
        _print_summary(console, findings)
        return
    frees = list(dict.fromkeys(item.check.free for item in findings if item.check.free != "none"))
    letters = dict(zip(frees, string.ascii_letters, strict=False))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("source", "claim", "published", "ours", "error", "tolerance", "kind", "free",
                  "verdict"):  # fmt: skip
        right = title in {"published", "ours", "error", "tolerance"}
        table.add_column(title, justify="right" if right else "left", no_wrap=True)
    for item in findings:
        check = item.check
        table.add_row(
            check.source,
            check.claim,
            _value(check.published, check.unit),
            _value(item.predicted, check.unit),
            "" if item.error is None else f"{item.error:+.1%}",
            f"{100 * check.tolerance:g} %" if check.tolerance else "order",
            check.kind,
            letters.get(check.free, "none"),
            item.verdict,
        )
    print_whole(console, table)
    console.print("\n[bold]free parameters[/]: what was set that the source does not tell")
    for text, letter in letters.items():
        console.print(f"  {letter}  {text}", markup=False)
    console.print("\n[bold]notes[/]")
    for item in findings:
        if item.check.note:
            console.print(f"  {item.check.claim}: {item.check.note}", markup=False)
    console.print()
    _print_summary(console, findings)


def _print_summary(console: Any, findings: Sequence[Finding]) -> None:
    from migsim.validate.published.check import KINDS, summarise

    for kind, row in summarise(findings).items():
        median = row["median_error"]
        console.print(
            (f"{row['count']} known misses" if kind == "miss" else
             f"{row['within']} of {row['count']} {kind} checks hold")
            + ("" if median is None else f", median error {median:.1%}")
            + f": {KINDS[kind]}"
        )  # fmt: skip


def _value(value: float, unit: Unit) -> str:
    """Return a figure as readers of the papers know it."""
    from migsim.units import MIB, format_seconds

    if math.isinf(value):
        return "never ends"
    if unit == "s":
        return format_seconds(value)
    if unit == "bytes":
        return f"{value / MIB:,.1f} MiB"
    if unit == "bytes/s":
        return f"{value / 1e6:,.1f} MB/s"
    if unit == "ratio":
        return f"{value:.3g}"
    return f"{value:,.0f}"
