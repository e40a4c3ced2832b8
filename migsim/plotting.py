"""One look for all figures: each algorithm has its label, colour and marker everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migsim.errors import InputError
from migsim.stats import Interval, bootstrap_interval
from migsim.units import format_rate, format_seconds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from migsim.network import Link
    from migsim.network.transfer import BulkTransfer

__all__ = [
    "OKABE_ITO",
    "Look",
    "Panel",
    "dot_panels",
    "heat_panels",
    "line_panels",
    "look_of",
    "matrix",
    "ordered",
    "save_figure",
    "transfer_figure",
    "use_style",
]


@dataclass(frozen=True)
class Look:
    """How an algorithm is drawn, and what it is called in a narrow table."""

    label: str
    short: str
    colour: str
    marker: str


# Okabe and Ito's colour-blind safe palette; the markers tell them apart in grey.
_LOOKS = {
    "stop_and_copy": Look("stop-and-copy", "stop", "#7f7f7f", "s"),
    "precopy": Look("pre-copy", "pre", "#0072b2", "o"),
    "delta": Look("delta", "delta", "#56b4e9", "D"),
    "xbzrle": Look("XBZRLE", "XBZRLE", "#117733", "d"),
    "compressed": Look("compressed", "compr.", "#aa4499", "p"),
    "adaptive_compression": Look("adaptive compression", "adaptive", "#661100", "h"),
    "multifd": Look("multifd", "multifd", "#332288", "8"),
    "dedup": Look("dedup", "dedup", "#999933", "H"),
    "xen": Look("Xen", "Xen", "#ddcc77", "<"),
    "cloud_hypervisor": Look("Cloud Hypervisor", "CloudHyp", "#88ccee", ">"),
    "vmotion": Look("vMotion", "vMotion", "#009e73", "^"),
    "hybrid": Look("hybrid", "hybrid", "#e69f00", "P"),
    "postcopy": Look("post-copy", "post", "#d55e00", "v"),
    "qemu": Look("QEMU", "QEMU", "#b3002d", "X"),
    "xen_postcopy": Look("Xen post-copy", "Xen post", "#ee8866", "1"),
    "clairvoyant": Look("clairvoyant", "clairv.", "#000000", "|"),
}
OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
"""The same palette for what are no algorithms."""

_OTHERS = ("#cc79a7", "#b2a100", "#882255", "#44aa99")
_OTHER_MARKERS = ("X", "*", "<", ">")


def look_of(algorithm: str, algorithms: Sequence[str] = ()) -> Look:
    """Return the look of an algorithm; one that is not ours gets one by its place in the list."""
    if algorithm in _LOOKS:
        return _LOOKS[algorithm]
    others = sorted({algorithm, *(name for name in algorithms if name not in _LOOKS)})
    place = others.index(algorithm)
    name = _short_name(algorithm, others)
    marker = _OTHER_MARKERS[(place + place // len(_OTHERS)) % len(_OTHER_MARKERS)]
    return Look(name, name, _OTHERS[place % len(_OTHERS)], marker)


def _short_name(algorithm: str, others: Sequence[str]) -> str:
    """Return the shortest end of ``file.py:function`` that names no other algorithm."""
    taken = {name for look in _LOOKS.values() for name in (look.label, look.short)} | set(_LOOKS)
    for mark in (":", "/"):
        name = algorithm.rpartition(mark)[2]
        alike = sum(other.rpartition(mark)[2] == name for other in others)
        # Matplotlib leaves names that start with an underscore out of a legend.
        if alike == 1 and name not in taken and not name.startswith("_"):
            return name
    return algorithm


def matrix(results: pd.DataFrame, column: str, scale: float = 1.0) -> pd.DataFrame:
    """Return the means of a measurement: a row for each label, a column for each algorithm.

    Missing where a value is missing.
    """
    algorithms = ordered(results["algorithm"].unique())
    groups = results.groupby(["label", "algorithm"], sort=False)[column]
    means = groups.agg(lambda values: values.mean(skipna=False)).unstack() * scale
    short = {name: look_of(name, algorithms).short for name in algorithms}
    labels = list(dict.fromkeys(results["label"]))
    return means.loc[labels, algorithms].rename(columns=short).reset_index(names="")


def ordered(algorithms: Iterable[str]) -> list[str]:
    """Return the algorithms in the order of all figures: ours from plain to bound, then others."""
    names = set(algorithms)
    known = [name for name in _LOOKS if name in names]
    return known + sorted(names - set(known))


@dataclass(frozen=True)
class Panel:
    """One measurement to be drawn.

    Attributes:
        column: the column of the results.
        title: what it is, with its unit.
        scale: multiplies the values, such as 1e-9 for bytes in GB.
        log: whether the axis is logarithmic; of a ratio's colours: whether 1 is their middle.
    """

    column: str
    title: str
    scale: float = 1.0
    log: bool = False


def use_style() -> None:
    """Set the look of all figures."""
    import matplotlib as mpl
    import seaborn as sns

    sns.set_theme(context="paper", style="ticks", font_scale=1.1)
    mpl.rcParams["axes.grid"] = True
    mpl.rcParams["grid.color"] = "0.92"


def _scale(axis: Axis, panel: Panel) -> None:
    """Make an axis logarithmic with plain numbers, or let it start at zero."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_data_interval()
    is_x = axis is axis.axes.xaxis
    if not panel.log or low <= 0:
        (axis.axes.set_xlim if is_x else axis.axes.set_ylim)(0, 1.08 * high if high > 0 else 1)
        return
    (axis.axes.set_xscale if is_x else axis.axes.set_yscale)("log")
    subs: tuple[float, ...] = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
    if high / low < 5:
        subs = (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _error_bar(
    axes: Axes,
    x: float,
    y: float,
    interval: Interval,
    look: Look,
    *,
    along_x: bool,
    mark: float = 6.0,
) -> None:
    reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
    is_bar = look.marker == "|"
    axes.errorbar(
        [x],
        [y],
        xerr=reach if along_x else None,
        yerr=None if along_x else reach,
        fmt=look.marker,
        color=look.colour,
        markersize=mark,
        capsize=2,
        markeredgewidth=2.0 if is_bar else 0.5,
        linewidth=1,
        markeredgecolor=look.colour if is_bar else "white",
        zorder=3,
    )


def _legend(figure: Figure, algorithms: Sequence[str], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for name in algorithms:
        look = look_of(name, algorithms)
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle="none",
                              markeredgewidth=2.0 if look.marker == "|" else 0.5,
                              label=look.label))  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)


def dot_panels(results: pd.DataFrame, panels: Sequence[Panel], *, rows: str, title: str) -> Figure:
    """Return a figure with a line for each value of the column ``rows`` and a panel a measurement.

    A mark is the mean over the seeds, with its 95 % bootstrap interval where that is wider than
    the mark. Nothing is drawn where a value is missing: a migration did not complete.
    """
    from matplotlib.figure import Figure

    use_style()
    algorithms = ordered(results["algorithm"].unique())
    names = list(results[rows].unique())
    size = (2.7 * len(panels) + 1.6, 0.52 * len(names) + 1.7)
    figure = Figure(figsize=size, layout="constrained")
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
                _error_bar(axes, interval.mean, place + offset, interval, look, along_x=True)
        axes.set_title(panel.title, fontsize="medium")
        _scale(axes.xaxis, panel)
        for place in range(len(names) - 1):
            axes.axhline(place + 0.5, color="0.85", linewidth=0.8, zorder=0)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(title, fontsize="large", fontweight="bold")
    _legend(figure, algorithms, min(len(algorithms), 7))
    return figure


def line_panels(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    x: str,
    x_title: str,
    rows: str,
    title: str,
) -> Figure:
    """Return a grid of line plots: a row for each value of ``rows``, a column a measurement.

    Lines are means over the seeds against ``x``, whose values are equally far apart, with 95 %
    bootstrap intervals; they are broken where a value is missing. A column shares its vertical
    axis. Marks become smaller from algorithm to algorithm, so that equal values do not hide one
    another.
    """
    from matplotlib.figure import Figure

    use_style()
    algorithms = ordered(results["algorithm"].unique())
    names = list(results[rows].unique())
    size = (2.6 * len(panels) + 0.4, 1.9 * len(names) + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(names), len(panels), sharex=True, sharey="col", squeeze=False)
    for i, name in enumerate(names):
        for j, panel in enumerate(panels):
            axes = grid[i][j]
            _lines(axes, results[results[rows] == name], panel, x, algorithms)
            if i == 0:
                axes.set_title(panel.title, fontsize="medium")
            if i == len(names) - 1:
                axes.set_xlabel(x_title)
            if j == 0:
                axes.set_ylabel(name)
    figure.suptitle(title, fontsize="large", fontweight="bold")
    _legend(figure, algorithms, min(len(algorithms), 7))
    return figure


def _lines(
    axes: Axes, results: pd.DataFrame, panel: Panel, x: str, algorithms: Sequence[str]
) -> None:
    places = sorted(results[x].unique())
    for k, algorithm in enumerate(algorithms):
        chosen = results[results["algorithm"] == algorithm]
        look = look_of(algorithm, algorithms)
        mark = 8.0 - 4.5 * k / max(1, len(algorithms) - 1)
        means = []
        for place, value in enumerate(places):
            values = chosen[chosen[x] == value][panel.column]
            if values.empty or values.isna().any():
                means.append(math.nan)
                continue
            interval = bootstrap_interval(values * panel.scale)
            means.append(interval.mean)
            _error_bar(axes, place, interval.mean, interval, look, along_x=False, mark=mark)
        axes.plot(range(len(places)), means, color=look.colour, linewidth=1)
    axes.set_xticks(range(len(places)), [f"{value:g}" for value in places])
    _scale(axes.yaxis, panel)


def heat_panels(
    results: pd.DataFrame,
    panels: Sequence[Panel],
    *,
    rows: str,
    columns: str,
    across: str,
    title: str,
) -> Figure:
    """Return a grid of coloured tables: a row for each panel, a column for each ``across``.

    A cell is the mean over the seeds, as a number and as a colour: blue below 1 and red above it
    for ratios (``log``), else the darker the more. It is blank where a value is missing. For
    comparisons of too many things to tell apart as marks.
    """
    from matplotlib.figure import Figure

    use_style()
    names, kinds, groups = (list(dict.fromkeys(results[key])) for key in (rows, columns, across))
    width = 0.42 * max(6, len(kinds))  # a title has to fit above
    size = (width * len(groups) + 2.6, (0.19 * len(names) + 0.3) * len(panels) + 1.4)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(panels), len(groups), sharex=True, sharey=True, squeeze=False)
    for i, panel in enumerate(panels):
        most = float(results[panel.column].max()) * panel.scale
        for j, group in enumerate(groups):
            chosen = results[results[across] == group]
            means = chosen.groupby([rows, columns])[panel.column]
            table = means.agg(lambda values: values.mean(skipna=False)).unstack()
            table = table.reindex(index=names, columns=kinds) * panel.scale
            _heat(grid[i][j], table, most, log=panel.log)
            grid[i][j].set_title(f"{panel.title}, {group}", fontsize="medium")
    grid[0][0].set_yticks([place + 0.5 for place in range(len(names))], names)
    grid[0][0].invert_yaxis()
    for axes in grid[-1]:
        axes.set_xticks(
            [place + 0.5 for place in range(len(kinds))],
            kinds,
            rotation=45,
            ha="right",
            rotation_mode="anchor",
        )
    figure.suptitle(title, fontsize="large", fontweight="bold")
    return figure


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
            red, green, blue, _ = colours(norm(value))
            bright = 0.3 * red + 0.6 * green + 0.1 * blue > 0.5
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            axes.text(k + 0.5, i + 0.5, f"{value:.{digits}f}", ha="center", va="center",
                      fontsize=6.5, color="black" if bright else "white")  # fmt: skip
    axes.grid(visible=False)
    axes.tick_params(length=0)


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure to a file whose ending names the format. Raises `InputError`."""
    try:
        figure.savefig(path, dpi=dpi)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot write figure '{path}': {reason}") from None


def transfer_figure(transfer: BulkTransfer, link: Link, name: str) -> Figure:
    """Return rate, window, queue and the wait for a small request of a bulk transfer over time."""
    from matplotlib.figure import Figure

    use_style()
    rows = transfer.series(300)
    blue, orange = OKABE_ITO[0], OKABE_ITO[3]
    panels: tuple[tuple[str, float, tuple[tuple[str, str, str], ...]], ...] = (
        ("payload rate\n(Mbit/s)", 8e-6, (("rate", blue, ""),)),
        ("in flight (MB)", 1e-6, (("window", blue, ""),)),
        ("in the queue (MB)", 1e-6, (("queue", blue, ""),)),
        ("reply to a small\nrequest (ms)", 1e3,
         (("reply", blue, "own connection"), ("reply_behind_bulk", orange, "behind the bulk"))),
    )  # fmt: skip
    figure = Figure(figsize=(7.0, 7.2), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True)
    seconds = [row["seconds"] for row in rows]
    for axes, (title, scale, lines) in zip(grid, panels, strict=True):
        for key, colour, label in lines:
            values = [math.nan if (value := row[key]) is None else value * scale for row in rows]
            axes.plot(seconds, values, color=colour, linewidth=1, label=label)
        axes.set_ylabel(title)
        axes.set_ylim(bottom=0)
    grid[-1].legend(frameon=False, loc="upper right")
    if math.isfinite(link.goodput):
        grid[0].axhline(link.goodput * 8e-6, color="0.5", linewidth=0.8, linestyle="--")
    grid[-1].set_xlabel("time (s)")
    figure.suptitle(
        f"{name}: {format_rate(link.rate)}, {format_seconds(link.rtt)}, {link.congestion}",
        fontsize="large",
        fontweight="bold",
    )
    return figure
