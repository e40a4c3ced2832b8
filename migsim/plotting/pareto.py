"""Pareto fronts: downtime against total time."""

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

__all__ = ["front", "pareto_panels"]


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other is better than in one and as good in the other coordinate.

    Less is better. They come in order of the first coordinate.

    >>> front([(1, 5), (2, 2), (3, 3), (4, 1)])
    [(1, 5), (2, 2), (4, 1)]
    """
    best: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best


def pareto_panels(
    results: pd.DataFrame,
    x: Panel,
    y: Panel,
    *,
    by: str,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return a panel for each value of ``by``: algorithms by two measurements, less being better.

    Marks are means over the rows, with 95 % bootstrap intervals; the line joins the algorithms that
    no other beats in both. Who did not complete is not there. ``width`` in inches.
    """
    algorithms = ordered(results["algorithm"].unique())
    names = list(dict.fromkeys(results[by]))
    across = min(len(names), 4 if width > 5 else 2)
    down = -(-len(names) // across)
    size = width / across
    figure = style.new_figure(width, down * max(1.5, 0.8 * size if across > 1 else 0.6 * size) + 1)
    grid = figure.subplots(down, across, squeeze=False)
    for k, axes in enumerate(grid.flat):
        if k >= len(names):
            axes.set_visible(False)
            continue
        _front(axes, results[results[by] == names[k]], x, y, algorithms)
        axes.set_title(style.fold(str(names[k]), 0.8 * size))
        last = k + across >= len(names)
        axes.set(xlabel=x.title if last else "", ylabel=y.title if k % across == 0 else "")
    style.title(figure, title)
    style.legend(figure, algorithms)
    return figure


def _front(
    axes: Axes, results: pd.DataFrame, x: Panel, y: Panel, algorithms: Sequence[str]
) -> None:
    points = []
    for k, algorithm in enumerate(algorithms):
        chosen = results[results["algorithm"] == algorithm]
        across, up = chosen[x.column] * x.scale, chosen[y.column] * y.scale
        if chosen.empty or across.isna().any() or up.isna().any():
            continue
        look = look_of(algorithm, algorithms)
        over, high = bootstrap_interval(across), bootstrap_interval(up)
        mark = 6.5 - 3.0 * k / max(1, len(algorithms) - 1)  # so that equal ones show
        style.draw_interval(axes, over.mean, high.mean, over, look, along_x=True, mark=mark)
        style.draw_interval(axes, over.mean, high.mean, high, look, along_x=False, mark=mark)
        points.append((over.mean, high.mean))
    best = front(points)
    if best:
        axes.step([p[0] for p in best], [p[1] for p in best], where="post", color="0.35",
                  linewidth=0.9, zorder=1)  # fmt: skip
    style.scale_axis([axes.xaxis], log=x.log)
    style.scale_axis([axes.yaxis], log=y.log)
