"""Predicted against measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migsim.plotting import style
from migsim.plotting.identity import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Points", "predicted_figure"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass
class Points:
    """What was measured and predicted of one kind of things.

    Attributes:
        measured, predicted: as pairs, in the unit of the panel.
        spread: for each, the least and the greatest measurement; empty where there was but one.
    """

    measured: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    spread: list[tuple[float, float]] = field(default_factory=list)


def predicted_figure(
    panels: Mapping[str, Mapping[str, Points]],
    *,
    x_titles: Sequence[str],
    title: str,
    legend_title: str = "",
    width: float = style.PAGE,
) -> Figure:
    """Return a panel for each key: predicted against measured by kind, on logarithmic axes.

    ``x_titles`` say what was measured, with its unit, which the predictions share; on the line
    both are equal. ``width`` in inches.
    """
    from matplotlib.lines import Line2D

    across = min(len(panels), 3 if width > 5 else 1)
    down = -(-len(panels) // across)
    kinds = list(dict.fromkeys(kind for panel in panels.values() for kind in panel))
    figure = style.new_figure(width, down * min(3.2, width / across) + 0.75)
    grid = figure.subplots(down, across, squeeze=False)
    for axes, (name, panel), x_title in zip(grid.flat, panels.items(), x_titles, strict=False):
        _scatter(axes, panel, kinds)
        axes.set_xlabel(style.fold(x_title, 0.85 * width / across))
        axes.set_title(name)
    for row in grid:
        row[0].set_ylabel("predicted")
    handles = [
        Line2D([], [], label=kind, linestyle="none", **_mark(k))
        for k, kind in enumerate(kinds)
    ]  # fmt: skip
    style.title(figure, title)
    style.legend_of(figure, handles, title=legend_title or None)
    return figure


def _mark(place: int) -> dict[str, Any]:
    """Return how the kind at a place of the list is drawn."""
    marker = _MARKERS[place % len(_MARKERS)]
    return {
        "marker": marker,
        "color": OKABE_ITO[place % len(OKABE_ITO)],
        "markersize": 7.0 if marker == "*" else 4.5,
        "markeredgewidth": 0.4,
        "markeredgecolor": "white",
    }


def _scatter(axes: Axes, panel: Mapping[str, Points], kinds: Sequence[str]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    seen: list[float] = []
    for k, kind in enumerate(kinds):
        points = panel.get(kind, Points())
        spread = None
        if points.spread:
            spread = [
                [value - low
                 for value, (low, _) in zip(points.measured, points.spread, strict=True)],
                [high - value
                 for value, (_, high) in zip(points.measured, points.spread, strict=True)],
            ]  # fmt: skip
        axes.errorbar(
            points.measured, points.predicted, xerr=spread, linestyle="none", elinewidth=0.8,
            capsize=1.5, **_mark(k),
        )  # fmt: skip
        ends = [end for pair in points.spread for end in pair]
        seen += [value for value in (*points.measured, *points.predicted, *ends) if value > 0]
    low, high = 0.8 * min(seen, default=1.0), 1.25 * max(seen, default=10.0)
    axes.plot((low, high), (low, high), color="0.4", linewidth=0.8, zorder=1)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
