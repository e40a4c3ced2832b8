"""How large a difference is, in units that do not depend on what was measured."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["cohen_dz", "rank_biserial", "vargha_delaney"]


def cohen_dz(differences: ArrayLike) -> float:
    """Return the mean of paired differences in their standard deviations.

    Cohen, *Statistical Power Analysis for the Behavioral Sciences* (2nd ed., 1988), sec. 2.3.5: the
    effect size of a paired t test, t / sqrt(n). Without bound: infinite where all differences are
    equal, 0 where all are 0. Raises ValueError for less than two.
    """
    sample = np.asarray(differences, np.float64)
    if sample.size < 2:
        raise ValueError(f"an effect size of {sample.size} differences, expected two or more")
    if np.all(sample == sample[0]):
        return math.copysign(math.inf, sample[0]) if sample[0] else 0.0
    return float(sample.mean() / sample.std(ddof=1))


def rank_biserial(differences: ArrayLike) -> float:
    """Return the matched-pairs rank-biserial correlation of paired differences, from -1 to 1.

    Kerby, "The simple difference formula" (Comprehensive Psychology 3, 2014): the share of the sum
    of ranks (of the differences' sizes, as in Wilcoxon's signed-rank test) that speaks for a
    positive difference, less that which speaks against it. Zeros speak for neither and are left
    out, as Wilcoxon does; 0 where all are.
    """
    sample = np.asarray(differences, np.float64)
    sample = sample[sample != 0]
    if not sample.size:
        return 0.0
    ranks = stats.rankdata(np.abs(sample))
    return float(ranks @ np.sign(sample) / ranks.sum())


def vargha_delaney(a: ArrayLike, b: ArrayLike) -> float:
    """Return the chance that a value of ``a`` is above one of ``b``; equal ones count half.

    Vargha and Delaney's A12 (Journal of Educational and Behavioral Statistics 25, 2000), for
    samples that need not be paired: 0.5 is no difference. Raises ValueError where one of them is
    empty.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not first.size or not second.size:
        raise ValueError("the effect size of an empty sample")
    ranks = stats.rankdata(np.concatenate([first, second]))
    above = ranks[: first.size].sum() - first.size * (first.size + 1) / 2
    return float(above / (first.size * second.size))
