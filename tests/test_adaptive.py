"""Repetition until an interval is narrow: as many seeds as it takes, the same ones every time."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from migsim import InputError, Task
from migsim.adaptive import Need, Precision, repeat
from migsim.stats import paired_difference
from migsim.store import Row
from migsim.sweep import axis

SPREADS = {"calm": 0.001, "lively": 0.1, "wild": 10.0}


def tasks_of(seeds: int) -> list[Task]:
    grid = axis("label", SPREADS) * axis("seed", range(seeds))
    return (grid * axis("algorithm", ["precopy", "postcopy", "hybrid"])).tasks(workload="idle")


def downtime(task: Task) -> float:
    """Return a mean of 1 with a spread of the guest's, which algorithms share but for a part."""
    key = [task.seed, *map(ord, task.label + str(task.algorithm))]
    own = np.random.default_rng(key).normal()
    common = np.random.default_rng([task.seed, 1]).normal()
    return float(1.0 + common + SPREADS[task.label] * own)


class Runner:
    """Makes rows up, and counts."""

    def __init__(self, status: str = "completed") -> None:
        self.calls: list[list[Task]] = []
        self.status = status

    def __call__(self, tasks: Sequence[Task]) -> list[Row]:
        self.calls.append(list(tasks))
        return [
            Row(repr(task), {}, {"status": self.status, "downtime_seconds": downtime(task)})
            for task in tasks
        ]


def by_name(needs: Sequence[Need]) -> dict[str, Need]:
    return {need.name.removesuffix(" over gigabit"): need for need in needs}


def test_each_scenario_runs_until_its_intervals_are_narrow() -> None:
    run = Runner()
    tasks, rows, needs = repeat(tasks_of, run, Precision(0.05, most_seeds=200))
    found = by_name(needs)
    assert found["calm"].seeds == 5
    assert found["calm"].reached
    assert 5 < found["lively"].seeds < 200
    assert found["lively"].reached
    assert found["wild"] == dataclasses.replace(found["wild"], seeds=200, reached=False)
    for label, need in found.items():
        values = {
            name: [
                downtime(task) for task in tasks if (task.label, task.algorithm) == (label, name)
            ]
            for name in ("precopy", "postcopy", "hybrid")
        }
        assert {len(listed) for listed in values.values()} == {need.seeds}
        reach = max(
            (interval.high - interval.low) / 2
            for interval in (
                paired_difference(values[name], values["precopy"])
                for name in ("postcopy", "hybrid")
            )
        )
        assert need.share == pytest.approx(reach / abs(np.mean(values["precopy"])))
        assert need.reached == (need.share <= 0.05)
    assert [row.key for row in rows] == [repr(task) for task in tasks]
    order = [task for task in tasks_of(200) if task in set(tasks)]
    assert tasks == order


def test_only_scenarios_that_still_need_it_go_on() -> None:
    run = Runner()
    repeat(tasks_of, run, Precision(0.05, most_seeds=30))
    assert {task.label for task in run.calls[0]} == {"calm", "lively", "wild"}
    for call in run.calls[1:]:
        assert "calm" not in {task.label for task in call}
    assert len(run.calls) < 10


def test_the_same_rows_are_wanted_every_time() -> None:
    one, two = Runner(), Runner()
    assert repeat(tasks_of, one, Precision(0.05)) == repeat(tasks_of, two, Precision(0.05))
    assert one.calls == two.calls


def test_the_reference_is_chosen_by_name() -> None:
    _, _, default = repeat(tasks_of, Runner(), Precision(0.05, most_seeds=5))
    _, _, other = repeat(tasks_of, Runner(), Precision(0.05, against="hybrid", most_seeds=5))
    assert default != other
    with pytest.raises(InputError, match="--against precpy: no task has that algorithm, did you"):
        repeat(tasks_of, Runner(), Precision(0.05, against="precpy"))


def test_an_algorithm_alone_is_judged_by_its_mean() -> None:
    def alone(seeds: int) -> list[Task]:
        return [task for task in tasks_of(seeds) if task.algorithm == "precopy"]

    _, _, needs = repeat(alone, Runner(), Precision(0.05, most_seeds=6))
    values = [downtime(task) for task in alone(6) if task.label == "calm"]
    reach = paired_difference(values, np.zeros(6))
    mean = abs(np.mean(values))
    assert by_name(needs)["calm"].share == pytest.approx((reach.high - reach.low) / 2 / mean)


def test_what_did_not_complete_is_no_measurement() -> None:
    _, _, needs = repeat(tasks_of, Runner("corrupt"), Precision(0.05, most_seeds=12))
    assert all(need.share == math.inf and not need.reached for need in needs)
    assert {need.seeds for need in needs} == {12}


def test_an_experiment_of_fixed_seeds_is_run_once() -> None:
    run = Runner()
    _, _, needs = repeat(lambda seeds: tasks_of(3), run, Precision(0.01))
    assert len(run.calls) == 1
    assert {need.seeds for need in needs} == {3}


# ---- from the command line -----------------------------------------------------------------

EXPERIMENT = '''
"""How far apart?"""
from matplotlib.figure import Figure
from migsim.experiment import Claim
from migsim.sweep import axis


def tasks(plan):
    grid = axis("workload.rate", ["2MB/s", "90MB/s"]) * axis("seed", range(plan.seeds))
    grid *= axis("algorithm", ["precopy", "postcopy"])
    return grid.tasks(workload="hotcold", memory="16MiB", label=lambda p: p["workload.rate"])


def claims(results):
    return [Claim("counted", True, str(len(results)))]


def figure(results):
    return Figure()
'''


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migsim", "run", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_sweep_to_a_precision_is_the_same_for_any_workers_and_resumes(tmp_path: Path) -> None:
    file = tmp_path / "apart.py"
    file.write_text(EXPERIMENT)
    texts = []
    for name, workers in (("one", "1"), ("two", "2")):
        done = run(str(file), "--precision", "0.4%", "--max-seeds", "12", "--workers", workers,
                   "--results", str(tmp_path / name))  # fmt: skip
        assert done.returncode == 0, done.stderr
        texts.append((tmp_path / name / "apart" / "rows.jsonl").read_bytes())
    assert texts[0] == texts[1]
    seeds = [json.loads(line)["task"]["seed"] for line in texts[0].splitlines()]
    assert len(seeds) > 20
    assert "scenarios are precise enough" in done.stdout
    again = run(str(file), "--precision", "0.4%", "--max-seeds", "12",
                "--results", str(tmp_path / "one"))  # fmt: skip
    assert (tmp_path / "one" / "apart" / "rows.jsonl").read_bytes() == texts[0]
    assert again.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--precision", "many"), "--precision: "),
        (("--precision", "0"), "expected more than 0 %"),
        (("--precision", "5%", "--measure", "downtime"), "did you mean 'downtime_seconds'"),
        (("--precision", "5%", "--against", "precpy"), "did you mean 'precopy'"),
        (("--precision", "5%", "--seeds", "5"), "--precision and --seeds exclude one another"),
        (("--measure", "downtime_seconds"), "--measure is about --precision, which is not given"),
        (("--against", "precopy"), "--against is about --precision"),
        (("--max-seeds", "50", "--seeds", "2"), "--max-seeds is about --precision"),
        (("--workers", "2", "--dask", "local:2"), "exclude one another"),
    ],
)
def test_options_that_cannot_be_used_are_told(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "apart.py"
    file.write_text(EXPERIMENT)
    done = run(str(file), "--results", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr
