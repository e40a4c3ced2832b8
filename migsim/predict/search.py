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
_RATE_STEP, _RATE_PRECISION = 4.0, 1.05
_DOWNTIME_STEP, _DOWNTIME_PRECISION = 2.0, 1.1


@dataclass(frozen=True)
class Trial:
    """A setting that was tried, and whether each of its samples kept the downtime."""

    setting: Setting
    samples: tuple[Sample, ...]
    kept: bool


def attempt(
    scenario: Scenario, setting: Setting, downtime: float | None, *, thorough: bool = False
) -> Search[Trial]:
    """Try a setting, with the downtime limit under which it keeps the downtime if there is one.

    A hypervisor's limit is about the pages that are left; device state and start come on top, and
    pages that are dirtied meanwhile. So the limit starts where only the fixed part is deducted, and
    is lowered while the downtime is missed by little. Where the first samples fail, the others are
    simulated only if ``thorough``, and never if none of the first completes.
    """
    limit = setting.limit
    if downtime is not None and setting.candidate.limit:
        limit = max(downtime - scenario.fixed_downtime(setting.rate), 1e-3)
    goal = math.inf if downtime is None else downtime
    first: Trial | None = None
    for _ in range(_TRIES):
        tried = dataclasses.replace(setting, limit=limit)
        probes = min(PROBES, scenario.samples)
        (samples,) = yield [Request(tried, 1, probes)]
        worst = worst_downtime(samples)
        wanted = worst <= goal or (thorough and any(s.completed for s in samples))
        if wanted and scenario.samples > probes:
            (others,) = yield [Request(tried, probes + 1, scenario.samples)]
            samples += others
            worst = worst_downtime(samples)
        kept = worst <= goal and math.isfinite(worst)
        trial = Trial(tried, samples, kept)
        first = first or trial
        if kept:
            return trial
        if not setting.candidate.limit or limit is None or worst > _NEAR * goal:
            break
        limit *= _MARGIN * goal / worst
    return first or trial


def least_downtime(
    scenario: Scenario, candidate: Candidate, start: float
) -> Search[tuple[float, Trial] | None]:
    """Find the smallest downtime, within 10 %, that a candidate keeps; None if there is none."""
    return _least(
        lambda downtime: attempt(scenario, Setting(candidate), downtime),
        start,
        (scenario.fixed_downtime() + 1e-3, scenario.patience()),
        _DOWNTIME_STEP,
        _DOWNTIME_PRECISION,
    )


def least_rate(
    scenario: Scenario, candidate: Candidate, downtime: float
) -> Search[tuple[float, Trial] | None]:
    """Find the smallest rate of the link, within 5 %, at which a candidate keeps a downtime.

    Round trip, loss and what else the link has stay as they are. None if even `MOST_RATE` is not
    enough, or nothing is found because the link is unlimited.
    """
    link = scenario.link
    if math.isinf(link.rate):
        return None
    found = yield from _least(
        lambda rate: attempt(scenario, Setting(candidate, rate=rate), downtime),
        link.rate,
        (max(link.rate / 256, 1.1 * link.background), max(MOST_RATE, link.rate)),
        _RATE_STEP,
        _RATE_PRECISION,
    )
    return found


def least_throttle(
    scenario: Scenario, candidate: Candidate, downtime: float
) -> Search[tuple[float, Trial] | None]:
    """Find the smallest share, in whole percents, to be taken from the vCPUs from the start."""
    low, high = 0, 99
    plain = yield from attempt(scenario, Setting(candidate), downtime)
    if plain.kept:
        return 0.0, plain
    best = yield from attempt(scenario, Setting(candidate, throttle=high / 100), downtime)
    if not best.kept:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        trial = yield from attempt(scenario, Setting(candidate, throttle=middle / 100), downtime)
        if trial.kept:
            high, best = middle, trial
        else:
            low = middle
    return high / 100, best


def _least(
    test: Callable[[float], Search[Trial]],
    start: float,
    bounds: tuple[float, float],
    step: float,
    precision: float,
) -> Search[tuple[float, Trial] | None]:
    """Find the smallest value that is kept: in steps from ``start``, then by halving the ratio.

    Takes larger values to be easier, which is true but for chance.
    """
    lowest, highest = bounds
    value = min(max(start, lowest), highest)
    trial = yield from test(value)
    good: tuple[float, Trial] | None = (value, trial) if trial.kept else None
    bad = value
    if good is not None:
        while True:  # downward until one is missed
            if good[0] <= lowest:
                return good
            bad = max(good[0] / step, lowest)
            trial = yield from test(bad)
            if not trial.kept:
                break
            good = bad, trial
    else:
        while good is None:
            if bad >= highest:
                return None
            value = min(bad * step, highest)
            trial = yield from test(value)
            if trial.kept:
                good = value, trial
            else:
                bad = value
    while good[0] > precision * bad:
        value = math.sqrt(good[0] * bad)
        trial = yield from test(value)
        if trial.kept:
            good = value, trial
        else:
            bad = value
    return good
