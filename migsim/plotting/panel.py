"""Measurements that are drawn, and tables of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migsim.plotting.identity import look_of, ordered

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Panel", "matrix"]


@dataclass(frozen=True)
class Panel:
    """One measurement to be drawn.

    Attributes:
        column: the column of the results.
        title: what it is, with its unit.
        scale: multiplies the values, such as 1e-9 for bytes in GB.
        log: whether the axis is logarithmic; of a ratio's colours: whether 1 is their middle.
    """

    column: str
    title: str
    scale: float = 1.0
    log: bool = False


def matrix(results: pd.DataFrame, column: str, scale: float = 1.0) -> pd.DataFrame:
    """Return the means of a measurement: a row for each label, a column for each algorithm.

    Missing where a value is missing.
    """
    algorithms = ordered(results["algorithm"].unique())
    groups = results.groupby(["label", "algorithm"], sort=False)[column]
    means = groups.agg(lambda values: values.mean(skipna=False)).unstack() * scale
    short = {name: look_of(name, algorithms).short for name in algorithms}
    labels = list(dict.fromkeys(results["label"]))
    return means.loc[labels, algorithms].rename(columns=short).reset_index(names="")
