"""Lines: measurements against a quantity that was varied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from migsim.plotting import style
from migsim.plotting.identity import look_of, ordered
from migsim.plotting.panel import Panel
from migsim.stats import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["line_panels"]


def line_panels(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    x: str,
    x_title: str,
    rows: str,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return a grid of line plots: a row for each value of ``rows``, a column a measurement.

    Lines are means over the seeds against ``x``, whose values are equally far apart, with 95 %
    bootstrap intervals; they are broken where a value is missing. A column shares its vertical
    axis. Marks become smaller from algorithm to algorithm, so that equal values do not hide one
    another. ``width`` in inches.
    """
    algorithms = ordered(results["algorithm"].unique())
    names = list(results[rows].unique())
    figure = style.new_figure(width, 1.35 * len(names) + 1.2)
    grid = figure.subplots(len(names), len(panels), sharex=True, sharey="col", squeeze=False)
    for i, name in enumerate(names):
        for j, panel in enumerate(panels):
            axes = grid[i][j]
            chosen = results[results[rows] == name]
            _lines(axes, chosen, panel, x, algorithms, width / len(panels))
            if i == 0:
                axes.set_title(style.fold(panel.title, 0.92 * width / len(panels)))
            if i == len(names) - 1:
                axes.set_xlabel(x_title)
            if j == 0:
                axes.set_ylabel(name)
    for j, panel in enumerate(panels):
        style.scale_axis([row[j].yaxis for row in grid], log=panel.log)
    style.title(figure, title)
    style.legend(figure, algorithms, lines=True)
    return figure


def _lines(
    axes: Axes,
    results: pd.DataFrame,
    panel: Panel,
    x: str,
    algorithms: Sequence[str],
    inches: float,
) -> None:
    places = sorted(results[x].unique())
    for k, algorithm in enumerate(algorithms):
        chosen = results[results["algorithm"] == algorithm]
        look = look_of(algorithm, algorithms)
        mark = 6.0 - 2.8 * k / max(1, len(algorithms) - 1)
        means = []
        for place, value in enumerate(places):
            values = chosen[chosen[x] == value][panel.column]
            if values.empty or values.isna().any():
                means.append(math.nan)
                continue
            interval = bootstrap_interval(values * panel.scale)
            means.append(interval.mean)
            style.draw_interval(
                axes, place, interval.mean, interval, look, along_x=False, mark=mark
            )
        axes.plot(range(len(places)), means, color=look.colour, linewidth=0.9, linestyle=look.line)
    names = [f"{value:g}" for value in places]
    # Four points a letter and as much between two names, or they stand upright.
    tight = 4 * sum(len(name) + 1 for name in names) > 0.72 * inches * 72
    axes.set_xticks(range(len(places)), names, rotation=90 if tight else 0)
