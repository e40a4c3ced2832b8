"""A comparison in words: what all reports have in common."""

from __future__ import annotations

import math

from migsim.compare.verdicts import Change, Comparison, Verdict

__all__ = ["HEADINGS", "counted", "places", "sentence", "share", "signed_share", "summary"]

HEADINGS: tuple[tuple[Verdict, str], ...] = (
    ("worse", "Worse"),
    ("better", "Better"),
    ("unclear", "Changed, but not significantly"),
    ("within", "Changed within the threshold"),
)


def counted(count: int, thing: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "block"), counted(2, "block")
    ('1 block', '2 blocks')
    """
    return f"{count} {thing}{'' if count == 1 else 's'}"


def share(fraction: float) -> str:
    """Return a fraction in per cent, without the sign, with the digits that a reader needs.

    >>> share(0.05), share(-0.0002), share(2.5), share(0.0)
    ('5.0', '0.02', '250', '0.0')
    """
    percent = abs(100 * fraction)
    if percent >= 99.95:
        return f"{percent:.0f}"
    return f"{percent:.1f}" if percent >= 0.05 or not percent else f"{percent:.2g}"


def signed_share(ratio: float) -> str:
    """Return a ratio as a change in per cent with its sign.

    >>> signed_share(1.05), signed_share(0.5)
    ('+5.0 %', '-50.0 %')
    """
    return f"{'+' if ratio > 1 else '-'}{share(ratio - 1)} %"


def sentence(change: Change) -> str:
    """Return a change in one sentence, such as ``precopy: downtime 5.0 % longer (...)``."""
    evidence = ", ".join([_interval(change), _p(change.p), counted(change.blocks, "block")])
    return f"{change.algorithm}: {_change(change)} ({evidence})"


def _change(change: Change) -> str:
    mean = change.ratio.mean
    return change.measure.sentence(f"{share(mean - 1)} %", grew=mean > 1)


def _interval(change: Change) -> str:
    ends = [change.ratio.low - 1, change.ratio.high - 1]
    if change.ratio.low <= 0 or not math.isfinite(change.ratio.high):
        return "too few blocks for a 95 % interval"
    if change.ratio.mean <= 1:  # the words say "shorter", so that is what counts upwards
        ends = [-ends[1], -ends[0]]
    low, high = ((("-" if end < 0 else "") + share(end)) for end in ends)
    return f"95 % interval {low} to {high} %"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def places(change: Change) -> str:
    """Return in how many scenarios it changed, and where most."""
    most = ", ".join(f"{place} {signed_share(ratio)}" for place, ratio in change.most)
    where = f"in {change.changed} of {counted(change.scenarios, 'scenario')}"
    return f"{where}; most: {most}" if most else where


def summary(comparison: Comparison) -> str:
    """Return the whole comparison in one line."""
    total = counted(comparison.matched, "result")
    algorithms = counted(len(comparison.algorithms), "algorithm")
    same = len(comparison.unchanged) == len(comparison.algorithms)
    if same and not comparison.broken:
        return f"no difference: {total} of {algorithms} are identical to the bit"
    parts = []
    if elsewhere := comparison.elsewhere:
        parts.append(f"changed in none of the compared measures: {', '.join(elsewhere)}")
    if comparison.broken:
        parts.append(f"{len(comparison.broken)} broken")
    for verdict, _ in HEADINGS:
        told: dict[str, list[str]] = {}
        for change in comparison.of(verdict):
            told.setdefault(change.algorithm, []).append(_change(change))
        kind = {"unclear": "not significant", "within": "within the threshold"}.get(verdict)
        if told and kind:
            parts.append(f"{kind}: {', '.join(told)}")
        elif told:
            named = [f"{name} ({', '.join(each)})" for name, each in told.items()]
            parts.append(f"{verdict}: {', '.join(named)}")
    parts.append(f"{len(comparison.unchanged)} of {algorithms} unchanged")
    return "; ".join(parts)
