"""The whole prediction: every candidate, the settings of plain pre-copy, and what follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from migsim.predict.candidates import Candidate
from migsim.predict.report import Report, Settings, estimate_of, found_of
from migsim.predict.sampling import Scenario, Search, Setting, run_all
from migsim.predict.search import Trial, attempt, least_downtime, least_rate, least_throttle
from migsim.predict.words import interval_of, verdict_of

__all__ = ["predict"]


def predict(
    scenario: Scenario,
    candidates: Sequence[Candidate],
    base: Candidate,
    downtime: float | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Return what to expect of each candidate and, if a downtime is wanted, which settings keep it.

    ``base`` is plain pre-copy, whose settings are searched. Raises `InputError`.
    """
    searches: list[Search[Any]] = [
        attempt(scenario, Setting(candidate), downtime, thorough=True) for candidate in candidates
    ]
    fixed = scenario.fixed_downtime()
    if downtime is not None and fixed < downtime:
        searches += [
            attempt(scenario, Setting(base), downtime),
            least_downtime(scenario, base, downtime),
            least_rate(scenario, base, downtime),
            least_throttle(scenario, base, downtime),
        ]
    found = run_all(scenario, searches, workers=workers, progress=progress)
    trials, rest = found[: len(candidates)], found[len(candidates) :]
    settings = _settings(*rest, link_rate=scenario.link.rate) if rest else None
    estimates = [estimate_of(trial, downtime) for trial in trials]
    rate = scenario.link.rate
    return Report(
        guest=scenario.guest.name,
        memory=scenario.vm.memory,
        zero_share=scenario.vm.zero_fraction,
        link=scenario.link_name,
        link_rate=rate if math.isfinite(rate) else None,
        round_trip=scenario.link.rtt,
        wanted_downtime=downtime,
        fixed_downtime=fixed,
        deadline=scenario.patience(),
        interval=interval_of(scenario),
        estimates=estimates,
        settings=settings,
        verdict=[]
        if downtime is None
        else verdict_of(scenario, base, downtime, settings, estimates, candidates),
        notes=list(scenario.guest.notes),
    )


def _settings(
    plain: Trial,
    downtime: Trial | None,
    rate: Trial | None,
    throttle: Trial | None,
    *,
    link_rate: float,
) -> Settings:
    return Settings(
        as_is=plain.kept,
        least_downtime=None if downtime is None else found_of(downtime, link_rate),
        least_link_rate=None if rate is None else found_of(rate, link_rate),
        least_throttle=None if throttle is None else found_of(throttle, link_rate),
        needs_postcopy=not plain.kept and rate is None and throttle is None,
    )
