"""In which order, and how many at a time, should the machines of a host leave it?

Forty machines that do what six recorded programs did leave one host for three others, over ports of
1 and 10 Gbit/s. Orders by rule (largest first, smallest first, random) stand beside the one that
sends each machine when migsim predicts it to be quiet. That order is made twice: by predictions of
these very machines, as one who can look at them would make it, and by predictions of machines that
run the same programs and are at another place in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migsim.experiment import Claim, Plan
from migsim.fleet.work import EvacuationTask
from migsim.plotting import look_of
from migsim.stats import Interval, mean_interval, paired_difference

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SCENARIO = Path(__file__).parent / "fleets" / "evacuation.toml"
MEMORY_SHARE = 0.125
"""Machines have an eighth of the memory that the file gives them, so that a sweep takes minutes."""

CASES: dict[tuple[str, str], tuple[int, ...]] = {
    ("10Gbit/s", "precopy"): (1, 4, 8),
    ("10Gbit/s", "hybrid"): (1, 4, 8),
    ("1Gbit/s", "hybrid"): (1, 4),
}
"""Numbers of migrations at a time, up to vSphere's limit, by rate and algorithm."""
QUICK: dict[tuple[str, str], tuple[int, ...]] = {("10Gbit/s", "precopy"): (1, 4)}

RULES = ("random", "largest", "smallest", "quiet")
BLIND = "quiet, blind"
ORDERS = {
    "random": "random order",
    "largest": "largest first",
    "smallest": "smallest first",
    BLIND: "when quiet, by others of their kind",
    "quiet": "when quiet, by predictions of them",
}


def tasks(plan: Plan) -> list[EvacuationTask]:
    """Return every order and number at a time, for each rate, algorithm and seed."""
    cases = dict(QUICK if plan.quick else CASES)
    for name in plan.algorithms:
        cases[("10Gbit/s", name)] = (1, 4)
    return [
        task
        for (rate, algorithm), numbers in cases.items()
        for seed in range(plan.seeds)
        for number in numbers
        for task in _orders(rate, algorithm, number, seed)
    ]


def _orders(rate: str, algorithm: str, number: int, seed: int) -> list[EvacuationTask]:
    def task(order: str, planned_on: int | None = None) -> EvacuationTask:
        return EvacuationTask(
            scenario=str(SCENARIO), algorithm=algorithm, rate=rate, memory_share=MEMORY_SHARE,
            order=order, concurrency=number, planned_on=planned_on, seed=seed,  # type: ignore[arg-type]
            label=f"{rate}, {number} at a time",
        )  # fmt: skip

    return [task(order) for order in RULES] + [task("quiet", planned_on=seed + 1)]


def claims(results: pd.DataFrame) -> list[Claim]:
    return []


def figure(results: pd.DataFrame) -> Figure:
    from migsim.plotting.style import new_figure

    return new_figure(7, 2)
