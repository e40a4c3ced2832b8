"""How long accesses at the destination wait for their pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from migsim.plotting import style
from migsim.plotting.identity import look_of, ordered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from migsim._types import Floats

__all__ = ["latency_panels"]


def latency_panels(
    latencies: Mapping[str, Mapping[str, Sequence[Floats]]],
    *,
    title: str,
    width: float = style.PAGE,
) -> Figure:
    """Return distributions of fault latencies (seconds): a panel a scenario, a line an algorithm.

    ``latencies`` has the faults of one or more migrations by scenario and algorithm. The height is
    the share of faults that take at most so long. ``width`` in inches.
    """
    algorithms = ordered({name for panel in latencies.values() for name in panel})
    across = min(len(latencies), 3 if width > 5 else 1)
    down = -(-len(latencies) // across)
    figure = style.new_figure(width, 1.9 * down + 0.9)
    grid = figure.subplots(down, across, sharey=True, sharex=True, squeeze=False)
    for axes in grid.flat[len(latencies) :]:
        axes.set_visible(False)
    for k, (axes, (name, panel)) in enumerate(zip(grid.flat, latencies.items(), strict=False)):
        for algorithm in algorithms:
            seen = [times for times in panel.get(algorithm, ()) if times.size]
            if not seen:
                continue
            look = look_of(algorithm, algorithms)
            axes.ecdf(1e3 * np.concatenate(seen), color=look.colour, linestyle=look.line,
                      linewidth=1.2)  # fmt: skip
        axes.set_title(style.fold(name, 0.8 * width / across))
        if k % across == 0:
            axes.set_ylabel("share of faults")
        if k + across >= len(latencies):
            axes.set_xlabel("latency of a fault (ms)")
            axes.tick_params(labelbottom=True)
    style.scale_axis([axes.xaxis for axes in grid.flat[: len(latencies)]], log=True)
    grid[0][0].set_ylim(0, 1.02)
    style.title(figure, title)
    style.line_legend(figure, algorithms)
    return figure
