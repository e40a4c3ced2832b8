"""Choices side by side: what each comes to with its interval, at every value of a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from migsim.plotting import style
from migsim.plotting.identity import OKABE_ITO
from migsim.plotting.panel import Panel
from migsim.stats import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["choice_panels"]

_MARKS = "osD^vPX"


def choice_panels(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    choice: str,
    x: str,
    x_title: str,
    across: str,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return a grid of panels: a row for each measurement, a column for each ``across``.

    Each value of ``x`` has the values of ``choice`` side by side, as means over the seeds with
    bootstrap intervals. ``width`` in inches.
    """
    from matplotlib.lines import Line2D

    choices, groups = (list(dict.fromkeys(results[key])) for key in (choice, across))
    figure = style.new_figure(width, min(1.35 * len(panels) + 0.9, style.TALLEST))
    grid = figure.subplots(len(panels), len(groups), sharex="col", squeeze=False)
    for line, panel in zip(grid, panels, strict=True):
        for axes, group in zip(line, groups, strict=True):
            chosen = results[results[across] == group]
            _draw(axes, chosen, panel, choices, choice, x)
            style.scale_axis([axes.yaxis], log=panel.log)  # groups may be of other orders
        line[0].set_ylabel(style.fold(panel.title, 1.3))
    for axes, group in zip(grid[0], groups, strict=True):
        axes.set_title(str(group), pad=3)
    for axes in grid[-1]:
        axes.set_xlabel(x_title)
    style.title(figure, title)
    style.legend_of(figure, [
        Line2D([], [], label=name, linestyle="none", **_look(k)) for k, name in enumerate(choices)
    ])  # fmt: skip
    return figure


def _look(place: int) -> dict[str, Any]:
    colour = OKABE_ITO[place % len(OKABE_ITO)]
    return {"marker": _MARKS[place % len(_MARKS)], "color": colour, "markersize": 4.0}


def _draw(
    axes: Axes, chosen: pd.DataFrame, panel: Panel, choices: list[str], choice: str, x: str
) -> None:
    values = sorted(chosen[x].unique())
    for k, name in enumerate(choices):
        offset = 0.13 * (k - (len(choices) - 1) / 2)
        for place, value in enumerate(values):
            part = chosen[(chosen[choice] == name) & (chosen[x] == value)]
            seconds = panel.scale * part[panel.column].dropna()
            if seconds.empty:
                continue
            found = bootstrap_interval(seconds)
            axes.errorbar(
                [place + offset], [found.mean],
                yerr=[[found.mean - found.low], [found.high - found.mean]],
                linestyle="none", capsize=1.5, elinewidth=0.8, **_look(k),
            )  # fmt: skip
    axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.grid(visible=False, axis="x")
