"""Paired differences: from a table of results, and whether they could be chance."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from migsim._types import Floats
from migsim.stats.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SignFlip", "paired_blocks", "sign_flip"]

Flags = NDArray[np.int8]
"""0 or 1: a byte each, since they are kept."""

_EXACT = 14
"""So many differences have few enough choices of signs (16,384) to try them all."""
_DRAWN = 50_000
"""Choices of signs that are drawn where there are more; each comes with its opposite."""
_BATCH = 1024
_SLACK = 1e-12
"""Sums of the same numbers in another order differ by rounding; they count as equal."""


@dataclass(frozen=True)
class SignFlip:
    """A mean difference with what the signs of its differences say of it.

    Attributes:
        interval: the mean, and the interval of all shifts that the test does not reject; an end is
            infinite where the differences are too few for the confidence.
        p: the chance of a mean at least as far from 0 if each difference had been as likely to come
            out with the opposite sign.
        blocks: the number of independent differences.
    """

    interval: Interval
    p: float
    blocks: int


def sign_flip(
    differences: ArrayLike, confidence: float = 0.95, sizes: ArrayLike | None = None
) -> SignFlip:
    """Return the mean of paired differences with its sign-flip test and interval.

    Fisher's randomization test (*The Design of Experiments*, 1935, sec. 21): if two treatments do
    not differ, each difference could as well have had the other sign, whatever its distribution.
    All signs are tried for up to 14 differences, and the p-value is exact for more where all agree
    in sign; else 100,000 choices are drawn with a fixed generator, and the p-value counts the
    observed ones among them (Phipson and Smyth, Statistical Applications in Genetics and Molecular
    Biology 9, 2010), so that it is never too small. The interval inverts the test: its ends are
    quantiles of the means of subsets (Hartigan, "Using subsample values as typical values", JASA
    64, 1969), so that it excludes 0 exactly where p is at most 1 - ``confidence``.

    ``sizes`` tells of how many equal observations each difference is the mean: they keep their
    weight in the mean but flip together, as one. Raises ValueError where there are no differences.

    >>> sign_flip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    SignFlip(interval=Interval(mean=3.5, low=1.0, high=6.0), p=0.03125, blocks=6)
    """
    sample = np.asarray(differences, np.float64)
    weights = np.ones_like(sample) if sizes is None else np.asarray(sizes, np.float64)
    if not sample.size or sample.ndim != 1 or sample.shape != weights.shape:
        raise ValueError(f"differences of shape {sample.shape} and sizes of {weights.shape}")
    count = sample.size
    sums = sample * weights
    mean = float(sums.sum() / weights.sum())
    if np.all(sample == sample[0]):
        mean = float(sample[0])  # to the bit
    exact = count <= _EXACT
    if exact:
        parts, heavy = (_product(_subsets(count), each) for each in (sums, weights))
    else:
        parts, heavy = _drawn_sums(count, sums, weights)
    total = float(sums.sum())
    # A subset's signs flipped: the sum loses it twice.
    far = np.abs(total - 2 * parts) >= abs(total) - _SLACK * np.abs(sums).sum()
    extreme, chosen = int(np.count_nonzero(far)), parts.size
    more = 0 if exact else 2  # the observed signs and their opposites
    p = (extreme + more) / (chosen + more)
    flips = int(np.count_nonzero(sample))
    if abs(sums).sum() == abs(total):
        p = 2.0 ** (1 - flips) if flips else 1.0
    means = parts / np.maximum(heavy, 0.5)
    ends = _ends(means[1:] if exact else means, chosen + more, confidence)
    return SignFlip(Interval(mean, min(ends[0], mean), max(ends[1], mean)), min(p, 1.0), count)


def _ends(means: Floats, choices: int, confidence: float) -> tuple[float, float]:
    """Return the quantiles of the means of all non-empty subsets that are not rejected."""
    beyond = int((1 - confidence) / 2 * choices * (1 + 1e-12))
    if not beyond:
        return -np.inf, np.inf
    ordered = np.partition(means, [beyond - 1, means.size - beyond])
    return float(ordered[beyond - 1]), float(ordered[means.size - beyond])


def _product(subsets: Flags, values: Floats) -> Floats:
    # In batches, whose sums do not depend on how many processors a library of matrices uses.
    return np.concatenate(
        [
            np.einsum("ij,j->i", subsets[first : first + _BATCH].astype(np.float64), values)
            for first in range(0, len(subsets), _BATCH)
        ]
    )


@functools.lru_cache(maxsize=32)
def _subsets(count: int) -> Flags:
    """Return all subsets of ``count`` things as rows of 0 and 1, the empty one first."""
    numbers = np.arange(2**count)[:, None] >> np.arange(count)
    return (numbers & 1).astype(np.int8)


def _drawn_sums(count: int, *values: Floats) -> list[Floats]:
    """Return the sums of each of ``values`` over random non-empty subsets and what they leave out.

    The subsets are drawn anew at each call, always the same, and few are held at a time.
    """
    generator = np.random.default_rng(count)
    sums: list[list[Floats]] = [[] for _ in values]
    for first in range(0, _DRAWN, _BATCH):
        # Of 64 bits: smaller numbers throw random bits away at the end of each batch.
        drawn = generator.integers(0, 2, (min(_BATCH, _DRAWN - first), count)).astype(np.float64)
        empty = drawn.sum(axis=1) % count == 0  # all or none: one in thousands at most
        drawn[empty, 0] = 1 - drawn[empty, 0]
        for subsets in (drawn, 1 - drawn):
            for kept, each in zip(sums, values, strict=True):
                kept.append(np.einsum("ij,j->i", subsets, each))
    return [np.concatenate(kept) for kept in sums]


def paired_blocks(
    results: pd.DataFrame, a: str, b: str, column: str, *, by: Sequence[str] = ("label", "link")
) -> pd.DataFrame:
    """Return a measurement of two algorithms side by side: a row for each scenario and seed.

    ``results`` is a table of `migsim.store.frame`, ``by`` names the columns that tell scenarios
    apart. The result is indexed by these and the seed and has the columns ``a``, ``b``,
    ``difference`` (a - b) and, where both are above 0, ``log_ratio`` (of a to b). Blocks that one
    of the two lacks are left out. Raises ValueError where a block has several rows of one
    algorithm, as then ``by`` does not tell the scenarios apart.
    """
    keys = [*by, "seed"]
    sides = []
    for name in (a, b):
        chosen = results[results["algorithm"] == name].set_index(keys)[column].dropna()
        if not chosen.index.is_unique:
            place = chosen.index[chosen.index.duplicated()][0]
            raise ValueError(f"several rows of '{name}' in the block {keys} = {place}")
        sides.append(chosen)
    table = sides[0].to_frame("a").join(sides[1].to_frame("b"), how="inner").astype(float)
    table["difference"] = table["a"] - table["b"]
    positive = (table["a"] > 0) & (table["b"] > 0)
    table["log_ratio"] = np.log(table["a"].where(positive) / table["b"].where(positive))
    return table
