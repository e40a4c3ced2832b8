"""Means with intervals, and differences between algorithms that met the same guests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["Interval", "bca_interval", "bootstrap_interval", "mean_interval", "paired_difference"]


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean of ``values`` with Student's interval; a point if all are equal or alone.

    Raises ValueError where there are none.
    """
    sample = np.asarray(values, np.float64)
    if not sample.size:
        raise ValueError("the mean of no values")
    if np.all(sample == sample[0]):
        point = float(sample[0])  # to the bit, which sums of equal numbers are not
        return Interval(point, point, point)
    mean, spread = float(sample.mean()), float(sample.std(ddof=1))
    reach = float(stats.t.ppf((1 + confidence) / 2, sample.size - 1)) * spread / sample.size**0.5
    return Interval(mean, mean - reach, mean + reach)


def bootstrap_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean of ``values`` with its percentile bootstrap interval (Efron, 1979).

    Unlike Student's it never leaves the range of what was seen, so it can be drawn on a
    logarithmic axis. With few values it is too narrow: it is for figures, not for claims.
    """
    return _bootstrap(values, confidence, "percentile", 2000)


def bca_interval(values: ArrayLike, confidence: float = 0.95, resamples: int = 9999) -> Interval:
    """Return the mean of ``values`` with its bias-corrected and accelerated bootstrap interval.

    Efron, "Better bootstrap confidence intervals" (JASA 82, 1987): second-order accurate for skewed
    values, where the percentile interval is shifted. A point if all values are equal or alone.
    """
    return _bootstrap(values, confidence, "BCa", resamples)


def _bootstrap(values: ArrayLike, confidence: float, method: str, resamples: int) -> Interval:
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    if sample.size < 2 or sample.min() == sample.max():
        return Interval(mean, mean, mean)
    found = stats.bootstrap(
        (sample,), np.mean, confidence_level=confidence, method=method, n_resamples=resamples,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Interval(mean, float(found.low), float(found.high))


def paired_difference(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the mean of ``a - b`` with its interval; both hold one value a seed, in one order.

    The guests are the same for all algorithms, so their spread cancels. Raises ValueError where
    the lengths differ.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired samples of shapes {first.shape} and {second.shape}")
    return mean_interval(first - second, confidence)
