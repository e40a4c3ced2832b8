"""The style that all figures share: paper widths, sizes of text, axes, legends, and files."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from migsim.errors import InputError
from migsim.files import replaced
from migsim.plotting.identity import Look, look_of
from migsim.stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = [
    "COLUMN",
    "PAGE",
    "SMALL",
    "TALLEST",
    "bar_legend",
    "draw_interval",
    "fold",
    "legend",
    "legend_of",
    "line_legend",
    "new_figure",
    "note",
    "save_figure",
    "scale_axis",
    "title",
    "use_style",
]

PAGE: Final = 7.0
"""Inches: the width of a figure across a page of the paper."""
COLUMN: Final = 3.4
"""Inches: the width of a figure in one of its two columns."""
TALLEST: Final = 10.0
"""Inches: what a page holds, with a line below it."""
SMALL: Final = 6.5
"""Points: the smallest text in a figure."""

_SIZES: dict[str, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.title_fontsize": 7.0,
    "figure.titlesize": 9.0,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "hatch.linewidth": 0.5,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
}


def use_style() -> None:
    """Set the look of all figures."""
    import matplotlib as mpl
    import seaborn as sns

    sns.set_theme(context="paper", style="ticks")
    mpl.rcParams.update(_SIZES)  # type: ignore[arg-type]
    mpl.rcParams["axes.grid"] = True
    mpl.rcParams["grid.color"] = "0.92"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure in the style of all; ``width`` and ``height`` in inches."""
    from matplotlib.figure import Figure

    use_style()
    return Figure(figsize=(width, height), layout="constrained")


def fold(text: str, inches: float, size: float = 7.5) -> str:
    """Return a text in lines that are not wider than ``inches`` at ``size`` points."""
    letters = max(8, int(inches * 72 / (0.54 * size)))
    text = re.sub(r"(?<=\d) (?=\S)", "\N{NO-BREAK SPACE}", text)  # a number keeps its unit
    lines = (textwrap.wrap(line, letters, break_on_hyphens=False) for line in text.split("\n"))
    folded = "\n".join(part for line in lines for part in line or [""])
    return folded.replace("\N{NO-BREAK SPACE}", " ")


def title(figure: Figure, text: str) -> None:
    """Set the title of the whole figure, in as many lines as it needs."""
    folded = fold(text, figure.get_size_inches()[0], 9.5)
    figure.suptitle(folded, fontweight="bold")


def note(figure: Figure, text: str) -> None:
    """Add a remark below everything else, in as many lines as it needs."""
    if text:
        folded = fold(text, 0.93 * figure.get_size_inches()[0], SMALL)
        figure.supxlabel(folded, fontsize=SMALL, color="0.3", x=0.01, ha="left")


def scale_axis(axes: Sequence[Axis], *, log: bool) -> None:
    """Make axes of one scale logarithmic with plain numbers, or let them start at zero."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    ends = [end for axis in axes for end in axis.get_data_interval() if math.isfinite(end)]
    low, high = min(ends, default=0.0), max(ends, default=0.0)
    for axis in axes:
        is_x = axis is axis.axes.xaxis
        limit = axis.axes.set_xlim if is_x else axis.axes.set_ylim
        if not log or low <= 0:
            limit(0, 1.08 * high if high > 0 else 1)
            axis.set_major_locator(MaxNLocator(5))
            continue
        (axis.axes.set_xscale if is_x else axis.axes.set_yscale)("log")
        subs: tuple[float, ...] = (1.0,)
        if high / low < 300:
            subs = (1.0, 3.0)
        if high / low < 30:
            subs = (1.0, 2.0, 5.0)
        if high / low < 5:
            subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
        room = (high / low) ** 0.06
        if high / low < 1.5:
            room = 1.4
        limit(low / room, high * room)
        axis.set_major_locator(LogLocator(subs=subs, numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def draw_interval(
    axes: Axes,
    x: float,
    y: float,
    interval: Interval,
    look: Look,
    *,
    along_x: bool,
    mark: float = 5.0,
) -> None:
    """Draw a mark with its interval along one axis."""
    reach = [[interval.mean - interval.low], [interval.high - interval.mean]]
    axes.errorbar(
        [x],
        [y],
        xerr=reach if along_x else None,
        yerr=None if along_x else reach,
        linestyle="none",
        capsize=1.5,
        elinewidth=0.8,
        ecolor=look.colour,
        zorder=3,
        **look.mark(mark),
    )


def legend(figure: Figure, algorithms: Sequence[str], *, lines: bool = False) -> None:
    """Add the legend of all algorithms below the figure, with as many columns as fit.

    ``lines`` shows their lines, too.
    """
    from matplotlib.lines import Line2D

    looks = [look_of(name, algorithms) for name in algorithms]
    handles = [
        Line2D([], [], label=look.label, linestyle=look.line if lines else "none",
               linewidth=1.0, **look.mark(5.0))
        for look in looks
    ]  # fmt: skip
    legend_of(figure, handles)


def line_legend(figure: Figure, algorithms: Sequence[str]) -> None:
    """Add the legend of figures that show lines without marks."""
    from matplotlib.lines import Line2D

    looks = [look_of(name, algorithms) for name in algorithms]
    handles = [
        Line2D([], [], label=look.label, linestyle=look.line, color=look.colour, linewidth=1.2)
        for look in looks
    ]
    legend_of(figure, handles)


def bar_legend(figure: Figure, algorithms: Sequence[str]) -> None:
    """Add the legend of figures that show bars."""
    from matplotlib.patches import Patch

    looks = [look_of(name, algorithms) for name in algorithms]
    legend_of(figure, [Patch(label=look.label, **look.bar()) for look in looks])


def legend_of(figure: Figure, handles: Sequence[Any], **options: Any) -> None:
    """Add a legend below the figure, with as many columns as fit."""
    widest = max((len(handle.get_label()) for handle in handles), default=1)
    inches = (0.5 * 7.0 * widest + 36) / 72
    columns = max(1, min(len(handles), int(figure.get_size_inches()[0] / inches)))
    rows = -(-len(handles) // columns)
    columns = -(-len(handles) // rows) if handles else 1  # rows of about the same length
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.15 * max(0, rows - 2))  # what is above keeps its room
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, **options
    )


def save_figure(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a figure to a file whose ending names the format; the same figure, the same bytes.

    Raises `InputError`.
    """
    import matplotlib as mpl

    # No dates, no names of programs and no random ids in the files.
    known: dict[str, dict[str, str | None]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    try:
        with mpl.rc_context({"svg.hashsalt": "migsim"}), replaced(path) as fresh:
            figure.savefig(fresh, dpi=dpi, metadata=known.get(path.suffix))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot write figure '{path}': {reason}") from None
