"""Grids: what products, unions and parts of them are, and the tasks that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migsim import InputError, Task
from migsim.sweep import Grid, axis, guest_axis

names = st.sampled_from(["seed", "link.rtt", "vm.vcpus", "algorithm.max_rounds", "memory"])


@st.composite
def axes(draw: st.DrawFn, count: int) -> list[Grid]:
    chosen = draw(st.lists(names, min_size=count, max_size=count, unique=True))
    return [axis(name, draw(st.lists(st.integers(0, 9), max_size=4))) for name in chosen]


def points(grid: Grid) -> list[dict[str, object]]:
    return [dict(point) for point in grid]


@given(axes(3))
def test_products_are_associative_and_union_distributes_over_them(grids: list[Grid]) -> None:
    a, b, c = grids
    assert points((a * b) * c) == points(a * (b * c))
    assert len(a * b) == len(a) * len(b)
    assert points((a + b) * c) == points(a * c + b * c)
    assert sorted(map(repr, points(c * (a + b)))) == sorted(map(repr, points(c * a + c * b)))


@given(axes(2))
def test_a_union_has_each_point_once_and_the_first_grid_first(grids: list[Grid]) -> None:
    a, b = grids
    assert points(a + a) == points(a)
    assert points(a + b)[: len(a)] == points(a)
    assert len(a + b) == len(a) + len(b)


@given(axes(2), st.integers(0, 9))
def test_a_condition_and_its_contrary_part_a_grid(grids: list[Grid], limit: int) -> None:
    grid = grids[0] * grids[1]

    def small(point: object) -> bool:
        return sum(dict(point).values()) < limit  # type: ignore[call-overload,no-any-return]

    low, high = grid.where(small), grid.where(lambda point: not small(point))
    assert len(low) + len(high) == len(grid)
    assert all(small(point) for point in low)
    assert [point for point in grid if small(point)] == list(low)


def test_the_first_axis_varies_slowest() -> None:
    grid = axis("seed", range(2)) * axis("algorithm", ["precopy", "postcopy"])
    assert [tuple(point.values()) for point in grid] == [
        (0, "precopy"), (0, "postcopy"), (1, "precopy"), (1, "postcopy"),
    ]  # fmt: skip


def test_a_grid_is_the_tasks_that_one_would_write() -> None:
    grid = (
        guest_axis({"busy": ("hotcold", {"rate": "50MB/s"})}, "{} guest")
        * axis("path", [{"link": "wan", "link.loss": 0.01}, {"link": "gigabit"}])
        * axis("algorithm", ["precopy"])
        * axis("algorithm.max_rounds", [3])
        * axis("vm.vcpus", [4])
    )
    common = {"algorithm": "precopy", "algorithm_args": {"max_rounds": 3}, "workload": "hotcold",
              "workload_args": {"rate": "50MB/s"}, "vm_args": {"vcpus": 4}, "memory": "64MiB",
              "label": "busy guest", "seed": 7}  # fmt: skip
    assert grid.tasks(memory="64MiB", seed=7) == [
        Task(link="wan", link_args={"loss": 0.01}, **common),  # type: ignore[arg-type]
        Task(link="gigabit", **common),  # type: ignore[arg-type]
    ]


def test_a_label_may_be_made_of_the_point() -> None:
    grid = axis("workload.rate", ["1MB/s", "2MB/s"])
    tasks = grid.tasks(
        algorithm="precopy", workload="uniform", label=lambda point: f"{point['workload.rate']}!"
    )
    assert [task.label for task in tasks] == ["1MB/s!", "2MB/s!"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("sed", "there is no setting 'sed', did you mean 'seed'"),
        ("linc.rtt", "there is no setting 'linc.rtt'"),
        ("algorithm_args", "there is no setting 'algorithm_args', did you mean 'algorithm'"),
        ("seed.x", "there is no setting"),
        ("link.", "there is no setting"),
    ],
)
def test_an_unknown_setting_is_told(name: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        axis(name, [1])
    with pytest.raises(InputError, match=sentence):
        axis("seed", [0]).tasks(algorithm="precopy", workload="idle", **{name: 1})


def test_a_setting_is_set_once() -> None:
    with pytest.raises(InputError, match="'seed' is set twice: 1 and 2"):
        axis("seed", [1]) * axis("seed", [2])
    with pytest.raises(InputError, match="'seed' is set twice"):
        axis("seed", [1]).tasks(seed=2)


def test_what_every_task_needs_is_asked_for() -> None:
    with pytest.raises(InputError, match="a point has no 'workload'"):
        axis("algorithm", ["precopy"]).tasks()


def test_all_algorithms_of_a_seed_meet_the_same_guest_and_no_two_seeds_do() -> None:
    grid = axis("seed", range(3)) * axis("algorithm", ["precopy", "postcopy", "vmotion"])
    drawn: dict[int, set[bytes]] = {}
    for task in grid.tasks(workload="hotcold", memory="16MiB", link="metro"):
        seen, times = np.empty(500, np.int64), np.empty(500, np.float64)
        resolved = task.resolve()
        resolved.make_workload().accesses(0, seen, times)
        drawn.setdefault(resolved.seed, set()).add(seen.tobytes() + times.tobytes())
    assert [len(guests) for guests in drawn.values()] == [1, 1, 1]
    assert len(set.union(*drawn.values())) == 3
