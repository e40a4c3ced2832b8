"""A guest that has been running before its migration begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import small_arguments, small_trace

from migsim.content import RecordedContent
from migsim.errors import InputError
from migsim.recall import task_of
from migsim.registry import names
from migsim.simulate import run
from migsim.store import Row, frame
from migsim.task import Task

AGE = 7.3


@pytest.mark.parametrize("name", names("workload"))
def test_an_aged_guest_goes_on_where_it_would_be(name: str, tmp_path: Path) -> None:
    arguments = small_arguments(name, small_trace(tmp_path / "t.mtrace"))
    task = Task(algorithm="precopy", workload=name, memory="64MiB", workload_args=arguments)
    old = Task(**{**vars(task), "age": AGE})
    whole, later = task.resolve().make_workload(), old.resolve().make_workload()
    made = whole.index(AGE)
    for seconds in (0.0, 0.5, 3.0):
        assert later.index(seconds) == whole.index(AGE + seconds) - made
    pages, times = np.empty(500, np.int64), np.empty(500)
    expected, at = pages.copy(), times.copy()
    later.accesses(3, pages, times)
    whole.accesses(made + 3, expected, at)
    assert (pages == expected).all()
    np.testing.assert_allclose(times, at - AGE, rtol=0, atol=1e-12)
    assert (times >= 0).all()
    assert isinstance(later, RecordedContent) == isinstance(whole, RecordedContent)


def test_age_is_part_of_the_key_only_where_there_is_one() -> None:
    task = Task(algorithm="precopy", workload="idle", memory="64MiB")
    assert "age" not in task.resolve().describe()
    assert Task(**{**vars(task), "age": 1.0}).resolve().describe()["age"] == 1.0


@pytest.mark.parametrize("age", [-1.0, float("inf"), "old"])
def test_a_wrong_age_is_told(age: object) -> None:
    with pytest.raises(InputError, match=r"age is .* expected 0 seconds or more"):
        Task(algorithm="precopy", workload="idle", age=age).resolve()  # type: ignore[arg-type]


def test_a_stored_row_of_an_aged_guest_is_recalled(tmp_path: Path) -> None:
    arguments = small_arguments("trace", small_trace(tmp_path / "t.mtrace"))
    task = Task(
        algorithm="precopy", workload="trace", memory="64MiB", workload_args=arguments, age=AGE
    )
    resolved = task.resolve()
    row = frame([Row(task.key, resolved.describe(), run(task).as_dict())]).iloc[0].to_dict()
    assert row["age"] == AGE
    assert task_of(row).key == task.key
