"""Error measures: what a model says of recorded migrations against what came of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from migsim.hypervisor.runs import Measured

__all__ = ["QUANTITIES", "Claim", "Prediction", "Summary", "measured_value", "summarise"]

QUANTITIES = ("total", "bytes", "rounds", "downtime", "postcopy_requests")
"""What is compared by its relative error, in the order of tables."""

Summary = dict[str, dict[str, float | int | None]]
"""Name of a quantity, or ``convergence`` -> name of a measure -> its value, None without runs."""

_FIELDS = {
    "total": "total_seconds",
    "bytes": "transferred_bytes",
    "rounds": "dirty_syncs",
    "downtime": "downtime_seconds",
    "postcopy_requests": "postcopy_requests",
}


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one run. None: it does not say.

    Attributes:
        total: seconds from the command to migrate to completion.
        bytes: as `Measured.transferred_bytes` counts them.
        downtime: seconds.
        rounds: readings of the dirty log, the one at the start and the last included.
        postcopy_requests: pages that the destination asks for.
        converged: whether it completes. Of a migration that does not, say nothing else.
        reason: why nothing is said of this run.
    """

    total: float | None = None
    bytes: float | None = None
    downtime: float | None = None
    rounds: float | None = None
    postcopy_requests: float | None = None
    converged: bool | None = None
    reason: str = ""

    @property
    def says_something(self) -> bool:
        """Whether anything is said of the run."""
        return self != Prediction(reason=self.reason)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A tolerance that is said to hold for the runs on which nothing was fitted.

    Attributes:
        text: what is claimed, without the bound.
        quantity, measure: where a `Summary` has it; ``right`` stands for the share of verdicts.
        bound: the most that the measure may be,
        at_least: or the least.
    """

    text: str
    quantity: str
    measure: str
    bound: float
    at_least: bool = False

    def value(self, summary: Summary) -> float | None:
        """Return the measure; None where no run tells."""
        found = summary[self.quantity]
        value, count = found[self.measure], found["count"]
        if not count or value is None:
            return None
        return value / count if self.measure == "right" else value

    def holds(self, summary: Summary) -> bool:
        """Return whether the tolerance is kept; without a run to tell it is not.

        >>> claim = Claim(text="verdicts", quantity="convergence", measure="right", bound=0.9,
        ...               at_least=True)
        >>> [claim.holds({"convergence": {"right": n, "count": 10}}) for n in (8, 9)]
        [False, True]
        """
        value = self.value(summary)
        if value is None:
            return False
        return value >= self.bound if self.at_least else value <= self.bound


def measured_value(run: Measured, quantity: str) -> float | None:
    """Return a quantity of a completed run; None where it was not measured or there was none.

    A relative error needs something to relate to, so that runs without post-copy have no requests
    to compare. Nor is a downtime compared that exceeds what was seen from outside by a second: QEMU
    10.0 can count until the end of post-copy where that begins before its connection for demanded
    pages stands.
    """
    if quantity == "downtime" and run.visible_downtime_seconds is not None:
        counted = run.downtime_seconds or 0.0
        if counted > run.visible_downtime_seconds + 1.0:
            return None
    value: float | None = getattr(run, _FIELDS[quantity])
    if run.status != "completed" or (quantity != "downtime" and not value):
        return None
    return value


def summarise(pairs: Iterable[tuple[Prediction, Measured]]) -> Summary:
    """Return the errors of all predictions, and how many verdicts of convergence are right.

    For each of `QUANTITIES`: ``count`` of the completed runs of which the model says something,
    and of the relative errors |predicted - measured| / measured ``median``, ``p90`` and ``worst``;
    for the downtime also ``median_seconds`` and so on. Shares of good predictions:
    ``within_one`` (rounds), ``within_20_ms_or_25_percent`` (downtime), ``within_30_percent``
    (requests). Failed runs do not count.

    >>> run = Measured(status="completed", total_seconds=10.0, transferred_bytes=1000)
    >>> summarise([(Prediction(total=11.0, converged=True), run)])["total"]
    {'count': 1, 'median': 0.1, 'p90': 0.1, 'worst': 0.1}
    """
    listed = [(said, run) for said, run in pairs if run.status != "failed"]
    summary = {quantity: _errors(quantity, listed) for quantity in QUANTITIES}
    verdicts = [
        said.converged == (run.status == "completed")
        for said, run in listed
        if said.converged is not None
    ]
    summary["convergence"] = {"right": sum(verdicts), "count": len(verdicts)}
    return summary


def _errors(
    quantity: str, pairs: Sequence[tuple[Prediction, Measured]]
) -> dict[str, float | int | None]:
    values = [(getattr(said, quantity), measured_value(run, quantity)) for said, run in pairs]
    known = [(said, real) for said, real in values if said is not None and real is not None]
    distances = [abs(said - real) for said, real in known]
    # QEMU counts milliseconds: a downtime of none has no relative error.
    relative = [far / real for far, (_, real) in zip(distances, known, strict=True) if real > 0]
    found: dict[str, float | int | None] = {"count": len(known), **_spread(relative)}
    if quantity == "downtime":
        found |= _spread(distances, "_seconds")
        good = [
            far <= max(0.02, 0.25 * real) for far, (_, real) in zip(distances, known, strict=True)
        ]
        found["within_20_ms_or_25_percent"] = _share(good)
    elif quantity == "rounds":
        found["within_one"] = _share([far <= 1 for far in distances])
    elif quantity == "postcopy_requests":
        found["within_30_percent"] = _share([far <= 0.3 for far in relative])
    return found


def _spread(errors: Sequence[float], unit: str = "") -> dict[str, float | None]:
    names = [f"{name}{unit}" for name in ("median", "p90", "worst")]
    if not errors:
        return dict.fromkeys(names)
    return dict(zip(names, np.quantile(errors, [0.5, 0.9, 1.0]).tolist(), strict=True))


def _share(good: Sequence[bool]) -> float | None:
    return sum(good) / len(good) if good else None
