"""Unchanged algorithms reproduce the committed results to the last digit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments import gigabit
from migsim import run
from migsim.experiment import Plan

COMMITTED = Path(__file__).parents[1] / "paper" / "results" / "gigabit.csv"
TASKS = gigabit.tasks(Plan(seeds=1))


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return pd.read_csv(COMMITTED, keep_default_na=False).set_index(["label", "algorithm", "seed"])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.algorithm}, {task.label}")
def test_a_committed_row_is_reproduced(task, committed: pd.DataFrame) -> None:
    row = committed.loc[(task.label, task.algorithm, task.seed)]
    result = run(task).as_dict()
    changed = {
        name: (row[name], value) for name, value in result.items() if not _same(row[name], value)
    }
    assert not changed, "raise MODEL_VERSION and rebuild paper/results, as CONTRIBUTING says"


def _same(kept: object, value: object) -> bool:
    return str(kept) == str(value) if isinstance(value, str) else float(kept) == float(value)
