"""Evacuations and faults as work of a sweep: keys, rows, and the machinery that takes them."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from migsim import InputError, Task
from migsim.adaptive import Precision, repeat
from migsim.collect import check, collect
from migsim.experiment import completed_only
from migsim.fleet.evacuation import Order
from migsim.fleet.fate import inject
from migsim.fleet.fault_task import FaultTask
from migsim.fleet.faults import Fault, Policy
from migsim.fleet.work import EvacuationTask
from migsim.housekeeping import Present
from migsim.recall import task_of
from migsim.results import load_results
from migsim.store import Store, frame
from migsim.time_left import scenario_of
from migsim.work import Unit

SMALL = """
[networks.rack]
rate = "10Gbit/s"
[hosts.old]
network = "rack"
cores = 8
memory = "8GiB"
[hosts.new]
network = "rack"
cores = 8
memory = "8GiB"
[vms.busy]
count = 3
host = "old"
memory = "64MiB"
workload = "hotcold"
workload_args = { working_set = "16MiB", rate = "40MB/s" }
[vms.calm]
count = 2
host = "old"
memory = "128MiB"
[[evacuate]]
host = "old"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


def evacuation(scenario: str, order: Order = "listed", **settings: object) -> EvacuationTask:
    return EvacuationTask(
        scenario=scenario, algorithm="precopy", order=order, **settings  # type: ignore[arg-type]
    )  # fmt: skip


def fault(**settings: object) -> FaultTask:
    return FaultTask(
        migration=Task(
            algorithm="postcopy", workload="uniform", memory="16MiB",
            workload_args={"working_set": "8MiB", "rate": "20MB/s"},
        ),
        **{"kind": "destination crash", **settings},  # type: ignore[arg-type]
    )  # fmt: skip


def units(scenario: str) -> list[Unit]:
    return [
        evacuation(scenario, "largest", label="a"),
        evacuation(scenario, "random", concurrency=2, seed=1, label="b"),
        evacuation(scenario, "quiet", planned_on=3, label="c"),
        fault(label="d"),
        fault(kind="link down", lasts=1.0, seed=2, label="e"),
        Task(algorithm="precopy", workload="idle", memory="16MiB", label="f"),
    ]


def test_rows_and_files_are_the_same_however_many_work(scenario: str, tmp_path: Path) -> None:
    wanted, files = units(scenario), []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        with Store(folder) as store:
            rows = collect(wanted, store, workers=workers)
        assert [row.key for row in rows] == check(wanted)
        files.append((folder / "rows.jsonl").read_bytes())
    assert files[0] == files[1]
    fresh = frame(rows, [unit.label for unit in wanted])
    fresh.to_csv(tmp_path / "table.csv", index=False)
    again = load_results(tmp_path / "table.csv")
    assert list(again.columns) == list(fresh.columns)
    assert (fresh["status"] == "completed").all()
    assert completed_only(fresh)["total_seconds"].tolist() == fresh["total_seconds"].tolist()
    # Columns do not depend on whether a row was just made or read again.
    with Store(tmp_path / "1") as store:
        read = collect(wanted, store, workers=1)
    assert list(frame(read).columns) == list(fresh.columns)[1:]


@pytest.mark.parametrize(
    "change",
    [
        {"order": "random"}, {"concurrency": 2}, {"seed": 1}, {"rate": "1Gbit/s"},
        {"memory_share": 0.5}, {"minimise": "traffic"}, {"planned_on": 1},
        {"algorithm": "postcopy"}, {"algorithm_args": {"max_rounds": 3}},
    ],
)  # fmt: skip
def test_whatever_is_set_is_in_the_key_of_an_evacuation(
    scenario: str, change: dict[str, object]
) -> None:
    task = evacuation(scenario)
    key = task.resolve().key
    assert dataclasses.replace(task, label="other").resolve().key == key
    assert dataclasses.replace(task, **change).resolve().key != key  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(task)).resolve().key == key


def test_the_fleet_is_in_the_key(scenario: str, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(SMALL.replace('"40MB/s"', '"41MB/s"'))
    moved = tmp_path / "moved.toml"
    moved.write_text(SMALL)
    keys = [evacuation(path).resolve().key for path in (scenario, str(other))]
    assert keys[0] != keys[1]
    named = dataclasses.replace(evacuation(scenario).resolve(), task=evacuation(str(moved)))
    assert named.key == keys[0]  # where the file lies is no part of it


def test_a_row_of_an_evacuation_adds_up(scenario: str) -> None:
    row = evacuation(scenario, "smallest", concurrency=2).resolve().run()
    assert row["staying"] == 0
    assert row["attempts_completed"] == 5
    assert 0 < float(str(row["mean_seconds_until_out"])) < float(str(row["total_seconds"]))
    assert float(str(row["longest_downtime_seconds"])) < float(str(row["downtime_seconds"]))
    assert int(str(row["bytes_sent"])) > 3 * 64 * 2**20


def test_a_plan_on_these_machines_is_one_on_their_seed(scenario: str) -> None:
    own = evacuation(scenario, "quiet", seed=2).resolve().run()
    assert evacuation(scenario, "quiet", seed=2, planned_on=2).resolve().run() == own


@pytest.mark.parametrize("kind", ["source crash", "destination crash", "link down"])
@pytest.mark.parametrize("within", ["whole", "copying", "unacknowledged", "post-copy"])
def test_a_row_of_a_fault_is_its_fate_under_each_policy(kind: str, within: str) -> None:
    policies = {"wait": Policy(confirm="wait"), "resume": Policy(confirm="resume")}
    task = fault(kind=kind, within=within, policies=policies, lasts=60.0)
    row = task.resolve().run()
    at = float(str(row["at_seconds"]))
    broken = Fault(kind=task.kind, at=at, lasts=60.0)
    for name, policy in policies.items():
        fate = inject(task.resolve().migration, broken, policy)
        assert row[f"ending_{name}"] == fate.ending
        assert row[f"reason_{name}"] == fate.reason
        assert row["phase"] == fate.phase
        if within not in {"whole", "copying"}:  # post-copy copies nothing before
            assert row["phase"] == within


def test_a_fault_is_in_the_key() -> None:
    tasks = [
        fault(), fault(seed=1), fault(share=0.4), fault(within="paused"), fault(kind="link down"),
        fault(kind="link down", lasts=2.0), fault(policies={"x": Policy(patience=3.0)}),
    ]  # fmt: skip
    assert len({task.resolve().key for task in tasks}) == len(tasks)
    assert fault(label="x").resolve().key == fault().resolve().key


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"order": "alphabetic"}, "order is"), ({"concurrency": 0}, "concurrency is"),
        ({"memory_share": 2.0}, "memory_share is 2.0"), ({"scenario": "no.toml"}, "no.toml"),
        ({"algorithm": "precopi"}, "precopy"), ({"algorithm_args": {"rounds": 1}}, "rounds"),
        ({"rate": "fast"}, "fast"),
    ],
)  # fmt: skip
def test_an_evacuation_that_cannot_run_is_refused(
    scenario: str, wrong: dict[str, object], message: str
) -> None:
    task = dataclasses.replace(evacuation(scenario), **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        check([task])


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"within": "later"}, {"kind": "flood"}])
def test_a_fault_that_cannot_happen_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        check([fault(**wrong)])


def test_the_rest_of_the_machinery_knows_such_rows(scenario: str, tmp_path: Path) -> None:
    wanted = units(scenario)[2:4]
    with Store(tmp_path) as store:
        rows = collect(wanted, store, workers=1)
    for unit, row in zip(wanted, rows, strict=True):
        assert scenario_of(unit) == scenario_of(dataclasses.replace(unit, seed=9))  # type: ignore[type-var]
        assert Present().stale(row) == ""
        old = dataclasses.replace(row, task={**row.task, "algorithm_digest": "0"})
        assert "has changed" in Present().stale(old)
        with pytest.raises(InputError, match="another kind of work"):
            task_of(frame([row]).iloc[0].to_dict())
    with pytest.raises(InputError, match="give --seeds"):
        repeat(lambda count: [fault(seed=k) for k in range(count)], lambda tasks: [],
               Precision(0.1))  # fmt: skip
