"""Heat maps over two quantities, with the border beyond which an algorithm does not converge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from migsim.errors import InputError
from migsim.plotting import style
from migsim.plotting.heat import ink_on
from migsim.plotting.identity import look_of, ordered
from migsim.plotting.panel import Panel
from migsim.plotting.quantities import quantity_of, written

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure

    from migsim._types import Floats

__all__ = ["border_edges", "border_maps"]

_MOST_PANELS = 60


def border_edges(converges: Sequence[Sequence[bool]] | Floats) -> list[list[tuple[float, float]]]:
    """Return the edges between cells that converge and cells that do not, as pairs of (x, y).

    Cell (row, column) covers column to column + 1 and row to row + 1.

    >>> border_edges([[True, False]])
    [[(1, 0), (1, 1)]]
    """
    table = np.asarray(converges, bool)
    edges: list[list[tuple[float, float]]] = []
    for i, k in np.argwhere(table[:, 1:] != table[:, :-1]):
        edges.append([(int(k) + 1, int(i)), (int(k) + 1, int(i) + 1)])
    for i, k in np.argwhere(table[1:] != table[:-1]):
        edges.append([(int(k), int(i) + 1), (int(k) + 1, int(i) + 1)])
    return edges


def border_maps(
    results: pd.DataFrame,
    panel: Panel,
    *,
    x: str,
    y: str,
    by: str | None,
    limit: float,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return maps of a measurement over ``x`` and ``y``: algorithms across, values of ``by`` down.

    A cell is the mean over the rows that it has; one without rows is empty, and one in which a
    migration did not complete is hatched. The thick line is the border of convergence: on one side
    the mean downtime is at most ``limit`` seconds and all migrations complete, on the other not.
    ``results`` hold no numbers where a migration did not complete. ``width`` in inches. Raises
    `InputError` where there is nothing or too much to draw.
    """
    algorithms = ordered(results["algorithm"].unique())
    groups = sorted(results[by].dropna().unique()) if by else [None]
    xs, ys = (sorted(results[name].dropna().unique()) for name in (x, y))
    if not xs or not ys or not groups:
        raise InputError(f"no result has all of {', '.join(filter(None, (x, y, by)))}")
    if len(algorithms) * len(groups) > _MOST_PANELS:
        raise InputError(
            f"{len(algorithms)} algorithms x {len(groups)} values of {by}: expected at most "
            f"{_MOST_PANELS} maps, choose some with --where"
        )
    # More algorithms than fit beside one another continue below.
    across = max(1, min(len(algorithms), int((width - 0.9) / 0.95)))
    wraps = -(-len(algorithms) // across)
    across = -(-len(algorithms) // wraps)
    height = 0.16 * len(ys) + 0.42
    figure = style.new_figure(width, max(2.2, height * wraps * len(groups) + 1.3))
    grid = figure.subplots(wraps * len(groups), across, sharex=True, sharey=True, squeeze=False)
    values = results[panel.column] * panel.scale
    norm = _norm(values, log=panel.log)
    for axes in grid.flat:
        axes.set_visible(False)
    for j, algorithm in enumerate(algorithms):
        for i, group in enumerate(groups):
            axes = grid[i * wraps + j // across][j % across]
            axes.set_visible(True)
            chosen = results[results["algorithm"] == algorithm]
            if by:
                chosen = chosen[chosen[by] == group]
            _map(axes, chosen, panel, (x, y), (xs, ys), limit, norm)
            label = look_of(algorithm, algorithms).label
            heading = label if by is None else f"{label}\n{_short(by, group)}"
            axes.set_title(style.fold(heading, 0.95 * (width - 0.9) / across, 7.0), fontsize=7.0,
                           pad=2)  # fmt: skip
    _label(grid, x, y, xs, ys)
    _colour_bar(figure, grid, norm, panel.title)
    style.title(figure, title)
    style.note(
        figure,
        f"Thick line: where convergence ends. Crosses: mean downtime above {limit:g} s; hatched: a "
        "migration did not complete.",
    )
    return figure


def _short(column: str, value: object) -> str:
    quantity = quantity_of(column)
    return f"{quantity.name} {written(column, value)}"


def _norm(values: pd.Series, *, log: bool) -> Normalize:
    from matplotlib.colors import LogNorm, Normalize

    known = values.dropna()
    low, high = (float(known.min()), float(known.max())) if len(known) else (1.0, 1.0)
    if not log or low <= 0:
        return Normalize(0.0, high or 1.0)
    norm: LogNorm = LogNorm(low / 1.05, high * 1.05)
    return norm


def _map(
    axes: Axes,
    results: pd.DataFrame,
    panel: Panel,
    names: tuple[str, str],
    places: tuple[list[float], list[float]],
    limit: float,
    norm: Normalize,
) -> None:
    import matplotlib as mpl
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    x, y = names
    xs, ys = places

    def table(values: pd.Series, gap: float) -> Floats:
        grouped = values.groupby([results[y], results[x]]).agg(lambda v: v.mean(skipna=False))
        whole = grouped.unstack().reindex(index=ys, columns=xs)
        return whole.to_numpy(np.float64, na_value=gap)

    means = table(results[panel.column] * panel.scale, np.nan)
    there = table((results["status"] == "completed").astype(float), np.nan)
    colours = mpl.colormaps["cividis_r"]
    axes.pcolormesh(means, cmap=colours, norm=norm, edgecolors="white", linewidth=0.3)
    for i, k in np.argwhere(there < 1):
        axes.add_patch(Rectangle((k, i), 1, 1, facecolor="0.92", hatch="////", edgecolor="0.55",
                                 linewidth=0))  # fmt: skip
    downtime = table(results["downtime_seconds"], np.inf)
    converges = (downtime <= limit) & (np.nan_to_num(there) == 1)
    for i, k in np.argwhere((there == 1) & ~converges):
        axes.plot(k + 0.5, i + 0.5, "x", markersize=3.5, markeredgewidth=0.8,
                  color=ink_on(colours(norm(means[i, k]))))  # fmt: skip
    known = np.isfinite(there)
    edges = [edge for edge in border_edges(converges) if _between_known(edge, known)]
    for thick, colour in ((2.6, "white"), (1.5, "black")):
        axes.add_collection(LineCollection(edges, colors=colour, linewidths=thick, zorder=4,
                                           capstyle="round"))  # fmt: skip
    axes.grid(visible=False)
    axes.set_xlim(0, len(xs))
    axes.set_ylim(0, len(ys))
    axes.tick_params(length=0)


def _between_known(edge: list[tuple[float, float]], known: Floats) -> bool:
    """Tell whether the cells on both sides of an edge have results."""
    (x0, y0), (x1, _) = edge
    i, k = int(y0), int(x0)
    return bool(known[i, k - 1] and known[i, k] if x0 == x1 else known[i - 1, k] and known[i, k])


def _label(grid: np.ndarray, x: str, y: str, xs: list[float], ys: list[float]) -> None:
    across, down = quantity_of(x), quantity_of(y)

    def texts(values: list[float], scale: float) -> list[str]:
        return [
            f"{value * scale:.3g}" if isinstance(value, int | float) else str(value)
            for value in values
        ]

    figure = grid[0][0].figure
    size = (figure.get_size_inches()[0] - 0.9) / grid.shape[1]
    names = texts(xs, across.scale)
    rotation = 90 if sum(len(name) + 1 for name in names) > 14 else 0
    grid[0][0].set_xticks(np.arange(len(xs)) + 0.5, names, rotation=rotation)
    grid[0][0].set_yticks(np.arange(len(ys)) + 0.5, texts(ys, down.scale))
    for column in grid.T:  # the lowest map of each column tells what is across
        lowest = max(k for k, axes in enumerate(column) if axes.get_visible())
        column[lowest].tick_params(labelbottom=True, axis="x", labelrotation=rotation)
        column[lowest].set_xlabel(style.fold(across.title, 0.8 * size), fontsize=7.0)
    for axes in grid.flat:
        axes.tick_params(labelsize=style.SMALL)
    figure.supylabel(down.title, fontsize=7.5)


def _colour_bar(figure: Figure, grid: np.ndarray, norm: Normalize, text: str) -> None:
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FuncFormatter, NullFormatter

    shown = ScalarMappable(norm, mpl.colormaps["cividis_r"])
    bar = figure.colorbar(shown, ax=list(grid.flat), label=text, pad=0.015, fraction=0.05,
                          aspect=30)  # fmt: skip
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
