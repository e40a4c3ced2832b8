"""Tiles: what became of each case, by one of a few words, each with its colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from migsim.plotting import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["tile_panels"]

_TILE_INCHES = 0.135
_ACROSS = 3


def tile_panels(
    results: pd.DataFrame,
    column: str,
    words: Mapping[str, tuple[str, str]],
    *,
    rows: str,
    columns: str,
    panels: str,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return a grid of panels with a coloured tile for each row and column.

    ``words`` are the values of ``column``, from the mildest to the worst, each with what it means
    and its colour. Where several results fall into one tile, it shows the worst of them; it is
    blank where there are none. ``width`` in inches.
    """
    from matplotlib.patches import Patch

    names, kinds, groups = (list(dict.fromkeys(results[key])) for key in (rows, columns, panels))
    across = min(_ACROSS, len(groups))
    down = -(-len(groups) // across)
    height = (_TILE_INCHES * len(names) + 0.3) * down + 1.6
    figure = style.new_figure(width, min(height, style.TALLEST))
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    rank = {word: place for place, word in enumerate(words)}
    worst = results.assign(rank=results[column].map(rank)).groupby([panels, rows, columns])["rank"]
    table = worst.max()
    for place, axes in enumerate(grid.flat):
        if place >= len(groups):
            axes.set_visible(False)
            continue
        chosen = table[groups[place]].unstack().reindex(index=names, columns=kinds)
        _draw(axes, chosen, [colour for _, colour in words.values()])
        axes.set_title(style.fold(str(groups[place]), 0.8 * width / across), pad=3)
    grid[0][0].set_yticks([place + 0.5 for place in range(len(names))], names)
    grid[0][0].invert_yaxis()
    for line in grid:
        line[0].tick_params(axis="y", labelsize=style.SMALL)
    for axes in grid[-1]:
        axes.set_xticks([place + 0.5 for place in range(len(kinds))], kinds, rotation=90)
        axes.tick_params(axis="x", labelsize=style.SMALL)
    style.title(figure, title)
    style.legend_of(figure, [Patch(color=colour, label=told) for told, colour in words.values()])
    return figure


def _draw(axes: Axes, table: pd.DataFrame, colours: list[str]) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap

    norm = BoundaryNorm([place - 0.5 for place in range(len(colours) + 1)], len(colours))
    axes.pcolormesh(
        table.to_numpy(float), cmap=ListedColormap(colours), norm=norm, edgecolors="white",
        linewidth=0.4,
    )  # fmt: skip
    axes.grid(visible=False)
    axes.tick_params(length=0)
