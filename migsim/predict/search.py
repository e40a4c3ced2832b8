"""Which settings keep a migration within a downtime: the limit, the bandwidth, the throttle."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from migsim.predict.candidates import Candidate
from migsim.predict.sampling import (
    PROBES,
    Request,
    Sample,
    Scenario,
    Search,
    Setting,
    worst_downtime,
)

__all__ = ["MOST_RATE", "Trial", "attempt", "least_downtime", "least_rate", "least_throttle"]

MOST_RATE = 50e9
"""Bytes per second beyond which no bandwidth is looked for: 400 Gbit/s."""

_NEAR = 1.5  # times the downtime: what comes so near is tried again with a lower limit
_TRIES = 4
_MARGIN = 0.95
_UP, _DOWN = 4.0, 2.0  # steps of a search; slow links and short downtimes take long to simulate
_RATE_PRECISION, _SPARE_PRECISION, _DOWNTIME_PRECISION = 1.1, 1.25, 1.25


@dataclass(frozen=True)
class Trial:
    """A setting that was tried, and whether each of its samples kept the downtime."""

    setting: Setting
    samples: tuple[Sample, ...]
    kept: bool


def attempt(
    scenario: Scenario,
    setting: Setting,
    downtime: float | None,
    *,
    thorough: bool = False,
    quick: bool = False,
) -> Search[Trial]:
    """Try a setting, with the downtime limit under which it keeps the downtime if there is one.

    A hypervisor's limit is about the pages that are left; device state and start come on top, and
    pages that are dirtied meanwhile. So the limit starts where only the fixed part is deducted, and
    is lowered while the downtime is missed by little. Where the first samples fail, the others are
    simulated only if ``thorough``, and never if none of the first completes; ``quick`` leaves them
    out.
    """
    limit = setting.limit
    if downtime is not None and setting.candidate.limit:
        limit = max(downtime - scenario.fixed_downtime(setting.rate), 1e-3)
    goal = math.inf if downtime is None else downtime
    probes = min(PROBES, scenario.samples)
    first: Trial | None = None
    for _ in range(_TRIES):
        tried = dataclasses.replace(setting, limit=limit)
        (samples,) = yield [Request(tried, 1, probes)]
        worst = worst_downtime(samples)
        wanted = _keeps(worst, goal) or (thorough and any(s.completed for s in samples))
        if wanted and scenario.samples > probes and not quick:
            (others,) = yield [Request(tried, probes + 1, scenario.samples)]
            samples += others
            worst = worst_downtime(samples)
        trial = Trial(tried, samples, _keeps(worst, goal))
        first = first or trial
        if trial.kept:
            return trial
        if not setting.candidate.limit or limit is None or worst > _NEAR * goal:
            break
        limit *= _MARGIN * goal / worst
    return first or trial


def _keeps(worst: float, goal: float) -> bool:
    return worst <= goal and math.isfinite(worst)


def least_downtime(scenario: Scenario, candidate: Candidate, start: float) -> Search[Trial | None]:
    """Find the smallest downtime, within 25 %, that a candidate keeps; None if there is none."""
    return _least(
        lambda downtime, quick: attempt(scenario, Setting(candidate), downtime, quick=quick),
        start,
        (scenario.fixed_downtime() + 1e-3, scenario.patience()),
        _DOWNTIME_PRECISION,
    )


def least_rate(scenario: Scenario, candidate: Candidate, downtime: float) -> Search[Trial | None]:
    """Find the smallest rate of the link at which a candidate keeps a downtime.

    Within 10 %, or 25 % where it is less than there is. Round trip, loss and what else the link has
    stay as they are. None if even `MOST_RATE` is not enough, or the link is unlimited.
    """
    link = scenario.link
    if math.isinf(link.rate):
        return None

    def test(rate: float, quick: bool) -> Search[Trial]:
        return attempt(scenario, Setting(candidate, rate=rate), downtime, quick=quick)

    bounds = max(link.rate / 16, 1.1 * link.background), max(MOST_RATE, link.rate)
    plain = yield from test(link.rate, True)
    precision = _SPARE_PRECISION if plain.kept else _RATE_PRECISION
    return (yield from _least(test, link.rate, bounds, precision))


def least_throttle(
    scenario: Scenario, candidate: Candidate, downtime: float
) -> Search[Trial | None]:
    """Find the smallest share, within 2 %, to be taken from the vCPUs from the start."""

    def test(percents: int, quick: bool = True) -> Search[Trial]:
        setting = Setting(candidate, throttle=percents / 100)
        return attempt(scenario, setting, downtime, quick=quick)

    low, high = 0, 99
    plain = yield from test(low, quick=False)
    if plain.kept:
        return plain
    most = yield from test(high)
    if not most.kept:
        return None
    while high - low > 2:
        middle = (low + high) // 2
        trial = yield from test(middle)
        low, high = (low, middle) if trial.kept else (middle, high)
    for percents in [*range(high, 99, 2), 99]:
        trial = yield from test(percents, quick=False)
        if trial.kept:
            return trial
    return None


def _least(
    test: Callable[[float, bool], Search[Trial]],
    start: float,
    bounds: tuple[float, float],
    precision: float,
) -> Search[Trial | None]:
    """Find the smallest value that is kept: in steps from ``start``, then by halving the ratio.

    Takes larger values to be easier, which is true but for chance: so the search looks at the first
    samples only, and goes up from what it has found until all samples keep it.
    """
    lowest, highest = bounds
    good = bad = min(max(start, lowest), highest)
    trial = yield from test(good, True)
    while trial.kept and good > lowest:
        bad = max(good / _DOWN, lowest)
        trial = yield from test(bad, True)
        good = bad if trial.kept else good
    while not trial.kept and good == bad:
        if good >= highest:
            return None
        good = min(bad * _UP, highest)
        trial = yield from test(good, True)
        if not trial.kept:
            bad = good
    while good > precision * bad:
        middle = math.sqrt(good * bad)
        trial = yield from test(middle, True)
        good, bad = (middle, bad) if trial.kept else (good, middle)
    while True:
        trial = yield from test(good, False)
        if trial.kept:
            return trial
        if good >= highest:
            return None
        good = min(good * precision, highest)
