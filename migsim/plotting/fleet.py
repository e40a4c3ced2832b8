"""Migrations of a fleet over time: a row a machine, from where to where, and what broke meanwhile.

A bar's body has the colour of the destination, the strip below it that of the source. Rates of
links are not drawn: nobody keeps them over time, and means would show what never was.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migsim.plotting import style
from migsim.plotting.identity import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Bar", "Shade", "fleet_figure"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A migration.

    Attributes:
        vm, source, destination: which.
        started, ended: seconds.
        paused: when the guest was first paused; None where it never was.
        downtime: seconds.
        ending: ``completed``, or a word for what else became of it.
    """

    vm: str
    source: str
    destination: str
    started: float
    ended: float
    paused: float | None
    downtime: float
    ending: str


@dataclass(frozen=True, kw_only=True)
class Shade:
    """A time in which something was broken: wholly, or only slow."""

    label: str
    begins: float
    ends: float
    whole: bool


_ROW = 0.17
"""Inches: the height of a row whose machine is named."""
_MOST_NAMES = 45
"""Machines that have their names; of more, rows are thinner and not named."""
_MOST_SHADES = 4
"""Things broken that the legend tells apart."""

_HATCHES = ("", "////", "....")
_LOOKS = [
    {"facecolor": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
    for hatch, colour in itertools.product(_HATCHES, OKABE_ITO)
]
_OTHERS = {"facecolor": "0.6", "hatch": "", "edgecolor": "white", "linewidth": 0}

_MARKS = {"stayed": "<", "lost": "X", "twice": "P", "undecided": "D", "under way": ">"}


def fleet_figure(
    bars: Sequence[Bar], shades: Sequence[Shade], *, title: str, width: float = style.PAGE
) -> Figure:
    """Return migrations over time, machines in the order in which they start.

    ``width`` in inches.
    """
    machines = list(dict.fromkeys(bar.vm for bar in sorted(bars, key=lambda bar: bar.started)))
    named = len(machines) <= _MOST_NAMES
    rows = min(_ROW * max(4, len(machines)), style.TALLEST - 2.5)
    figure = style.new_figure(width, rows + 1.6)
    axes = figure.subplots()
    begins, ends = _span(bars, shades)
    handles = _draw_shades(axes, shades, begins, ends)
    handles += _draw_bars(axes, bars, machines, (ends - begins) / 1000)
    axes.set_xlim(begins, ends)
    axes.set_ylim(max(1, len(machines)) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.ticklabel_format(axis="x", useOffset=False, style="plain")
    axes.set_xlabel(
        "time (s). A bar has the colour of the destination, the strip below it of the source."
    )
    axes.tick_params(axis="y", length=0)
    if named and machines:
        shown = [style.fold(name, 0.3 * width, 6.5).partition("\n")[0] for name in machines]
        axes.set_yticks(range(len(machines)), shown, fontsize=6.5)
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{len(machines):,} machines, as they start" if machines else "")
    if not bars:
        axes.text(0.5, 0.5, "nothing was migrated", ha="center", transform=axes.transAxes)
    style.title(figure, title)
    style.legend_of(figure, handles)
    return figure


def _span(bars: Sequence[Bar], shades: Sequence[Shade]) -> tuple[float, float]:
    """Return the seconds that the time axis covers: all migrations, and a margin."""
    times = [time for bar in bars for time in (bar.started, bar.ended)]
    times = times or [time for shade in shades for time in (shade.begins, shade.ends)] or [0.0, 1.0]
    margin = 0.02 * (max(times) - min(times)) or 1.0
    return max(0.0, min(times) - margin), max(times) + margin


def _draw_shades(axes: Axes, shades: Sequence[Shade], begins: float, ends: float) -> list[Any]:
    """Shade what was broken while something migrated; return what the legend shows."""
    from matplotlib.patches import Patch

    seen = [shade for shade in shades if shade.ends >= begins and shade.begins <= ends]
    labels = list(dict.fromkeys(shade.label for shade in seen))
    greys = ["0.80", "0.88", "#f6d5ce", "#fbeec2"]
    if len(labels) > _MOST_SHADES:
        colours = dict.fromkeys(labels, greys[0])
        handles = [Patch(label="something is broken", facecolor=greys[0])]
    else:
        colours = dict(zip(labels, greys, strict=False))
        handles = [Patch(label=label, facecolor=colours[label]) for label in labels]
    for shade in seen:
        colour = colours[shade.label]
        axes.axvspan(shade.begins, shade.ends, color=colour, lw=0, zorder=0)
        dashes = "-" if shade.whole else ":"
        axes.axvline(shade.begins, color="0.45", lw=0.6, ls=dashes, zorder=0.5)
    return handles


def _draw_bars(axes: Axes, bars: Sequence[Bar], machines: Sequence[str], least: float) -> list[Any]:
    """Draw the migrations, no narrower than ``least`` seconds; return what the legend shows."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    place = {name: k for k, name in enumerate(machines)}
    looks = _looks_of(bars)
    for bar in bars:
        y, wide = place[bar.vm], max(bar.ended - bar.started, least)
        axes.barh(y - 0.1, wide, 0.6, left=bar.started, zorder=2, **looks[bar.destination])
        axes.barh(y + 0.31, wide, 0.22, left=bar.started, zorder=2, **looks[bar.source])
        if bar.paused is not None:
            axes.barh(
                y - 0.1, max(bar.downtime, least), 0.6, left=bar.paused, color="black", lw=0,
                zorder=3,
            )  # fmt: skip
        if bar.ending != "completed":
            axes.plot(bar.ended, y, _mark(bar.ending), color="#c8143c", ms=5.5, mec="white",
                      mew=0.4, zorder=4, clip_on=False)  # fmt: skip
    handles: list[Any] = []
    for name, look in looks.items():
        label = "other hosts" if look is _OTHERS else name
        if label not in [handle.get_label() for handle in handles]:
            handles.append(Patch(label=label, **look))
    if any(bar.paused is not None for bar in bars):
        handles.append(Patch(label="guest paused", facecolor="black"))
    for ending in dict.fromkeys(bar.ending for bar in bars if bar.ending != "completed"):
        handles.append(Line2D([], [], marker=_mark(ending), color="#c8143c", ls="none", ms=5.5,
                              mec="white", mew=0.4, label=ending))  # fmt: skip
    return handles


def _mark(ending: str) -> str:
    return _MARKS.get(ending, "s")


def _looks_of(bars: Sequence[Bar]) -> dict[str, dict[str, Any]]:
    """Return the look of each host, by name; where they are too many, the last are grey."""
    hosts = sorted({name for bar in bars for name in (bar.source, bar.destination)})
    return {name: _LOOKS[k] if k < len(_LOOKS) else _OTHERS for k, name in enumerate(hosts)}
