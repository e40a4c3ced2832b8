"""The figure of published values and ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from migsim.plotting import OKABE_ITO, style
from migsim.validate.published.check import Finding, Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["published_figure"]

_TITLES: dict[Kind, str] = {
    "calibrated": "calibrated",
    "hard": "hard",
    "miss": "known misses",
    "ordering": "orderings",
}
_RIGHT: tuple[Kind, ...] = ("hard", "miss", "ordering")
_GOOD, _BAD, _THEIRS = 0, 3, "0.3"  # the first two are places in the palette


def published_figure(findings: Sequence[Finding]) -> Figure:
    """Return predicted over published, check by check, across the page."""
    kinds = {kind: [item for item in findings if item.check.kind == kind] for kind in _TITLES}
    heights = [len(kinds[kind]) + 1 for kind in _RIGHT]
    rows = max(len(kinds["calibrated"]), sum(heights) + 6)
    figure = style.new_figure(style.PAGE, 0.135 * rows + 1.2)
    columns = figure.add_gridspec(1, 2)
    _draw_ratios(figure.add_subplot(columns[0]), kinds["calibrated"], "calibrated")
    parts = columns[1].subgridspec(len(_RIGHT), 1, height_ratios=heights)
    for place, kind in enumerate(_RIGHT):
        draw = _draw_orderings if kind == "ordering" else _draw_ratios
        draw(figure.add_subplot(parts[place]), kinds[kind], kind)
    style.title(figure, "Published figures and ours")
    _add_legend(figure)
    return figure


def _add_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

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
        loc="outside lower center", ncols=5, frameon=False,
    )  # fmt: skip


def _prepare(axes: Axes, found: Sequence[Finding], kind: Kind) -> None:
    axes.set_yticks(range(len(found)), [item.check.name for item in found], fontsize=style.SMALL)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(_TITLES[kind], fontsize=8)
    axes.axvline(1.0, color="0.4", linewidth=0.8)


def _draw_ratios(axes: Axes, found: Sequence[Finding], kind: Kind) -> None:
    """Draw predicted over published, and the tolerance as a bar behind it."""
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
