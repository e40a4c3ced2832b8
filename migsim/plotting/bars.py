"""Bars with intervals: algorithms beside one another, by scenario."""

from __future__ import annotations

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

__all__ = ["bar_panels"]


def bar_panels(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    rows: str,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return a figure with a group of bars for each value of ``rows``, and a panel a measurement.

    A bar is the mean over the seeds, its whisker the 95 % bootstrap interval. There is no bar where
    a value is missing: a migration did not complete. ``width`` in inches.
    """
    algorithms = ordered(results["algorithm"].unique())
    names = list(dict.fromkeys(results[rows]))
    shown = [style.fold(str(name), 0.24 * width, 7.0) for name in names]
    lines = max([0.14 * (name.count("\n") + 1) for name in shown], default=0.0)
    group = max(0.1 * len(algorithms) + 0.08, lines)
    figure = style.new_figure(width, group * len(names) + 1.3)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        for place, name in enumerate(names):
            _bars(axes, results[results[rows] == name], panel, algorithms, place)
        axes.set_title(style.fold(panel.title, 0.7 * width / len(panels)))
        style.scale_axis([axes.xaxis], log=False)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(range(len(names)), shown)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    style.title(figure, title)
    style.bar_legend(figure, algorithms)
    return figure


def _bars(
    axes: Axes, results: pd.DataFrame, panel: Panel, algorithms: Sequence[str], place: int
) -> None:
    thick = 0.86 / len(algorithms)
    for k, algorithm in enumerate(algorithms):
        values = results[results["algorithm"] == algorithm][panel.column]
        if values.empty or values.isna().any():
            continue
        look = look_of(algorithm, algorithms)
        interval = bootstrap_interval(values * panel.scale)
        axes.barh(
            place + (k - (len(algorithms) - 1) / 2) * thick, interval.mean, height=thick,
            xerr=[[interval.mean - interval.low], [interval.high - interval.mean]],
            error_kw={"elinewidth": 0.8, "capsize": 1.5, "ecolor": "0.15"}, zorder=2,
            **look.bar(),
        )  # fmt: skip
