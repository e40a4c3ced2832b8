"""Coloured tables with numbers: comparisons of too many things to tell apart as marks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from migsim.plotting import style
from migsim.plotting.panel import Panel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["heat_panels", "ink_on"]


def heat_panels(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    rows: str,
    columns: str,
    across: str,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return a grid of coloured tables: a row for each panel, a column for each ``across``.

    A cell is the mean over the seeds, as a number and as a colour: blue below 1 and red above it
    for ratios (``log``), else the darker the more. It is blank where a value is missing. For
    comparisons of too many things to tell apart as marks. ``width`` in inches.
    """
    names, kinds, groups = (list(dict.fromkeys(results[key])) for key in (rows, columns, across))
    height = (0.125 * len(names) + 0.24) * len(panels) + 1.1
    figure = style.new_figure(width, min(height, style.TALLEST))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
    grid = figure.subplots(len(panels), len(groups), sharex=True, sharey=True, squeeze=False)
    for i, panel in enumerate(panels):
        most = float(results[panel.column].max()) * panel.scale
        for j, group in enumerate(groups):
            chosen = results[results[across] == group]
            means = chosen.groupby([rows, columns])[panel.column]
            table = means.agg(lambda values: values.mean(skipna=False)).unstack()
            table = table.reindex(index=names, columns=kinds) * panel.scale
            _heat(grid[i][j], table, most, log=panel.log)
            heading = style.fold(f"{panel.title}, {group}", 0.88 * width / len(groups))
            grid[i][j].set_title(heading, pad=3)
    grid[0][0].set_yticks([place + 0.5 for place in range(len(names))], names)
    grid[0][0].invert_yaxis()
    for row in grid:
        row[0].tick_params(axis="y", labelsize=style.SMALL)
    for axes in grid[-1]:
        axes.set_xticks([place + 0.5 for place in range(len(kinds))], kinds, rotation=90)
    style.title(figure, title)
    return figure


def ink_on(colour: tuple[float, ...]) -> str:
    """Return black or white, whichever is read more easily on a colour (red, green, blue, ...)."""
    red, green, blue = colour[:3]
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 0.5 else "white"


def _heat(axes: Axes, table: pd.DataFrame, most: float, *, log: bool) -> None:
    """Draw one table; beyond a quarter and four times a ratio's number tells, not its colour."""
    import matplotlib as mpl
    from matplotlib.colors import LogNorm, Normalize

    norm = LogNorm(0.25, 4.0, clip=True) if log else Normalize(0.0, most or 1.0)
    colours = mpl.colormaps["RdBu_r" if log else "Greys"]
    axes.pcolormesh(table.to_numpy(float), cmap=colours, norm=norm, edgecolors="white")
    for i, row in enumerate(table.to_numpy(float)):
        for k, value in enumerate(row):
            if not math.isfinite(value):
                continue
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            axes.text(k + 0.5, i + 0.5, f"{value:.{digits}f}", ha="center", va="center_baseline",
                      fontsize=style.SMALL, color=ink_on(colours(norm(value))))  # fmt: skip
    axes.grid(visible=False)
    axes.tick_params(length=0)
