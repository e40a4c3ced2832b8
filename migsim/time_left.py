"""How long a sweep will take yet, where migrations differ in cost by orders of magnitude."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from migsim.work import Unit

__all__ = ["TimeLeft", "scenario_of"]


def scenario_of(task: Unit) -> str:
    """Return what a task has in common with its repetitions with other seeds."""
    return repr(dataclasses.replace(task, seed=0))  # type: ignore[type-var]


class TimeLeft:
    """Estimates the time left from what migrations of the same scenario took.

    The time of a scenario of which none is done is the mean over those scenarios that are known:
    a mean over migrations would hide long ones that come last behind many short ones. How many
    run at once, and what is lost between them, shows in the work done per second so far.
    """

    def __init__(
        self, tasks: Mapping[str, Unit], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Take the tasks that are to be run, by key."""
        self._scenarios = {key: scenario_of(task) for key, task in tasks.items()}
        self._waiting = Counter(self._scenarios.values())
        self._took: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0])
        self._clock, self._started = clock, clock()
        self._work = 0.0

    def note(self, key: str, seconds: float) -> None:
        """Take down that a task is done, and the seconds that it took."""
        scenario = self._scenarios[key]
        self._waiting[scenario] -= 1
        took = self._took[scenario]
        took[0] += 1
        took[1] += seconds
        self._work += seconds

    def seconds(self) -> float:
        """Return the seconds left; NaN before the first task is done."""
        if not self._work:
            return math.nan
        means = {name: total / count for name, (count, total) in self._took.items()}
        usual = sum(means.values()) / len(means)
        work = sum(count * means.get(name, usual) for name, count in self._waiting.items())
        return work * (self._clock() - self._started) / self._work
