"""One migration over time: pages by kind, what is dirty, the link, and the guest's speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from migsim.plotting import style
from migsim.plotting.identity import OKABE_ITO
from migsim.timeline import Timeline
from migsim.watch import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from migsim._types import Floats

__all__ = ["KINDS", "sent_by_kind", "timeline_figure"]

KINDS = {
    "first copy": (OKABE_ITO[0], ""),
    "zero page": (OKABE_ITO[2], "----"),
    "sent again": (OKABE_ITO[1], "\\\\\\\\"),
    "pushed": (OKABE_ITO[5], "...."),
    "demanded": (OKABE_ITO[3], "xxxx"),
}
"""Why pages are sent: colour and hatch, from the bottom of the stack to its top."""

_MOST_ROUNDS = 12
"""Rounds that are numbered; of more, every second, fifth or tenth is."""


def sent_by_kind(samples: Sequence[Sample], ends: Floats) -> dict[str, Floats]:
    """Return the pages sent by kind up to each of ``ends`` (seconds), float64 (len(ends),).

    What leaves after the switch-over unasked was pushed. Zero pages are taken to be first copies as
    far as there are any between two samples: nothing else is known of them.
    """
    seconds = np.array([sample.seconds for sample in samples])
    keys = ("first", "resent", "demanded", "zeros")
    steps = {key: np.diff([getattr(sample, key) for sample in samples], prepend=0) for key in keys}
    late = np.array([sample.place == "destination" for sample in samples])
    zeros_first = np.minimum(steps["zeros"], steps["first"])
    first = steps["first"] - zeros_first
    again = np.maximum(0, steps["resent"] - (steps["zeros"] - zeros_first))
    parts = {
        "first copy": np.where(late, 0, first),
        "zero page": steps["zeros"],
        "sent again": np.where(late, 0, again),
        "pushed": np.where(late, first + again, 0),
        "demanded": steps["demanded"],
    }
    return {
        kind: np.interp(ends, seconds, np.cumsum(part), left=0.0) for kind, part in parts.items()
    }


def timeline_figure(
    samples: Sequence[Sample],
    timeline: Timeline,
    *,
    total: float,
    resumed: float,
    page_size: int,
    pages: int,
    goodput: float,
    title: str,
    bins: int = 200,
    width: float = style.PAGE,
) -> Figure:
    """Return the figure of a migration that was looked at (`migsim.watch`).

    ``total`` and ``resumed`` are the seconds at which it and its downtime ended, ``goodput`` the
    bytes per second that the link carries at most, ``pages`` those of the guest, each of
    ``page_size`` bytes. Rates are means over ``total / bins`` seconds. ``width`` in inches.
    """
    figure = style.new_figure(width, 6.0)
    grid = figure.subplots(4, 1, sharex=True, height_ratios=(1.5, 1.4, 1.1, 0.8))
    edges = np.linspace(0.0, total, bins + 1)
    handles = _draw_pages(grid[0], samples, edges)
    handles += _draw_dirty(grid[1], samples, timeline, page_size / 1024**2, pages)
    _draw_link(grid[2], samples, edges, goodput)
    _draw_speed(grid[3], samples, edges)
    pauses = [event.end for event in timeline if event.act == "pause"]
    if pauses:
        for axes in grid:
            shade = axes.axvspan(pauses[0], resumed, color="0.55", alpha=0.45, lw=0, zorder=0)
            axes.axvline(pauses[0], color="0.35", linewidth=0.7, zorder=0.5)
        shade.set_label("guest paused")
        handles.append(shade)
    _mark_rounds(grid, timeline, total)
    grid[-1].set_xlabel("time (s)")
    grid[-1].set_xlim(0, total)
    figure.align_ylabels(list(grid))
    style.title(figure, title)
    style.legend_of(figure, handles)
    return figure


def _draw_pages(axes: Axes, samples: Sequence[Sample], edges: Floats) -> list[Any]:
    """Draw the pages that leave each second, stacked; return what the legend shows."""
    spans = np.diff(edges)
    below, zeros = np.zeros(spans.size), np.zeros(spans.size)
    handles = []
    for kind, counts in sent_by_kind(samples, edges).items():
        colour, hatch = KINDS[kind]
        rate = np.diff(counts) / spans / 1e3
        if not rate.any():
            continue
        if kind == "zero page":
            zeros = rate
        handles.append(
            axes.stairs(below + rate, edges, baseline=below, fill=True, facecolor=colour,
                        hatch=hatch, edgecolor="white" if hatch else colour, linewidth=0,
                        label=kind)
        )  # fmt: skip
        below = below + rate
    most, whole = float(below.max(initial=0.0)), float((below - zeros).max(initial=0.0))
    if (
        whole > 0 and most > 4 * whole
    ):  # zero pages, which take next to no time, would hide the rest
        at = int(below.argmax())
        early = at < below.size / 2
        axes.annotate(
            f"up to {most:,.0f}", (edges[at + (not early)], 0.93), ha="left" if early else "right",
            xycoords=("data", "axes fraction"), xytext=(4 if early else -4, 0),
            textcoords="offset points", va="top", fontsize=style.SMALL, color="0.3",
        )  # fmt: skip
        most = 1.8 * whole
    axes.set_ylim(0, 1.12 * max(most, 1e-6))
    axes.set_ylabel("pages sent\n(1000/s)")
    return handles


def _draw_dirty(
    axes: Axes, samples: Sequence[Sample], timeline: Timeline, scale: float, pages: int
) -> list[Any]:
    """Draw the dirty log and what the destination lacks, in MiB; return what the legend shows."""
    logged = [
        (sample.seconds, sample.logged) for sample in samples if sample.place != "destination"
    ]
    # The sample at a reading of the log shows what is left of it; the reading, what was in it.
    reads = [(event.end, event.pages) for event in timeline if event.act == "sync"]
    merged = sorted([(*point, 1) for point in logged] + [(*point, 0) for point in reads],
                    key=lambda point: (point[0], point[2]))  # fmt: skip
    behind = [sample.behind * scale for sample in samples]
    handles = [
        axes.plot([sample.seconds for sample in samples], behind, color=OKABE_ITO[0],
                  linewidth=1.1, label="not at the destination yet")[0],
        axes.plot([point[0] for point in merged], [point[1] * scale for point in merged],
                  color=OKABE_ITO[3], linewidth=0.9, linestyle="--", label="in the dirty log")[0],
    ]  # fmt: skip
    axes.set_ylim(0, 1.06 * max(pages * scale, *behind, 1e-6))
    axes.set_ylabel("memory\n(MiB)")
    return handles


def _draw_link(axes: Axes, samples: Sequence[Sample], edges: Floats, goodput: float) -> None:
    seconds = [sample.seconds for sample in samples]
    carried = np.interp(edges, seconds, [float(sample.carried) for sample in samples], left=0.0)
    rate = 8e-6 * np.diff(carried) / np.diff(edges)
    axes.stairs(rate, edges, color="black", linewidth=0.9, baseline=None)
    most = float(rate.max(initial=0.0))
    if np.isfinite(goodput):
        axes.axhline(8e-6 * goodput, color="0.45", linewidth=0.8, linestyle="--", zorder=1)
        most = max(most, 8e-6 * goodput)
    axes.set_ylim(0, 1.12 * most or 1.0)
    axes.set_ylabel("link used\n(Mbit/s)")


def _draw_speed(axes: Axes, samples: Sequence[Sample], edges: Floats) -> None:
    """Draw how fast guest time passes: less than all where it is throttled, paused or stalled."""
    seconds = [sample.seconds for sample in samples]
    guest = np.interp(edges, seconds, [sample.guest_seconds for sample in samples], left=0.0)
    speed = 100 * np.diff(guest) / np.diff(edges)
    axes.stairs(speed, edges, color=OKABE_ITO[2], linewidth=1.0, baseline=None)
    axes.set_ylim(0, max(112.0, 1.05 * float(speed.max(initial=0.0))))
    axes.set_yticks([0, 50, 100])
    axes.set_ylabel("guest's speed\n(%)")


def _mark_rounds(grid: Sequence[Axes], timeline: Timeline, total: float) -> None:
    """Draw a line where each round of sending begins, and number it above the first panel."""
    starts: dict[int, float] = {}
    for event in timeline:
        if event.act == "send" and event.guest == "source" and event.pages:
            starts.setdefault(event.round, event.start)
    least = 0.025 * total  # the width of a number of two digits
    every = next((step for step in (1, 2, 5, 10, 20, 50, 100, 1000)
                  if len(starts) <= _MOST_ROUNDS * step), 10_000)  # fmt: skip
    last = -total
    for number, start in starts.items():
        for axes in grid:
            axes.axvline(start, color="0.6", linewidth=0.6, linestyle=":", zorder=1)
        if (number == 1 or number % every == 0) and start - last >= least:
            grid[0].annotate(
                f"{number}", (start, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", ha="center", va="bottom", fontsize=style.SMALL,
                color="0.3",
            )  # fmt: skip
            last = start
    if starts:
        grid[0].set_title("rounds of sending begin", fontsize=style.SMALL, color="0.3", pad=12)
