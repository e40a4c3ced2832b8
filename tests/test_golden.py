"""Unchanged algorithms reproduce the committed results to the last digit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from experiments import ci, compression, distance, gigabit
from migsim import Task, run
from migsim.experiment import Plan

COMMITTED = Path(__file__).parents[1] / "paper" / "results"
CHANGED = "raise MODEL_VERSION and rebuild paper/results, as CONTRIBUTING says"


@pytest.fixture(scope="module")
def committed() -> dict[str, pd.DataFrame]:
    files = ("ci.csv", "gigabit.csv", "distance.csv.gz", "compression.csv.gz")
    return {name: pd.read_csv(COMMITTED / name, keep_default_na=False) for name in files}


@pytest.mark.parametrize(
    "task", gigabit.tasks(Plan(seeds=1)), ids=lambda task: f"{task.algorithm}, {task.label}"
)
def test_a_committed_row_is_reproduced(task: Task, committed: dict[str, pd.DataFrame]) -> None:
    _compare(task, committed["gigabit.csv"])


@pytest.mark.parametrize(
    "task",
    distance.tasks(Plan(seeds=1))[::41],
    ids=lambda task: f"{task.algorithm}, {task.label}, {dict(task.link_args)}",
)
def test_a_committed_row_over_distance_is_reproduced(
    task: Task, committed: dict[str, pd.DataFrame]
) -> None:
    _compare(task, committed["distance.csv.gz"])


@pytest.mark.parametrize(
    "task",
    compression.tasks(Plan(seeds=1))[::17],
    ids=lambda task: f"{task.algorithm}, {dict(task.algorithm_args)}, {task.label}, {task.link}",
)
def test_a_committed_row_of_a_codec_is_reproduced(
    task: Task, committed: dict[str, pd.DataFrame]
) -> None:
    _compare(task, committed["compression.csv.gz"])


@pytest.mark.parametrize(
    "task",
    ci.tasks(Plan(seeds=1))[::9],
    ids=lambda task: f"{task.algorithm}, {task.label}, {task.link}",
)
def test_a_committed_row_of_the_standard_suite_is_reproduced(
    task: Task, committed: dict[str, pd.DataFrame]
) -> None:
    _compare(task, committed["ci.csv"])


def _compare(task: Task, rows: pd.DataFrame) -> None:
    resolved = task.resolve()
    link = resolved.link
    same = (rows["label"] == task.label) & (rows["algorithm"] == task.algorithm)
    same &= rows["seed"] == task.seed
    for name in ("rate", "rtt", "loss", "streams"):
        same &= rows[f"link.{name}"].astype(float) == getattr(link, name)
    for name, _ in task.algorithm_args:
        value = resolved.algorithm_args[name]  # a table with gaps has 8.0 for 8
        same &= rows[f"algorithm.{name}"].astype(str).isin([f"{value}", f"{value}.0"])
    assert same.sum() == 1
    row, result = rows[same].iloc[0], run(task).as_dict()
    changed = {
        name: (row[name], value) for name, value in result.items() if not _same(row[name], value)
    }
    assert not changed, CHANGED


def _same(kept: object, value: object) -> bool:
    return str(kept) == str(value) if isinstance(value, str) else float(kept) == float(value)
