"""Dots with intervals: algorithms beside one another, on many guests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from migsim.plotting import style
from migsim.plotting.identity import look_of, ordered
from migsim.plotting.panel import Panel
from migsim.stats import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["dot_panels"]


def dot_panels(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    rows: str,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return a figure with a line for each value of the column ``rows`` and a panel a measurement.

    A mark is the mean over the seeds, with its 95 % bootstrap interval where that is wider than
    the mark. Nothing is drawn where a value is missing: a migration did not complete. ``width`` in
    inches.
    """
    algorithms = ordered(results["algorithm"].unique())
    names = list(results[rows].unique())
    shown = [style.fold(str(name), 0.22 * width, 7.0) for name in names]
    lines = max(1.0, *(0.3 * (name.count("\n") + 1) for name in shown), 0.07 * len(algorithms))
    height = max(0.11, 0.42 * lines) * len(names) if len(names) > 1 else 0.9 * lines
    figure = style.new_figure(width, height + 1.1)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        for place, name in enumerate(names):
            for k, algorithm in enumerate(algorithms):
                chosen = results[(results[rows] == name) & (results["algorithm"] == algorithm)]
                values = chosen[panel.column]
                if values.empty or values.isna().any():
                    continue
                interval = bootstrap_interval(values * panel.scale)
                offset = (k - (len(algorithms) - 1) / 2) * 0.8 / len(algorithms)
                look = look_of(algorithm, algorithms)
                style.draw_interval(
                    axes, interval.mean, place + offset, interval, look, along_x=True
                )
        axes.set_title(style.fold(panel.title, 0.8 * width / len(panels)))
        style.scale_axis([axes.xaxis], log=panel.log)
        for place in range(len(names) - 1):
            axes.axhline(place + 0.5, color="0.85", linewidth=0.6, zorder=0)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(range(len(names)), shown)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    style.title(figure, title)
    style.legend(figure, algorithms)
    return figure
