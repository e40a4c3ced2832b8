"""What is compared of a migration, in which words, and from which size on a change counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from migsim._types import Floats
from migsim.errors import InputError, did_you_mean
from migsim.units import parse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DEFAULT_THRESHOLD", "MEASURES", "Measure", "Thresholds", "parse_thresholds"]

DEFAULT_THRESHOLD = 0.01
Thresholds = Mapping[str, float]
"""By the name of each measure, the change as a fraction up to which it is let pass."""


@dataclass(frozen=True)
class Measure:
    """One measurement that is better the less it is.

    Attributes:
        name: what it is called in ``--threshold``.
        column: the column of `migsim.store.frame` that it is found in, or ``lost_seconds``.
        noun: what it is called in sentences.
        more, less: the words for a larger and a smaller value.
        is_amount: whether the words stand before the noun: "5 % more bytes sent".
        floor: smaller values count as this one. Ratios need it, since a measurement may be 0; it
            is less than anything that a migration's users could notice.
    """

    name: str
    column: str
    noun: str
    more: str
    less: str
    is_amount: bool
    floor: float

    def values(self, results: pd.DataFrame) -> Floats:
        """Return the measurement of each row, at least `floor`."""
        if self.column == "lost_seconds":
            found = results["total_seconds"] - results["guest_seconds"]
        else:
            found = results[self.column]
        values: Floats = np.maximum(found.to_numpy(np.float64), self.floor)
        return values

    def sentence(self, share: str, *, grew: bool) -> str:
        """Return in words that the measurement changed by ``share``.

        >>> MEASURES[1].sentence("5.0 %", grew=True), MEASURES[2].sentence("2.0 %", grew=False)
        ('downtime 5.0 % longer', '2.0 % fewer bytes sent')
        """
        word = self.more if grew else self.less
        return f"{share} {word} {self.noun}" if self.is_amount else f"{self.noun} {share} {word}"


_SECONDS = 1e-6
_BYTES = 1.0
MEASURES = (
    Measure("total", "total_seconds", "total time", "longer", "shorter", False, _SECONDS),
    Measure("downtime", "downtime_seconds", "downtime", "longer", "shorter", False, _SECONDS),
    Measure("bytes", "bytes_sent", "bytes sent", "more", "fewer", True, _BYTES),
    Measure("lost", "lost_seconds", "guest time lost", "more", "less", True, _SECONDS),
    Measure("cpu", "cpu_seconds", "processor time", "more", "less", True, _SECONDS),
)


def parse_thresholds(texts: Iterable[str]) -> dict[str, float]:
    """Return the threshold of each measure from texts such as ``2%`` and ``downtime=5%``.

    What names a measure wins over what does not, and later texts over earlier ones. Raises
    `InputError`.
    """
    common, own = DEFAULT_THRESHOLD, dict[str, float]()
    names = [measure.name for measure in MEASURES]
    for text in texts:
        name, equals, value = text.rpartition("=")
        if equals and name not in names:
            raise InputError(f"--threshold {text}: unknown measure '{name}', "
                             f"{did_you_mean(name, names)}")  # fmt: skip
        try:
            share = parse(value, "fraction")
        except InputError as error:
            raise InputError(f"--threshold {text}: {error}") from None
        if equals:
            own[name] = share
        else:
            common = share
    return {name: own.get(name, common) for name in names}
