"""Performance profiles: how often an algorithm is within a factor of the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from migsim._types import Floats

__all__ = ["performance_profile"]


def performance_profile(costs: ArrayLike, factors: ArrayLike) -> Floats:
    """Return the share of scenarios in which each algorithm costs at most ``factors`` x the least.

    Dolan and Moré, "Benchmarking optimization software with performance profiles" (Mathematical
    Programming 91, 2002). ``costs`` has a row for each scenario and a column for each algorithm,
    NaN or infinity where an algorithm did not complete; the result has a row for each factor and a
    column for each algorithm. At factor 1 it is how often an algorithm is best, towards infinity
    how often it completes. A scenario in which none completes counts against all. Raises
    ValueError for negative costs, and for factors below 1.
    """
    table = np.asarray(costs, np.float64)
    wanted = np.atleast_1d(np.asarray(factors, np.float64))
    if table.ndim != 2 or not table.size:
        raise ValueError(f"costs of shape {table.shape}, expected scenarios x algorithms")
    if np.any(table < 0) or not np.all(wanted >= 1):
        raise ValueError("expected costs from 0 on and factors from 1 on")
    table = np.where(np.isnan(table), np.inf, table)
    best = table.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # 0 x the largest factor, and what nobody completed
        within = [(table <= factor * best) & np.isfinite(table) for factor in wanted]
    return np.stack([each.mean(axis=0) for each in within])
