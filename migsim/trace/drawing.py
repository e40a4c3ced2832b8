"""The figure of a trace: where and when pages are written, how fast, and the working set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from migsim.plotting import save_figure, style
from migsim.trace.analysis import density, working_sets
from migsim.trace.format import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw", "save"]

_MIB: Final = 1024**2
_TIME_BINS, _PAGE_BINS = 300, 256
_COLOUR: Final = "#1f4e79"


def _draw_map(axes: Axes, trace: Trace) -> None:
    from matplotlib.colors import PowerNorm

    share = 100 * density(trace, _PAGE_BINS, _TIME_BINS)
    size = trace.pages_total * trace.page_size / _MIB
    image = axes.imshow(
        np.ma.masked_equal(share, 0),
        origin="lower",
        aspect="auto",
        extent=(0, trace.duration, 0, size),
        cmap="viridis_r",
        norm=PowerNorm(0.4, 0, max(1e-9, float(share.max()))),
        interpolation="nearest",
    )
    axes.set(ylabel="memory by address (MiB)", title="(a) Pages written per interval")
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, label="share of pages written (%)", pad=0.015)


def _draw_rate(axes: Axes, trace: Trace) -> None:
    lengths = np.diff(trace.ends, prepend=0.0)
    rate = trace.counts * trace.page_size / lengths / _MIB
    edges = np.concatenate([[0.0], trace.ends])
    axes.stairs(rate, edges, baseline=None, color=_COLOUR, linewidth=0.9)
    axes.stairs(rate, edges, fill=True, color=_COLOUR, alpha=0.15, linewidth=0)
    axes.set(xlabel="time (s)", ylabel="dirty rate (MiB/s)", title="(b) Dirty rate")
    axes.set_xlim(0, trace.duration)
    axes.set_ylim(0, 1.08 * max(1e-3, float(rate.max(initial=0.0))))


def _draw_working_set(axes: Axes, trace: Trace) -> None:
    from matplotlib.ticker import FuncFormatter

    shortest = max(1e-3, float(np.median(np.diff(trace.ends, prepend=0.0))))
    steps = np.unique(np.geomspace(1, max(1, trace.counts.size), 24).astype(np.int64))
    found = working_sets(trace, tuple(float(step) * shortest for step in steps))
    scale = trace.page_size / _MIB
    windows = [w.window for w in found]
    axes.plot(windows, [w.mean * scale for w in found], color=_COLOUR, label="mean")
    axes.plot(windows, [w.maximum * scale for w in found], color=_COLOUR, ls="--", label="largest")
    axes.axhline(trace.pages_total * scale, color="0.5", lw=0.8, ls=":", label="all pages")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.08 * max(1e-3, trace.pages_total * scale))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="window (s)", ylabel="working set (MiB)", title="(c) Working set")
    axes.legend(frameon=False, loc="best")


def draw(trace: Trace, title: str = "") -> Figure:
    """Return the figure of a trace: the map of writes above, rate and working set below.

    The map shows what numbers hide: sweeps of a garbage collector, hot spots, phases.
    """
    import seaborn as sns

    figure = style.new_figure(style.PAGE, 5.2)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.35, 1))
    _draw_map(figure.add_subplot(grid[0, :]), trace)
    _draw_rate(figure.add_subplot(grid[1, 0]), trace)
    _draw_working_set(figure.add_subplot(grid[1, 1]), trace)
    figure.axes[0].set_xlabel("time (s)")
    for axes in figure.axes[:1] + figure.axes[2:]:
        sns.despine(ax=axes)
    if title:
        style.title(figure, title)
    return figure


def save(trace: Trace, path: str | os.PathLike[str], title: str = "") -> None:
    """Write the figure to a file in the format that its extension names."""
    save_figure(draw(trace, title), Path(path), dpi=160)
