"""The time left is honest: long migrations that come last do not hide behind short ones."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim import Task
from migsim.time_left import TimeLeft, scenario_of


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tasks(costs: dict[str, float], seeds: int) -> dict[str, Task]:
    return {
        f"{name} {seed}": Task(algorithm=name, workload="idle", seed=seed)
        for seed in range(seeds)
        for name in costs
    }


def test_a_scenario_is_what_repetitions_share() -> None:
    one = Task(algorithm="precopy", workload="idle", seed=1)
    assert scenario_of(one) == scenario_of(Task(algorithm="precopy", workload="idle", seed=2))
    assert scenario_of(one) != scenario_of(Task(algorithm="postcopy", workload="idle", seed=1))


def test_nothing_is_known_before_the_first_is_done() -> None:
    assert math.isnan(TimeLeft(tasks({"a": 1}, 2)).seconds())


@given(
    st.dictionaries(st.sampled_from("abcde"), st.floats(0.001, 1000), min_size=1),
    st.integers(2, 5),
    st.integers(1, 4),
)
def test_once_each_scenario_has_been_seen_the_rest_is_known(
    costs: dict[str, float], seeds: int, workers: int
) -> None:
    clock = Clock()
    listed = tasks(costs, seeds)
    left = TimeLeft(listed, clock)
    rest = seeds * sum(costs.values())
    for place, (key, task) in enumerate(listed.items(), start=1):
        seconds = costs[str(task.algorithm)]
        clock.now += seconds / workers
        rest -= seconds
        left.note(key, seconds)
        if place >= len(costs):
            assert left.seconds() == pytest.approx(rest / workers, rel=1e-6, abs=1e-6)


def test_long_ones_that_come_last_show_as_soon_as_one_of_them_is_done() -> None:
    clock = Clock()
    short = {f"s{k}": Task(algorithm="short", workload="idle", seed=k) for k in range(1000)}
    long = {f"l{k}": Task(algorithm="long", workload="idle", seed=k) for k in range(10)}
    left = TimeLeft(short | long, clock)
    for key in short:
        clock.now += 0.01
        left.note(key, 0.01)
    clock.now += 60
    left.note("l0", 60.0)
    assert left.seconds() == pytest.approx(9 * 60)  # a mean over all would say 0.6 s
