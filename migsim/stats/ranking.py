"""Which algorithms differ over many scenarios: ranks and their critical difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["Ranking", "rank"]


@dataclass(frozen=True)
class Ranking:
    """Algorithms from the best mean rank to the worst.

    Attributes:
        names: the algorithms.
        ranks: their mean ranks, 1 for one that is always best.
        friedman: Friedman's statistic, chi-squared with k - 1 degrees of freedom.
        iman_davenport: the less conservative statistic made of it, F with k - 1 and
            (k - 1)(n - 1) degrees of freedom; infinite where all scenarios agree.
        p: the chance of so large an F where no algorithm is better than another.
        critical_difference: mean ranks that differ by more are told apart.
        groups: the largest sets of neighbours that are not told apart, two names or more each.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    friedman: float
    iman_davenport: float
    p: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]


def rank(names: Sequence[str], costs: ArrayLike, level: float = 0.05) -> Ranking:
    """Return the ranking of algorithms by ``costs`` (less is better; NaN and infinity rank last).

    ``costs`` has a row for each scenario, independent of the others (so means over the seeds), and
    a column for each name. Friedman (JASA 32, 1937), with the correction of Iman and Davenport
    (Communications in Statistics A 9, 1980) and Nemenyi's critical difference (thesis, Princeton
    1963), as Demšar recommends ("Statistical comparisons of classifiers over multiple data sets",
    JMLR 7, 2006); equal costs share their mean rank, and like Demšar's no statistic is corrected
    for ties, which makes them conservative. Raises ValueError for less than two algorithms or
    scenarios.
    """
    table = np.asarray(costs, np.float64)
    if table.ndim != 2 or table.shape[1] != len(names) or min(table.shape, default=0) < 2:
        raise ValueError(
            f"costs of shape {table.shape} for {len(names)} names, "
            "expected two scenarios or more x two algorithms or more"
        )
    table = np.where(np.isnan(table), np.inf, table)
    n, k = table.shape
    means = stats.rankdata(table, axis=1).mean(axis=0)
    friedman = float(12 * n / (k * (k + 1)) * np.sum((means - (k + 1) / 2) ** 2))
    room = n * (k - 1) - friedman
    corrected = (n - 1) * friedman / room if room > 1e-9 * n * k else math.inf
    p = float(stats.f.sf(corrected, k - 1, (k - 1) * (n - 1)))
    reach = float(stats.studentized_range.ppf(1 - level, k, np.inf)) / math.sqrt(2)
    difference = reach * math.sqrt(k * (k + 1) / (6 * n))
    order = np.argsort(means, kind="stable")
    best = tuple(names[place] for place in order)
    ordered = tuple(float(means[place]) for place in order)
    groups = _groups(best, ordered, difference)
    return Ranking(best, ordered, friedman, corrected, p, difference, groups)


def _groups(
    names: tuple[str, ...], ranks: tuple[float, ...], difference: float
) -> tuple[tuple[str, ...], ...]:
    groups: list[tuple[str, ...]] = []
    last = 0
    for first, least in enumerate(ranks):
        end = first
        while end < len(ranks) and ranks[end] - least <= difference:
            end += 1
        if end > last and end - first > 1:
            groups.append(names[first:end])
        last = max(last, end)
    return tuple(groups)
