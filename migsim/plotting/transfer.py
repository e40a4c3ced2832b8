"""A bulk transfer over a link, over time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from migsim.plotting import style
from migsim.plotting.identity import OKABE_ITO
from migsim.units import format_rate, format_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from migsim.network import Link
    from migsim.network.transfer import BulkTransfer

__all__ = ["transfer_figure"]


def transfer_figure(
    transfer: BulkTransfer, link: Link, name: str, width: float = style.PAGE
) -> Figure:
    """Return rate, window, queue and the wait for a small request of a bulk transfer over time.

    ``width`` in inches.
    """
    rows = transfer.series(300)
    blue, orange = OKABE_ITO[0], OKABE_ITO[3]
    panels: tuple[tuple[str, float, tuple[tuple[str, str, str], ...]], ...] = (
        ("payload rate\n(Mbit/s)", 8e-6, (("rate", blue, ""),)),
        ("in flight (MB)", 1e-6, (("window", blue, ""),)),
        ("in the queue (MB)", 1e-6, (("queue", blue, ""),)),
        ("reply to a small\nrequest (ms)", 1e3,
         (("reply", blue, "own connection"), ("reply_behind_bulk", orange, "behind the bulk"))),
    )  # fmt: skip
    figure = style.new_figure(width, 5.2)
    grid = figure.subplots(len(panels), 1, sharex=True)
    seconds = [row["seconds"] for row in rows]
    for axes, (heading, scale, lines) in zip(grid, panels, strict=True):
        for k, (key, colour, label) in enumerate(lines):
            values = [math.nan if (value := row[key]) is None else value * scale for row in rows]
            axes.plot(seconds, values, color=colour, linewidth=1, label=label, ls=("-", "--")[k])
        axes.set_ylabel(heading)
        axes.set_ylim(bottom=0)
    handles, labels = grid[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    if math.isfinite(link.goodput):
        grid[0].axhline(link.goodput * 8e-6, color="0.5", linewidth=0.8, linestyle="--")
    grid[-1].set_xlabel("time (s)")
    figure.align_ylabels(grid)
    style.title(
        figure, f"{name}: {format_rate(link.rate)}, {format_seconds(link.rtt)}, {link.congestion}"
    )
    return figure
