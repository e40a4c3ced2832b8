"""Unchanged algorithms reproduce the committed results to the last digit."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from migsim import Task
from migsim.experiment import Plan, completed_only, load
from migsim.paper.committed import committed_results
from migsim.paper.plan import read_plan
from migsim.simulate import execute
from migsim.work import Unit

PAPER = Path(__file__).parents[1] / "paper"
PLAN = read_plan(PAPER)
CHANGED = "raise MODEL_VERSION and run 'migsim paper --update', as CONTRIBUTING says"
SAMPLES = {
    "gigabit": 5, "distance": 123, "compression": 51, "algorithms_overview": 53,
    "vmotion_claims": 51, "faults": 401,
}  # fmt: skip
"""One in so many of the committed migrations is run again; of the suite ``ci``, which CI runs
whole, few."""
FEW = 101


@cache
def tasks(name: str) -> list[Unit]:
    return list(load(name).tasks(Plan(seeds=PLAN.experiments[name].seeds)))


@cache
def committed(name: str) -> pd.DataFrame:
    return committed_results(PLAN, PAPER)[name]


def sample(name: str) -> list[int]:
    return list(range(0, len(tasks(name)), SAMPLES.get(name, FEW)))


@pytest.mark.parametrize("name", PLAN.experiments)
def test_the_committed_results_are_those_of_the_plan(name: str) -> None:
    kept = committed(name)
    fields = ["label", "seed"]
    if all(isinstance(task, Task) for task in tasks(name)):
        fields += ["algorithm", "link"]
    wanted = [tuple(getattr(task, field) for field in fields) for task in tasks(name)]
    assert list(kept[fields].itertuples(index=False, name=None)) == wanted, CHANGED


def result_of(unit: Unit) -> dict[str, Any]:
    """Return what a task, or another piece of work, comes to now."""
    if isinstance(unit, Task):
        return execute(unit.resolve()).result.as_dict()
    return dict(unit.resolve().run())


@pytest.mark.parametrize(
    ("name", "place"), [(name, place) for name in PLAN.experiments for place in sample(name)]
)
def test_a_committed_row_is_reproduced(name: str, place: int) -> None:
    row, result = committed(name).iloc[place], result_of(tasks(name)[place])
    changed = {
        column: (row[column], value)
        for column, value in result.items()
        if row[column] != value and not (value in {None, ""} and pd.isna(row[column]))
    }
    assert not changed, CHANGED


@pytest.mark.parametrize("name", PLAN.experiments)
def test_a_committed_page_is_what_the_committed_results_give(name: str) -> None:
    page, kept = load(name).page(completed_only(committed(name))), PAPER / "results" / f"{name}.md"
    assert page == (kept.read_text() if kept.exists() else ""), CHANGED
