"""What changed from one set of results to the other, and whether that is for the worse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from migsim._types import Floats, Integers
from migsim.compare.loading import Side
from migsim.compare.matching import Pairs, match
from migsim.compare.measures import MEASURES, Measure, Thresholds
from migsim.errors import InputError
from migsim.stats import Interval, holm, rank_biserial, sign_flip

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEVEL", "Blocks", "Change", "Comparison", "Finding", "blocks_of", "compare", "judge"]

LEVEL = 0.05
"""The chance that we allow ourselves of calling anything different where nothing is."""

Verdict = Literal["worse", "better", "within", "unclear"]
_STATES = ("completed", "gave_up", "lost", "failed", "corrupt")
"""From good to bad."""


@dataclass(frozen=True)
class Blocks:
    """The log ratios of one measurement of one algorithm, HEAD to BASE.

    Attributes:
        log_ratios: one for each independent block.
        sizes: for how many equal blocks each stands.
    """

    log_ratios: Floats
    sizes: Floats


@dataclass(frozen=True)
class Change:
    """How one measurement of one algorithm changed.

    Attributes:
        algorithm, measure: of what.
        ratio: geometric mean of HEAD to BASE over the blocks, with its 95 % interval.
        p: of the sign-flip test, corrected by Holm for all changes of the comparison.
        effect: matched-pairs rank-biserial correlation, -1 (all less) to 1 (all more).
        blocks: independent blocks.
        verdict: ``worse`` or ``better`` where significant and beyond the threshold; ``within`` the
            threshold; ``unclear`` where beyond it but not significant.
        changed, scenarios: in how many scenarios it changed at all, and of how many.
        most: the scenarios with the largest changes and their ratios, the largest first.
    """

    algorithm: str
    measure: Measure
    ratio: Interval
    p: float
    effect: float
    blocks: int
    verdict: Verdict
    changed: int = 0
    scenarios: int = 0
    most: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that is broken.

    Attributes:
        subject: the algorithm, or ``claims``.
        sentence: what is wrong with it.
    """

    subject: str
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """All that two sets of results tell of one another.

    Attributes:
        base, head: what they are called.
        matched: pairs of results.
        algorithms: those of the pairs.
        unchanged: those of which all results are equal to the bit.
        changes: the measurements that changed, worst verdicts first.
        broken: what must not be.
        notes: what else there is to know.
        thresholds: what was let pass, by measure.
    """

    base: str
    head: str
    matched: int
    algorithms: tuple[str, ...]
    unchanged: tuple[str, ...]
    changes: tuple[Change, ...]
    broken: tuple[Finding, ...]
    notes: tuple[str, ...]
    thresholds: Thresholds

    def of(self, verdict: Verdict) -> tuple[Change, ...]:
        """Return the changes with that verdict."""
        return tuple(change for change in self.changes if change.verdict == verdict)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The algorithms whose results changed, but in nothing that is compared."""
        told = {*self.unchanged, *(change.algorithm for change in self.changes)}
        told |= {finding.subject for finding in self.broken}
        return tuple(name for name in self.algorithms if name not in told)

    @property
    def status(self) -> int:
        """The exit status: 1 where something is worse or broken, else 0."""
        return 1 if self.broken or self.of("worse") else 0


def compare(
    base: Side, head: Side, thresholds: Thresholds, *, allow_missing: bool = False
) -> Comparison:
    """Return what changed from ``base`` to ``head``.

    Raises `InputError` where the two have no task in common, or one has two results of a task.
    """
    pairs = match(base.results, head.results)
    if not len(pairs.base):
        raise InputError(
            f"BASE {base.name} and HEAD {head.name} have no task in common, so there is nothing "
            "to compare: expected results of the same experiment"
        )
    algorithms = tuple(dict.fromkeys(pairs.head["algorithm"]))
    names = pairs.head["algorithm"].to_numpy(object)
    same = pairs.same
    unchanged = tuple(name for name in algorithms if same[names == name].all())
    changes = _changes(pairs, [name for name in algorithms if name not in unchanged], thresholds)
    broken = [
        *(Finding("claims", f"broken claim: {sentence}") for sentence in head.broken),
        *_missing(pairs, algorithms, allow_missing),
        *_states(pairs, worse=True),
        *_silent(pairs, same),
    ]
    return Comparison(
        base.name,
        head.name,
        len(pairs.base),
        algorithms,
        unchanged,
        changes,
        tuple(broken),
        tuple(_notes(pairs, algorithms, unchanged, base, allow_missing)),
        thresholds,
    )


# ---- changes ------------------------------------------------------------------------------------


def blocks_of(before: Floats, after: Floats, scenario: Integers) -> Blocks:
    """Return the log ratios of the blocks of one algorithm and measure.

    Where no seed of a scenario changes anything, the seeds are no further evidence: they make one
    block, which keeps their weight.
    """
    ratios, sizes = [], []
    for number in np.unique(scenario):
        here = scenario == number
        found = np.log(after[here] / before[here])
        if np.all(before[here] == before[here][0]) and np.all(after[here] == after[here][0]):
            ratios.append(found[:1])
            sizes.append(np.array([float(found.size)]))
        else:
            ratios.append(found)
            sizes.append(np.ones(found.size))
    return Blocks(np.concatenate(ratios), np.concatenate(sizes))


def judge(
    blocks: Mapping[tuple[str, Measure], Blocks], thresholds: Thresholds
) -> dict[tuple[str, Measure], Change]:
    """Return the verdict on each algorithm and measure that changed at all.

    An algorithm is called worse or better where the change is significant *and* beyond its
    threshold, as Airspeed Velocity does. Blocks whose ratio is 1 throughout are no comparison and
    are left out; that depends on no sign, so the correction stays valid.
    """
    tests = {
        key: sign_flip(each.log_ratios, 1 - LEVEL, each.sizes)
        for key, each in blocks.items()
        if np.any(each.log_ratios)
    }
    adjusted = holm([test.p for test in tests.values()])
    changes = {}
    for (key, test), p in zip(tests.items(), adjusted, strict=True):
        low, mean, high = (
            math.exp(min(end, 700.0))  # exp of more is beyond all floating-point numbers
            for end in (test.interval.low, test.interval.mean, test.interval.high)
        )
        limit = thresholds[key[1].name] * (1 + 1e-9)  # what is exactly at the threshold passes
        beyond = abs(mean - 1) > limit
        verdict: Verdict = "unclear" if beyond else "within"
        if beyond and p <= LEVEL:
            verdict = "worse" if mean > 1 else "better"
        ratio = Interval(mean, low, high if math.isfinite(test.interval.high) else math.inf)
        effect = rank_biserial(blocks[key].log_ratios)
        changes[key] = Change(*key, ratio, float(p), effect, test.blocks, verdict)
    return changes


def _changes(pairs: Pairs, algorithms: Sequence[str], thresholds: Thresholds) -> tuple[Change, ...]:
    names = pairs.head["algorithm"].to_numpy(object)
    done = (
        (pairs.base["status"] == "completed") & (pairs.head["status"] == "completed")
    ).to_numpy()
    blocks, found = {}, {}
    for name in algorithms:
        chosen = done & (names == name)
        if not chosen.any():
            continue
        before, after = pairs.base[chosen], pairs.head[chosen]
        for measure in MEASURES:
            if not all(_has(table, measure) for table in (before, after)):
                continue
            values = measure.values(before), measure.values(after)
            key = (name, measure)
            blocks[key] = blocks_of(*values, pairs.scenario[chosen])
            found[key] = (chosen, np.log(values[1] / values[0]))
    changes = [
        _located(change, pairs, *found[key]) for key, change in judge(blocks, thresholds).items()
    ]
    order = ("worse", "better", "unclear", "within")
    return tuple(sorted(changes, key=lambda change: order.index(change.verdict)))


def _has(table: pd.DataFrame, measure: Measure) -> bool:
    needed = ["guest_seconds"] if measure.column == "lost_seconds" else [measure.column]
    return all(name in table and bool(table[name].notna().all()) for name in needed)


def _located(change: Change, pairs: Pairs, chosen: Any, log_ratios: Floats) -> Change:
    """Return the change with the scenarios in which it is largest: a mean hides them."""
    scenario = pairs.scenario[chosen]
    rows = pairs.head[chosen]
    places, means = [], []
    for number in np.unique(scenario):
        here = scenario == number
        places.append(_place(rows.iloc[int(np.argmax(here))]))
        means.append(float(log_ratios[here].mean()))
    sizes = [np.abs(log_ratios[scenario == number]).max() for number in np.unique(scenario)]
    order = sorted(range(len(means)), key=lambda i: -abs(means[i]))
    most = tuple((places[i], math.exp(min(means[i], 700.0))) for i in order[:3] if means[i])
    return replace(change, changed=int(np.count_nonzero(sizes)), scenarios=len(means), most=most)


def _place(row: pd.Series[Any]) -> str:
    label = row.get("label")
    return f"{label if isinstance(label, str) and label else row['workload']} / {row['link']}"


# ---- what is broken, and what is only told ------------------------------------------------------


def _missing(pairs: Pairs, algorithms: Sequence[str], allowed: bool) -> list[Finding]:
    gone = dict.fromkeys(name for name in pairs.only_base["algorithm"] if name not in algorithms)
    if allowed:
        return []
    here = set(pairs.only_head["algorithm"])
    return [
        Finding(
            name, f"{name}: has no results in HEAD" + (" of tasks in BASE" if name in here else "")
        )
        for name in gone
    ]


def _states(pairs: Pairs, *, worse: bool) -> list[Finding]:
    """Return the migrations that ended in a worse state than before, or in a better one."""
    counts: dict[tuple[str, str, str], list[str]] = {}
    differs = (pairs.base["status"] != pairs.head["status"]).to_numpy()
    before = pairs.base["status"][differs].astype(str)
    for old, (_, row) in zip(before, pairs.head[differs].iterrows(), strict=True):
        new = str(row["status"])
        if (_badness(new) > _badness(old)) == worse:
            counts.setdefault((str(row["algorithm"]), old, new), []).append(_place(row))
    return [
        Finding(name, f"{name}: {len(places)} {'migrations' if len(places) > 1 else 'migration'} "
                f"{new} that {old} before, as on {places[0]}")
        for (name, old, new), places in counts.items()
    ]  # fmt: skip


def _badness(state: str) -> int:
    return _STATES.index(state) if state in _STATES else len(_STATES)


def _silent(pairs: Pairs, same: Any) -> list[Finding]:
    """Return the algorithms whose results differ although nothing says that they may."""
    silent = ~same & pairs.same_sources
    found = []
    for name in dict.fromkeys(pairs.head["algorithm"][silent]):
        own = (pairs.head["algorithm"] == name).to_numpy()
        found.append(
            Finding(
                str(name),
                f"{name}: {int((silent & own).sum())} of {int(own.sum())} results differ although "
                "algorithm, workloads, links, codec costs and model version are the same: the "
                "engine changed results silently; raise MODEL_VERSION if it is meant to",
            )
        )
    return found


def _notes(
    pairs: Pairs,
    algorithms: Sequence[str],
    unchanged: Sequence[str],
    base: Side,
    allow_missing: bool,
) -> list[str]:
    notes = []
    known = {*algorithms, *pairs.only_base["algorithm"]}
    new = [name for name in dict.fromkeys(pairs.only_head["algorithm"]) if name not in known]
    if new:
        notes.append(f"new in HEAD: {', '.join(new)}")
    gone = [name for name in dict.fromkeys(pairs.only_base["algorithm"]) if name not in algorithms]
    if gone and allow_missing:
        notes.append(f"no longer in HEAD: {', '.join(gone)}")
    for table, side in ((pairs.only_base, "BASE"), (pairs.only_head, "HEAD")):
        there = table[table["algorithm"].isin(algorithms)]["algorithm"]
        if len(there):
            names = ", ".join(dict.fromkeys(there))
            notes.append(f"only in {side}: {len(there)} results of {names}")
    if pairs.added:
        notes.append(f"parameters of one side only, not compared: {', '.join(pairs.added)}")
    if "model" in pairs.base and "model" in pairs.head:
        old, now = (sorted(set(table["model"])) for table in (pairs.base, pairs.head))
        if old != now:
            told = [", ".join(f"{version:g}" for version in versions) for versions in (old, now)]
            notes.append(f"model version {told[0]} in BASE, {told[1]} in HEAD")
    edited = _edited(pairs, unchanged)
    if edited:
        notes.append(f"the source changed, the results did not: {', '.join(edited)}")
    notes += [finding.sentence for finding in _states(pairs, worse=False)]
    notes += [f"a claim was broken in BASE already: {sentence}" for sentence in base.broken]
    return notes


def _edited(pairs: Pairs, unchanged: Sequence[str]) -> list[str]:
    name = "algorithm_digest"
    if name not in pairs.base or name not in pairs.head:
        return []
    differs = (pairs.base[name] != pairs.head[name]).to_numpy()
    edited = set(pairs.head["algorithm"][differs])
    return [algorithm for algorithm in unchanged if algorithm in edited]
