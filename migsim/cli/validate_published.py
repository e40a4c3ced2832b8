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

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim.validate.published.check import Finding, Kind, Unit

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

        save_figure(_figure(findings), plot)
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


# ---- the figure ----------------------------------------------------------------------------------

_TITLES: dict[Kind, str] = {
    "calibrated": "calibrated",
    "hard": "hard",
    "miss": "known misses",
    "ordering": "orderings",
}
_RIGHT: tuple[Kind, ...] = ("hard", "miss", "ordering")
_GOOD, _BAD, _THEIRS = 0, 3, "0.3"  # the first two are places in the palette


def _figure(findings: Sequence[Finding]) -> Figure:
    from matplotlib.figure import Figure

    from migsim.plotting import use_style

    use_style()
    kinds = {kind: [item for item in findings if item.check.kind == kind] for kind in _TITLES}
    heights = [len(kinds[kind]) + 1 for kind in _RIGHT]
    rows = max(len(kinds["calibrated"]), sum(heights) + 6)
    figure = Figure(figsize=(7.4, 0.135 * rows + 1.2), layout="constrained")
    columns = figure.add_gridspec(1, 2)
    _draw_ratios(figure.add_subplot(columns[0]), kinds["calibrated"], "calibrated")
    parts = columns[1].subgridspec(len(_RIGHT), 1, height_ratios=heights)
    for place, kind in enumerate(_RIGHT):
        draw = _draw_orderings if kind == "ordering" else _draw_ratios
        draw(figure.add_subplot(parts[place]), kinds[kind], kind)
    figure.suptitle("Published figures and ours", fontsize="large", fontweight="bold")
    _add_legend(figure)
    return figure


def _add_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from migsim.plotting import OKABE_ITO

    plain: dict[str, Any] = {"linestyle": "none", "markersize": 4}
    ring = plain | {"color": _THEIRS, "markerfacecolor": "none"}
    figure.legend(
        handles=[
            Line2D([], [], marker="o", color=OKABE_ITO[_GOOD], label="ours, holds", **plain),
            Line2D([], [], marker="o", color=OKABE_ITO[_BAD], label="ours, does not", **plain),
            Patch(color="0.88", label="tolerance"),
            Line2D([], [], marker="o", label="published ratio", **ring),
            Line2D([], [], marker=">", label="never ended", **ring),
        ],
        loc="outside lower center", ncols=5, frameon=False, fontsize=7, columnspacing=1.2,
    )  # fmt: skip


def _prepare(axes: Axes, found: Sequence[Finding], kind: Kind) -> None:
    axes.set_yticks(range(len(found)), [item.check.name for item in found], fontsize=6)
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
        colour = OKABE_ITO[_GOOD if item.holds else _BAD]
        axes.plot(item.predicted / item.check.published, place, "o", color=colour, markersize=3)
    axes.use_sticky_edges = False  # or the widest bars end on the frame
    axes.autoscale_view(scaley=False)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel("predicted / published", fontsize=7)


def _draw_orderings(axes: Axes, found: Sequence[Finding], kind: Kind) -> None:
    """Draw the ratios of two migrations, ours and the published one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    from migsim.plotting import OKABE_ITO

    _prepare(axes, found, kind)
    finite = [item.check.published for item in found if math.isfinite(item.check.published)]
    most = 1.6 * max([*finite, *(item.predicted for item in found)], default=1.0)
    for place, item in enumerate(found):
        theirs = item.check.published
        mark, x = ("o", theirs) if math.isfinite(theirs) else (">", most)
        axes.plot(x, place, mark, color=_THEIRS, markersize=4, markerfacecolor="none")
        colour = OKABE_ITO[_GOOD if item.holds else _BAD]
        axes.plot(item.predicted, place, "o", color=colour, markersize=3)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(0.8, 1.2 * most)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("ratio of two migrations", fontsize=7)
