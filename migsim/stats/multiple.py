"""Many comparisons at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from migsim._types import Floats

__all__ = ["holm"]


def holm(p_values: ArrayLike) -> Floats:
    """Return the p-values adjusted so that comparing each with a level bounds *any* false alarm.

    Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of
    Statistics 6, 1979). The least of m is multiplied by m, the next by m - 1 and so on, none is
    less than the one before. Valid however the tests depend on one another, and never weaker than
    Bonferroni's. Raises ValueError for what is no probability.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"expected a list of p-values from 0 to 1, got {p_values!r}")
    order = np.argsort(values, kind="stable")
    factors = np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted
