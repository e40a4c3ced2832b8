"""A prediction in words that an operator understands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from migsim.predict.candidates import Candidate
from migsim.predict.sampling import Scenario
from migsim.predict.search import MOST_RATE
from migsim.units import format_rate, format_seconds

if TYPE_CHECKING:
    from migsim.predict.report import Estimate, Found, Settings

__all__ = ["interval_of", "verdict_of"]


def interval_of(scenario: Scenario) -> str:
    """Return what the spreads cover.

    Samples are alike, so that each of n + 1 is as likely as any other to be the greatest or the
    least: the next one lies between those of n with a chance of (n - 1) / (n + 1).
    """
    n = scenario.samples
    if n == 1:
        return f"one sample, so no interval; not covered: {scenario.guest.varies}"
    chance = (n - 1) / (n + 1)
    return (
        f"from the least to the greatest of {n} samples, where one more falls with a chance of "
        f"{100 * chance:.0f} %; they differ in {scenario.guest.varies}; the model's own error "
        "comes on top"
    )


def verdict_of(
    scenario: Scenario,
    base: Candidate,
    downtime: float,
    settings: Settings | None,
    estimates: Sequence[Estimate],
    candidates: Sequence[Candidate],
) -> list[str]:
    """Return sentences on what keeps the wanted downtime."""
    wanted = format_seconds(downtime)
    if settings is None:
        fixed = format_seconds(scenario.fixed_downtime())
        return [
            f"Nothing keeps the downtime within {wanted} over this link: device state and the "
            f"start at the destination alone take {fixed}."
        ]
    sentences = [_as_is(scenario, base, wanted, settings, estimates)]
    sentences += _limits(scenario, base, wanted, settings)
    return [*sentences, *_others(base, wanted, settings, estimates, candidates)]


def _as_is(
    scenario: Scenario,
    base: Candidate,
    wanted: str,
    settings: Settings,
    estimates: Sequence[Estimate],
) -> str:
    link = _link(scenario)
    if settings.as_is:
        assert settings.least_throttle is not None
        found = settings.least_throttle
        return (
            f"{base.name} keeps the downtime within {wanted} over {link}: set its downtime limit "
            f"to {format_seconds(found.downtime_limit or 0.0)} and expect {_time(found)}."
        )
    own = next((one for one in estimates if one.name == base.name), None)
    why = ""
    if own is not None and own.total is None:
        why = f": it was not done within {format_seconds(scenario.patience())}"
    elif own is not None and own.downtime is not None:
        why = f": its downtime is {format_seconds(own.downtime.high)} at worst"
    return f"{base.name} does not keep the downtime within {wanted} over {link}{why}."


def _limits(scenario: Scenario, base: Candidate, wanted: str, settings: Settings) -> list[str]:
    sentences = []
    least, rate, throttle = (
        settings.least_downtime, settings.least_link_rate, settings.least_throttle,
    )  # fmt: skip
    if least is None:
        sentences.append(
            f"No downtime limit makes {base.name} end within {format_seconds(scenario.patience())}."
        )
    else:
        sentences.append(
            f"The smallest downtime that it keeps over {_link(scenario)} is "
            f"{format_seconds(least.downtime.high)}, with a limit of "
            f"{format_seconds(least.downtime_limit or 0.0)} and {_time(least)}."
        )
    if rate is not None:
        needs = "would do with" if settings.as_is else "needs"
        sentences.append(
            f"For {wanted} it {needs} {_rounded_rate(rate.link_rate)}, with {_time(rate)}."
        )
    elif math.isfinite(scenario.link.rate):
        sentences.append(f"No bandwidth up to {format_rate(MOST_RATE)} is enough for {wanted}.")
    if not settings.as_is and throttle is not None:
        sentences.append(
            f"Or the guest is throttled by {100 * throttle.throttle:.0f} % from the start, with "
            f"{_time(throttle)}."
        )
    elif throttle is None:
        sentences.append("Throttling is not enough either, be it by 99 %.")
    return sentences


def _others(
    base: Candidate,
    wanted: str,
    settings: Settings,
    estimates: Sequence[Estimate],
    candidates: Sequence[Candidate],
) -> list[str]:
    if settings.as_is:
        return []
    notes = {candidate.name: candidate.note for candidate in candidates}
    keeping = [
        one
        for one in estimates
        if one.name != base.name and one.within == one.samples and one.total is not None
    ]
    sentences = ["It needs post-copy."] if settings.needs_postcopy else []
    if keeping:
        listed = "; ".join(_told(one, notes.get(one.name, "")) for one in keeping)
        sentences.append(f"Over the link as it is, within {wanted}: {listed}.")
    else:
        sentences.append(f"Over the link as it is, nothing else that was tried keeps {wanted}.")
    return sentences


def _told(one: Estimate, note: str) -> str:
    assert one.total is not None
    told = f"{one.name} ({note})" if note else one.name
    told += f" takes {format_seconds(one.total.mean)}"
    if one.guest_lost is not None:
        told += f" and {format_seconds(one.guest_lost.mean)} of the guest's time"
    return told


def _time(found: Found) -> str:
    return f"a total time of {format_seconds(found.total.mean)}"


def _link(scenario: Scenario) -> str:
    rate = scenario.link.rate
    return scenario.link_name if math.isinf(rate) else format_rate(rate)


def _rounded_rate(rate: float) -> str:
    """Return a rate in three digits, rounded up: what was found is enough, less may be not."""
    unit = 10.0 ** (math.floor(math.log10(rate * 8)) - 2)
    return format_rate(math.ceil(rate * 8 / unit - 1e-9) * unit / 8)
