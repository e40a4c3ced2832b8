"""Which algorithms differ over many scenarios: critical differences and performance profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from migsim.plotting import style
from migsim.plotting.identity import look_of
from migsim.stats import Ranking, performance_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from migsim._types import Floats

__all__ = ["profile_figure", "rank_figure"]


def rank_figure(
    ranking: Ranking, *, scenarios: int, title: str, width: float = style.PAGE
) -> Figure:
    """Return the critical-difference diagram of Demsar (JMLR 7, 2006): mean ranks, 1 is best.

    Bars join algorithms that are not told apart. ``width`` in inches.
    """
    names, ranks = ranking.names, ranking.ranks
    count = len(names)
    left = -(-count // 2)  # names stand at both sides, from the outside in
    rows, bars = left, len(ranking.groups)
    figure = style.new_figure(width, 0.19 * (rows + 1) + 0.13 * bars + 1.0)
    axes = figure.subplots()
    axes.set_xlim(0.0, 1.0)
    depth = 0.75 * bars + 1.4
    axes.set_ylim(depth + rows, -2.2)
    axes.axis("off")
    begin, end = 0.3, 0.7
    narrow = width < style.PAGE

    def at(rank: float) -> float:
        return begin + (end - begin) * (rank - 1) / max(1, count - 1)

    axes.plot([begin, end], [0, 0], color="black", linewidth=0.9)
    step = max(1, math.ceil(count / (2.2 * width * (end - begin) + 1)))
    for place in range(1, count + 1, step):
        axes.plot([at(place)] * 2, [0, -0.3], color="black", linewidth=0.9)
        axes.text(at(place), -0.45, f"{place}", ha="center", va="bottom", fontsize=7.0)
    for k, group in enumerate(ranking.groups):
        ends = [at(ranks[names.index(name)]) for name in (group[0], group[-1])]
        axes.plot([ends[0] - 0.006, ends[1] + 0.006], [0.75 * (k + 1)] * 2, color="0.25",
                  linewidth=2.6, solid_capstyle="butt")  # fmt: skip
    for k, (name, rank) in enumerate(zip(names, ranks, strict=True)):
        look = look_of(name, names)
        on_left = k < left
        row = depth + (k if on_left else count - 1 - k)
        side = begin - 0.03 if on_left else end + 0.03
        axes.plot([at(rank), at(rank), side], [0, row, row], color=look.colour, linewidth=0.8,
                  linestyle=look.line)  # fmt: skip
        axes.plot([at(rank)], [0], clip_on=False, zorder=4, **look.mark(4.5))
        label = look.short if narrow else look.label
        axes.text(side - 0.01 if on_left else side + 0.01, row, f"{label}  {rank:.2f}"
                  if on_left else f"{rank:.2f}  {label}", fontsize=7.0,
                  ha="right" if on_left else "left", va="center")  # fmt: skip
    style.title(figure, title)
    style.note(
        figure,
        f"Mean ranks over {scenarios} scenarios, 1 is best; Friedman's test: p = {ranking.p:.2g}. "
        f"Bars join algorithms whose ranks differ by at most {ranking.critical_difference:.2f}, "
        "the critical difference of Nemenyi's test at 5 %.",
    )
    return figure


def profile_figure(
    names: Sequence[str], costs: Floats, *, measure: str, title: str, width: float = style.PAGE
) -> Figure:
    """Return the performance profiles of Dolan and More (Math. Programming 91, 2002).

    ``costs`` has a row for each scenario and a column for each name, NaN where an algorithm did not
    complete; a line is the share of scenarios in which an algorithm costs at most so many times
    the least. ``measure`` names the cost. ``width`` in inches.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = costs / np.nanmin(np.where(np.isnan(costs), np.inf, costs), axis=1, keepdims=True)
    finite = ratios[np.isfinite(ratios)]
    most = max(1.5, 1.1 * float(finite.max(initial=1.0)))
    factors = np.geomspace(1.0, most, 400)
    shares = performance_profile(costs, factors)
    figure = style.new_figure(width, 0.36 * width + 1.1)
    axes = figure.subplots()
    for k, name in enumerate(names):
        look = look_of(name, names)
        mark = {key: value for key, value in look.mark(4.5).items() if key != "color"}
        axes.step(
            factors,
            shares[:, k],
            where="post",
            color=look.colour,
            linestyle=look.line,
            linewidth=1.2,
            markevery=(8 * k % 60, 60),
            **mark,
        )
    axes.set_xlim(1.0, most)
    style.scale_axis([axes.xaxis], log=True)
    axes.set_xlim(0.995, most)
    axes.set_ylim(-0.03, 1.04)
    axes.set(xlabel=f"{measure}, times that of the best", ylabel="share of scenarios")
    style.title(figure, title)
    style.legend(figure, names, lines=True)
    return figure
