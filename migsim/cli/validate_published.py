"""``migsim validate published``: figures of papers and vendors, and what we say of them."""

from __future__ import annotations

import json
import math
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from migsim.cli.outputs import check_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.validate.published.check import Finding, Kind, Unit

__all__ = ["published"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--plot", type=Path, metavar="FILE.png", help="Draw predicted over published.")
@click.pass_context
def published(context: click.Context, as_json: bool, plot: Path | None) -> None:
    """Predict figures that papers and vendors have published, and show the errors.

    A hard check is one that no parameter was set by; the exit status is 1 if one of them fails.
    """
    from migsim.validate import published as suite

    check_figure("--plot", plot)
    findings = suite.compare(suite.CHECKS)
    if plot is not None:
        from migsim.plotting import save_figure

        save_figure(_figure(findings), plot)
    if as_json:
        print(json.dumps(_as_json(findings), indent=2))
    else:
        _print(findings)
    if any(item.check.kind == "hard" and not item.holds for item in findings):
        context.exit(1)


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


def _print(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    from migsim.cli.tables import print_whole

    console = Console(highlight=False, soft_wrap=True)
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
            f"{check.tolerance:.2g}" if check.tolerance == 0 else f"{check.tolerance:.3g}",
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
    _print_summary(console, findings)


def _print_summary(console: Any, findings: Sequence[Finding]) -> None:
    from migsim.validate.published.check import KINDS, summarise

    console.print()
    for kind, row in summarise(findings).items():
        median = row["median_error"]
        console.print(
            f"{row['within']} of {row['count']} {kind} checks hold"
            + ("" if median is None else f", median error {median:.1%}")
            + f" ({KINDS[kind]})"
        )


def _value(value: float, unit: Unit) -> str:
    """Return a figure as readers of the papers know it."""
    from migsim.units import format_seconds

    if math.isinf(value):
        return "never ends"
    if unit == "s":
        return format_seconds(value)
    if unit in {"bytes", "bytes/s"}:
        return f"{value / 1e6:,.1f} MB{unit.removeprefix('bytes')}"
    if unit == "ratio":
        return f"{value:.3g}"
    return f"{value:,.0f}"


# ---- the figure ----------------------------------------------------------------------------------

_TITLES: dict[Kind, str] = {
    "hard": "hard",
    "calibrated": "calibrated",
    "miss": "known misses",
    "ordering": "orderings: the ratio of two migrations",
}


def _figure(findings: Sequence[Finding]) -> Figure:
    from matplotlib.figure import Figure

    from migsim.plotting import use_style

    use_style()
    kinds = {kind: [item for item in findings if item.check.kind == kind] for kind in _TITLES}
    right: list[Kind] = ["hard", "miss", "ordering"]
    rows = max(len(kinds["calibrated"]), sum(len(kinds[kind]) + 5 for kind in right))
    figure = Figure(figsize=(7.4, 0.135 * rows + 1.1), layout="constrained")
    outer = figure.add_gridspec(1, 2)
    inner = outer[1].subgridspec(3, 1, height_ratios=[max(1, len(kinds[kind])) for kind in right])
    _draw_ratios(figure.add_subplot(outer[0]), kinds["calibrated"], "calibrated")
    for place, kind in enumerate(right):
        draw = _draw_orderings if kind == "ordering" else _draw_ratios
        draw(figure.add_subplot(inner[place]), kinds[kind], kind)
    figure.suptitle("Published figures and ours", fontsize="large", fontweight="bold")
    return figure


def _prepare(axes: Axes, found: Sequence[Finding], kind: Kind) -> None:
    axes.set_yticks(range(len(found)), [item.check.name for item in found], fontsize=6)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(_TITLES[kind], fontsize=8)
    axes.axvline(1.0, color="0.4", linewidth=0.8)


def _draw_ratios(axes: Axes, found: Sequence[Finding], kind: Kind) -> None:
    """Draw predicted over published, and the tolerance as a bar behind it."""
    from migsim.plotting import OKABE_ITO

    _prepare(axes, found, kind)
    for place, item in enumerate(found):
        reach = item.check.tolerance
        axes.barh(place, 2 * reach, left=1 - reach, height=0.7, color="0.88", zorder=1)
        colour = OKABE_ITO[0] if item.holds else OKABE_ITO[3]
        axes.plot(item.predicted / item.check.published, place, "o", color=colour, markersize=3)
    axes.set_xlabel("predicted / published (bar: tolerance)", fontsize=7)


def _draw_orderings(axes: Axes, found: Sequence[Finding], kind: Kind) -> None:
    """Draw our ratio, and the published one as a ring; an arrow where one did not end."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from migsim.plotting import OKABE_ITO

    _prepare(axes, found, kind)
    finite = [item.check.published for item in found if math.isfinite(item.check.published)]
    most = 1.6 * max([*finite, *(item.predicted for item in found)], default=1.0)
    for place, item in enumerate(found):
        theirs = item.check.published
        mark, x = ("o", theirs) if math.isfinite(theirs) else (">", most)
        axes.plot(x, place, mark, color="0.3", markersize=4, markerfacecolor="none")
        colour = OKABE_ITO[0] if item.holds else OKABE_ITO[3]
        axes.plot(item.predicted, place, "o", color=colour, markersize=3)
    axes.set_xscale("log")
    axes.set_xlim(0.8, 1.2 * most)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("dot: ours, ring: published, triangle: never ended", fontsize=7)
