"""The figure of a fleet's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migsim.fleet.history import History
from migsim.plotting.fleet import Bar, Shade, fleet_figure
from migsim.units import format_seconds, format_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["history_figure"]


def history_figure(history: History) -> Figure:
    """Return the migrations of a history over time, with what broke meanwhile."""
    bars = [
        Bar(
            vm=leg.vm, source=leg.source, destination=leg.destination, started=leg.started,
            ended=min(leg.ended, history.at), paused=leg.paused, downtime=leg.downtime,
            ending=leg.ending,
        )
        for leg in history.legs
    ]  # fmt: skip
    shades = [
        Shade(
            label=f"{trouble.target} {'crashed' if trouble.kind == 'crash' else trouble.kind}",
            begins=trouble.begins, ends=min(trouble.ends, history.at),
            whole=trouble.kind != "slow",
        )
        for trouble in history.troubles
        if trouble.begins < history.at
    ]  # fmt: skip
    title = (
        f"{history.name}: {len(bars)} migrations, {format_seconds(history.downtime)} "
        f"of downtime in all, {format_size(history.sent)} sent"
    )
    return fleet_figure(bars, shades, title=title)
