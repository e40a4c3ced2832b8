"""How often a comparison is wrong, by simulation on real results: false alarms, and misses.

Two runs of one algorithm with other seeds differ by chance alone. Whoever calls any of them
different, in any measure of any algorithm, has raised a false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from migsim import Task, run
from migsim._types import Floats, Integers
from migsim.compare import MEASURES, Change, Measure, Side, compare, parse_thresholds
from migsim.compare.verdicts import blocks_of, judge

ALGORITHMS = ("precopy", "hybrid", "xbzrle", "vmotion")
LIMITS = {"vmotion": "switchover"}
"""What an algorithm calls the downtime up to which it goes on."""
SCENARIOS = (
    ("uniform", "gigabit", {"rate": "30MB/s"}),
    ("zipf", "gigabit", {"rate": "60MB/s"}),
    ("hotcold", "metro", {"rate": "20MB/s"}),
    ("uniform", "metro", {"rate": "60MB/s"}),
)
POOL = 40
"""Seeds of which each trial draws."""
SEEDS = 3
"""Seeds of one side in a trial, as `migsim compare` has them by default: 12 blocks."""
TRIALS = 1000
SAME = parse_thresholds(["0"])


@dataclass(frozen=True)
class Pool:
    """Measurements by algorithm and measure, scenarios x seeds."""

    table: pd.DataFrame
    values: dict[tuple[str, Measure], Floats]

    def draw(self, generator: np.random.Generator) -> tuple[Integers, Integers]:
        """Return disjoint seeds of the two sides, for each scenario its own."""
        order = generator.permuted(np.tile(np.arange(POOL), (len(SCENARIOS), 1)), axis=1)
        return order[:, :SEEDS], order[:, SEEDS : 2 * SEEDS]

    def verdicts(
        self, base: Integers, head: Integers, factors: dict[tuple[str, str], Floats]
    ) -> dict[tuple[str, Measure], Change]:
        """Return the whole comparison of a trial, with measurements of HEAD multiplied."""
        scenario = np.repeat(np.arange(len(SCENARIOS)), SEEDS)
        blocks = {}
        for (name, measure), values in self.values.items():
            before = np.take_along_axis(values, base, axis=1).ravel()
            after = np.take_along_axis(values, head, axis=1).ravel()
            after = after * factors.get((name, measure.name), np.ones(after.size))
            blocks[name, measure] = blocks_of(before, after, scenario)
        return judge(blocks, SAME)


@pytest.fixture(scope="module")
def pool() -> Pool:
    rows = []
    for number, (workload, link, arguments) in enumerate(SCENARIOS):
        for seed in range(POOL):
            for algorithm in ALGORITHMS:
                task = Task(
                    algorithm=algorithm, workload=workload, workload_args=arguments, link=link,
                    memory="16MiB", seed=seed, vm_args={"page_seconds": "1us"},
                    algorithm_args={LIMITS.get(algorithm, "max_downtime"): 0.02},
                )  # fmt: skip
                result = run(task).as_dict()
                assert result["status"] == "completed"
                rows.append({"algorithm": algorithm, "scenario": number, "seed": seed, **result})
    table = pd.DataFrame(rows)
    values = {}
    for name, runs in table.groupby("algorithm"):
        ordered = runs.sort_values(["scenario", "seed"])
        for measure in MEASURES:
            values[str(name), measure] = measure.values(ordered).reshape(len(SCENARIOS), POOL)
    return Pool(table, values)


def test_the_pool_is_random_in_every_algorithm(pool: Pool) -> None:
    for name in ALGORITHMS:
        spread = [len(np.unique(pool.values[name, MEASURES[1]][i])) for i in range(len(SCENARIOS))]
        assert sum(spread) > POOL, name


def test_identical_algorithms_are_rarely_called_different(pool: Pool) -> None:
    generator = np.random.default_rng(6)
    alarms = 0
    for _ in range(TRIALS):
        changes = pool.verdicts(*pool.draw(generator), {})
        assert len(changes) >= 8
        alarms += any(change.verdict in ("worse", "better") for change in changes.values())
    share = alarms / TRIALS
    print(f"identical algorithms were called different in {share:.1%} of {TRIALS} trials")
    assert share <= 0.05


def test_without_the_correction_there_would_be_many_false_alarms(pool: Pool) -> None:
    """The simulation can fail: the raw p-values of the same trials exceed the level."""
    generator = np.random.default_rng(6)
    trials = 200
    alarms = 0
    for _ in range(trials):
        changes = pool.verdicts(*pool.draw(generator), {})
        # Holm's least p-value is the least raw one times the number of comparisons.
        alarms += min(change.p for change in changes.values()) <= 0.05 * len(changes)
    assert alarms / trials > 0.1


def test_a_change_of_five_per_cent_is_found(pool: Pool) -> None:
    """As `migsim compare` meets it: the same seeds on both sides, and the change itself varies."""
    generator = np.random.default_rng(7)
    found = alarms = 0
    trials = 300
    for _ in range(trials):
        seeds, _ = pool.draw(generator)
        factors = 1.05 * np.exp(generator.normal(0, 0.02, seeds.size))
        changes = pool.verdicts(seeds, seeds, {("precopy", "downtime"): factors})
        verdicts = {
            (name, measure.name): change.verdict for (name, measure), change in changes.items()
        }
        found += verdicts.pop(("precopy", "downtime")) == "worse"
        alarms += len(verdicts)
    print(f"a change of 5 % was found in {found / trials:.1%} of {trials} trials")
    assert found / trials > 0.95
    assert alarms == 0  # what is equal to the bit is not compared at all


def test_a_trial_is_what_compare_does(pool: Pool) -> None:
    seeds = pool.draw(np.random.default_rng(8))
    changes = pool.verdicts(*seeds, {})
    sides = []
    for chosen in seeds:
        parts = [
            pool.table[(pool.table["scenario"] == scenario) & (pool.table["seed"] == seed)].assign(
                seed=place, workload=str(scenario), link="x", algorithm_digest=str(chosen)
            )
            for scenario in range(len(SCENARIOS))
            for place, seed in enumerate(chosen[scenario])
        ]
        sides.append(Side("side", pd.concat(parts, ignore_index=True)))
    got = compare(sides[0], sides[1], SAME)
    expected = {(name, measure.name): change for (name, measure), change in changes.items()}
    assert {(each.algorithm, each.measure.name) for each in got.changes} == set(expected)
    for each in got.changes:
        told = expected[each.algorithm, each.measure.name]
        assert (each.p, each.verdict, each.blocks) == (told.p, told.verdict, told.blocks)
        assert each.ratio.mean == pytest.approx(told.ratio.mean)
