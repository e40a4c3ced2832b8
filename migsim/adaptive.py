"""As many repetitions as a comparison needs: seeds are added until its interval is narrow."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from migsim.errors import InputError, did_you_mean
from migsim.stats import Interval, mean_interval, paired_difference
from migsim.store import Row
from migsim.task import Task
from migsim.work import Unit

__all__ = ["LEAST_SEEDS", "Need", "Precision", "repeat"]

LEAST_SEEDS = 5
"""No spread is told from fewer."""


@dataclass(frozen=True)
class Precision:
    """How certain a comparison has to be.

    Attributes:
        share: the half-width that an interval may have, as a share of the reference's mean.
        measure: the field of `migsim.Result` that is compared.
        against: the algorithm that the others are compared with; "" for the first of each scenario.
        most_seeds: where to give up.
    """

    share: float
    measure: str = "downtime_seconds"
    against: str = ""
    most_seeds: int = 50


@dataclass(frozen=True)
class Need:
    """What one scenario needed.

    Attributes:
        name: its label, or its workload and link.
        seeds: how many seeds were run.
        share: the widest half-width, as a share of the reference's mean.
        reached: whether that is narrow enough.
    """

    name: str
    seeds: int
    share: float
    reached: bool


def repeat(
    tasks_of: Callable[[int], Sequence[Unit]],
    run: Callable[[Sequence[Task]], Sequence[Row]],
    precision: Precision,
) -> tuple[list[Task], list[Row], list[Need]]:
    """Run each scenario with more seeds until all of its comparisons are precise enough.

    ``tasks_of(k)`` returns the tasks of ``k`` seeds and ``run`` their rows. A scenario is a guest
    over a path; in it, every algorithm is compared with the reference by the 95 % interval of
    their paired differences (Student), an algorithm that has none beside it by that of its mean.
    All algorithms of a scenario run with the same seeds, 0 to k - 1, so that their means can be
    compared as well.

    To look at the data for when to stop makes the interval hold less often than 95 % (Chow &
    Robbins, 1965, show that it holds in the limit of narrow ones). With few seeds it is worst, as
    a spread may look small by chance: therefore there are at least five.

    Which seeds are run depends on the results alone, so running again gives the same rows, and
    those that are stored are not run again. Returns the tasks, in the order of ``tasks_of``, their
    rows, and what each scenario needed. Raises `InputError` where nothing can be compared, and for
    work that is no migration.
    """

    def migrations(count: int) -> list[Task]:
        return _migrations(tasks_of(count))

    seeds = dict.fromkeys(_scenarios(migrations(LEAST_SEEDS), precision), LEAST_SEEDS)
    needs: dict[str, Need] = {}
    rows: dict[Task, Row] = {}
    open_ones = list(seeds)
    while open_ones:
        wanted: dict[str, list[Task]] = {}
        for count in sorted({seeds[name] for name in open_ones}):
            listed = _by_scenario(migrations(count))
            wanted |= {name: listed[name] for name in open_ones if seeds[name] == count}
        tasks = [task for chosen in wanted.values() for task in chosen]
        rows.update(zip(tasks, run(tasks), strict=True))
        still_open = []
        for name, chosen in wanted.items():
            share = _widest(chosen, rows, precision)
            ran = len({task.seed for task in chosen})
            needs[name] = Need(_title(chosen[0]), ran, share, share <= precision.share)
            more = min(precision.most_seeds, _seeds_for(ran, share / precision.share))
            if not needs[name].reached and ran == seeds[name] < more:
                seeds[name] = more
                still_open.append(name)
        open_ones = still_open
    final = [task for task in migrations(max(seeds.values())) if task in rows]
    return final, [rows[task] for task in final], list(needs.values())


def _migrations(units: Sequence[Unit]) -> list[Task]:
    tasks = [unit for unit in units if isinstance(unit, Task)]
    if len(tasks) < len(units):
        raise InputError(
            "--precision is about single migrations, which these are not: give --seeds"
        )
    return tasks


def _seeds_for(seeds: int, excess: float) -> int:
    """Return how many seeds to try: the half-width falls as one over the root of their number."""
    if not math.isfinite(excess):
        return 2 * seeds
    return max(seeds + 1, min(2 * seeds, math.ceil(seeds * excess**2)))


def _scenario(task: Task) -> str:
    """Return what tasks have in common that differ in algorithm and seed alone."""
    return repr(dataclasses.replace(task, algorithm="", algorithm_args=(), seed=0))


def _by_scenario(tasks: Sequence[Task]) -> dict[str, list[Task]]:
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(_scenario(task), []).append(task)
    return found


def _scenarios(tasks: Sequence[Task], precision: Precision) -> list[str]:
    algorithms = {str(task.algorithm) for task in tasks}
    if precision.against and precision.against not in algorithms:
        hint = did_you_mean(precision.against, algorithms)
        raise InputError(f"--against {precision.against}: no task has that algorithm, {hint}")
    return list(_by_scenario(tasks))


def _title(task: Task) -> str:
    arguments = ", ".join(f"{name} {value}" for name, value in dict(task.link_args).items())
    link = f"{task.link} ({arguments})" if arguments else task.link
    return f"{task.label or task.workload} over {link}"


def _widest(tasks: Sequence[Task], rows: Mapping[Task, Row], precision: Precision) -> float:
    """Return the widest half-width of a scenario over the mean of the reference."""
    by: dict[tuple[str, object], dict[int, float]] = {}
    for task in tasks:
        contender = by.setdefault((str(task.algorithm), task.algorithm_args), {})
        result = rows[task].result
        # As in tables, what a migration measured that did not complete is no measurement.
        if result["status"] == "completed":
            contender[task.seed] = float(result[precision.measure])
    first = next((one for one in by if one[0] == precision.against), next(iter(by)))
    reference = by.pop(first)
    if not by:
        return _share(list(reference.values()), None, reference)
    shares = []
    for values in by.values():
        common = sorted(reference.keys() & values.keys())
        shares.append(
            _share([values[seed] for seed in common], [reference[seed] for seed in common],
                   reference)
        )  # fmt: skip
    return max(shares)


def _share(
    values: Sequence[float], others: Sequence[float] | None, reference: Mapping[int, float]
) -> float:
    if len(values) < 2:
        return math.inf
    found: Interval = mean_interval(values) if others is None else paired_difference(values, others)
    reach = (found.high - found.low) / 2
    if reach == 0:
        return 0.0
    mean = abs(sum(reference.values()) / len(reference))
    return reach / mean if mean else math.inf
