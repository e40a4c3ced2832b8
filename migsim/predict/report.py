"""What a prediction says: flat structures, which ``--json`` prints and ``--schema`` describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec

from migsim.predict.sampling import Sample
from migsim.predict.search import Trial

__all__ = ["Estimate", "Found", "Report", "Settings", "Spread", "estimate_of", "found_of", "schema"]

_Seconds = Annotated[float, msgspec.Meta(description="seconds")]
_Rate = Annotated[float, msgspec.Meta(description="bytes per second")]
_Share = Annotated[float, msgspec.Meta(description="a share from 0 to 1")]


class Spread(msgspec.Struct, frozen=True):
    """Mean, least and greatest of the samples that completed."""

    mean: float
    low: float
    high: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a way of migrating is expected to come to.

    ``within`` counts the samples that completed with a downtime within the wanted one; it is null
    where none was asked for. The spreads are null where no sample completed: then it was given up
    at the deadline, which ``reason`` tells. Sizes are bytes.
    """

    name: str
    algorithm: str
    arguments: dict[str, Any]
    downtime_limit: _Seconds | None
    samples: int
    completed: int
    within: int | None
    total: Spread | None
    downtime: Spread | None
    bytes_sent: Spread | None
    guest_lost: Spread | None
    faults: Spread | None
    reason: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of plain pre-copy that keeps a downtime in all samples.

    ``downtime_limit`` is what to tell the hypervisor, ``downtime`` what came of it, the fixed part
    included.
    """

    downtime_limit: _Seconds | None
    link_rate: _Rate
    throttle: _Share
    total: Spread
    downtime: Spread


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Which settings of plain pre-copy keep the wanted downtime.

    ``as_is`` tells whether the link and the guest as they are do. The others are the smallest
    values with everything else as it is: null where none was found. ``needs_postcopy`` is true
    where neither more bandwidth nor throttling is enough.
    """

    as_is: bool
    least_downtime: Found | None
    least_link_rate: Found | None
    least_throttle: Found | None
    needs_postcopy: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A prediction. Times are seconds, sizes bytes, rates bytes per second.

    ``fixed_downtime`` is the part of it that device state and start take; ``interval`` says what
    the spreads cover; ``settings`` is null unless a downtime is wanted.
    """

    guest: str
    memory: int
    zero_share: _Share
    link: str
    link_rate: _Rate | None
    round_trip: _Seconds
    wanted_downtime: _Seconds | None
    fixed_downtime: _Seconds
    deadline: _Seconds
    interval: str
    estimates: list[Estimate]
    settings: Settings | None
    verdict: list[str]
    notes: list[str]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a report."""
    return msgspec.json.schema(Report)


def _spread(samples: Sequence[Sample], value: Callable[[Sample], float]) -> Spread:
    values = [float(value(sample)) for sample in samples]
    mean = sum(values) / len(values)
    low, high = min(values), max(values)
    return Spread(min(max(mean, low), high), low, high)  # sums of equal numbers are not exact


def estimate_of(trial: Trial, downtime: float | None) -> Estimate:
    """Return what the samples of a trial say."""
    setting, samples = trial.setting, trial.samples
    done = [sample for sample in samples if sample.completed]
    within = None
    if downtime is not None:
        within = sum(sample.downtime <= downtime for sample in done)
    failed = [sample for sample in samples if not sample.completed]
    return Estimate(
        name=setting.candidate.name,
        algorithm=setting.candidate.algorithm,
        arguments=dict(setting.candidate.arguments),
        downtime_limit=setting.limit,
        samples=len(samples),
        completed=len(done),
        within=within,
        total=_spread(done, lambda s: s.total) if done else None,
        downtime=_spread(done, lambda s: s.downtime) if done else None,
        bytes_sent=_spread(done, lambda s: s.bytes) if done else None,
        guest_lost=_spread(done, lambda s: s.lost) if done else None,
        faults=_spread(done, lambda s: s.faults) if done else None,
        reason=failed[0].error if failed else "",
    )


def found_of(trial: Trial, link_rate: float) -> Found:
    """Return a setting that was found; its trial has completed samples only."""
    return Found(
        downtime_limit=trial.setting.limit,
        link_rate=trial.setting.rate or link_rate,
        throttle=trial.setting.throttle,
        total=_spread(trial.samples, lambda s: s.total),
        downtime=_spread(trial.samples, lambda s: s.downtime),
    )
