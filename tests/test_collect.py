"""Sweeps: any number of workers gives the same rows; whatever happens, none is lost or repeated."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import pytest

from migsim import InputError, Migration, Task
from migsim.collect import check, collect
from migsim.errors import SweepError
from migsim.store import Row, Store
from migsim.workers import Crew, default_workers

ROOT = Path(__file__).resolve().parent.parent

USER_FILE = '''
import os, time
from pathlib import Path

def plain(migration, *, log: str = "", name: str = ""):
    """Stops and copies; notes that it was called."""
    if log:
        with open(log, "a") as file:
            file.write(name + "\\n")
    migration.pause()
    migration.send(migration.everything)
    migration.resume()

def counting(migration):
    """Gives up, and tells how many threads its process has once it has multiplied matrices."""
    import numpy as np
    np.ones((500, 500)) @ np.ones((500, 500))
    migration.give_up(f"{len(os.listdir('/proc/self/task'))} threads")

def failing(migration):
    """Fails on its second act."""
    migration.send(migration.everything)
    raise ValueError("out of [ideas]")

def dying(migration, *, log: str):
    """Ends its process once the log is long enough, and not before."""
    while len(Path(log).read_text().splitlines()) < 3:
        time.sleep(0.01)
    time.sleep(0.3)
    os._exit(3)
'''


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(USER_FILE)
    (tmp_path / "log").touch()
    return str(path)


def sweep(count: int = 6, **changes: object) -> list[Task]:
    fields = {"algorithm": "precopy", "workload": "uniform", "memory": "4MiB", **changes}
    return [Task(seed=seed, label=f"guest {seed}", **fields) for seed in range(count)]  # type: ignore[arg-type]


def gather(folder: Path, tasks: Sequence[Task], workers: int = 1) -> list[Row]:
    with Store(folder) as store:
        return collect(tasks, store, workers=workers)


def lines(folder: Path) -> list[bytes]:
    return (folder / "rows.jsonl").read_bytes().splitlines()


def test_one_and_two_workers_give_the_same_rows_byte_for_byte(tmp_path: Path) -> None:
    tasks = [
        task
        for algorithm in ("precopy", "postcopy", "hybrid")
        for workload in ("uniform", "idle", "hotcold")
        for task in sweep(2, algorithm=algorithm, workload=workload)
    ]
    one, two = gather(tmp_path / "1", tasks), gather(tmp_path / "2", tasks, workers=2)
    assert [row.text for row in one] == [row.text for row in two]
    assert [row.key for row in one] == [task.key for task in tasks]
    assert lines(tmp_path / "1") == sorted(row.text.encode() for row in one)
    assert lines(tmp_path / "1") == lines(tmp_path / "2")


def test_a_crew_stays_for_several_sweeps_and_ends_with_its_block(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Crew(2) as crew:
        first = collect(sweep(2), store, executor=crew)
        workers = list(crew.members(2).values())
        second = collect(sweep(6), store, executor=crew)
        assert list(crew.members(2).values()) == workers
        assert all(worker.is_alive() for worker in workers)
    assert not any(worker.is_alive() for worker in workers)
    assert [row.text for row in second] == [row.text for row in gather(tmp_path / "1", sweep(6))]
    assert second[:2] == first


def test_a_worker_computes_with_one_thread(tmp_path: Path, mine: str) -> None:
    before = dict(os.environ)
    rows = gather(tmp_path / "2", sweep(2, algorithm=f"{mine}:counting"), workers=2)
    assert {row.result["error"] for row in rows} == {"2 threads"}  # one watches the parent
    assert dict(os.environ) == before


def test_a_crew_whose_worker_died_is_ended(tmp_path: Path, mine: str) -> None:
    log = tmp_path / "log"
    log.write_text("1\n2\n3\n")
    tasks = sweep(2, algorithm=f"{mine}:dying", algorithm_args={"log": str(log)})
    with Store(tmp_path) as store, Crew(2) as crew:
        workers = list(crew.members(2).values())
        with pytest.raises(SweepError, match="a worker process died"):
            collect(tasks, store, executor=crew)
        assert not any(worker.is_alive() for worker in workers)
        assert len(collect(sweep(4), store, executor=crew)) == 4


def test_a_worker_that_was_killed_between_two_sweeps_is_replaced(tmp_path: Path) -> None:
    with Store(tmp_path) as store, Crew(2) as crew:
        first = collect(sweep(2), store, executor=crew)
        killed, other = crew.members(2).values()
        killed.kill()
        killed.join()
        second = collect(sweep(6), store, executor=crew)
        assert len(crew.members(2)) == 2
        assert other in crew.members(2).values()
        assert killed not in crew.members(2).values()
    assert second[:2] == first
    assert [row.text for row in second] == [row.text for row in gather(tmp_path / "1", sweep(6))]


def test_a_worker_that_is_killed_before_its_first_job_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store, Crew(2) as crew:
        members = crew.members(2)
        killed, _ = members.values()
        killed.kill()
        killed.join()
        monkeypatch.setattr(crew, "members", lambda count: members)
        with pytest.raises(SweepError, match="a worker process died"):
            collect(sweep(4), store, executor=crew)


def test_a_worker_that_is_killed_within_a_message_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = zip(*(multiprocessing.Pipe() for _ in range(2)), strict=True)
    for pipe in theirs:
        os.write(pipe.fileno(), struct.pack("!i", 100) + b"the beginning")
        with socket.socket(fileno=os.dup(pipe.fileno())) as end:
            end.shutdown(socket.SHUT_WR)
    with Store(tmp_path) as store, Crew(2) as crew:
        monkeypatch.setattr(crew, "members", lambda count: dict.fromkeys(ours))
        with pytest.raises(SweepError, match="a worker process died"):
            collect(sweep(4), store, executor=crew)
    for pipe in (*ours, *theirs):
        pipe.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_only_what_is_missing_is_run(tmp_path: Path, mine: str, workers: int) -> None:
    log = tmp_path / "log"
    names = [f"task {i}" for i in range(8)]
    tasks = [
        Task(
            algorithm=f"{mine}:plain",
            workload="idle",
            memory="1MiB",
            algorithm_args={"log": str(log), "name": name},
        )
        for name in names
    ]
    gather(tmp_path / "results", tasks[2:5])
    seen: list[tuple[int, int]] = []
    with Store(tmp_path / "results") as store:
        rows = collect(
            tasks,
            store,
            workers=workers,
            progress=lambda done, total, left: seen.append((done, total)),
        )
    assert Counter(log.read_text().splitlines()) == Counter(names)
    assert [row.task["algorithm_args"]["name"] for row in rows] == names
    assert seen[0] == (3, 8)
    assert seen[-1] == (8, 8)
    assert seen == sorted(seen)
    before = lines(tmp_path / "results")
    assert gather(tmp_path / "results", tasks, workers) == rows
    assert lines(tmp_path / "results") == before
    assert len(log.read_text().splitlines()) == 8


def test_a_task_given_twice_runs_once_and_is_returned_twice(tmp_path: Path, mine: str) -> None:
    log = tmp_path / "log"
    task = Task(
        algorithm=f"{mine}:plain", workload="idle", memory="1MiB", algorithm_args={"log": str(log)}
    )
    rows = gather(tmp_path / "results", [task, *sweep(1), task])
    assert rows[0] is rows[2]
    assert rows[1].key != rows[0].key
    assert len(log.read_text().splitlines()) == 1
    assert len(lines(tmp_path / "results")) == 2


def test_labels_are_no_part_of_a_task(tmp_path: Path) -> None:
    (one,) = gather(tmp_path, [Task(algorithm="precopy", workload="idle", memory="1MiB")])
    task = Task(algorithm="precopy", workload="idle", memory="1MiB", label="another name")
    assert gather(tmp_path, [task]) == [one]
    assert len(lines(tmp_path)) == 1


def test_no_tasks_give_no_rows(tmp_path: Path) -> None:
    assert gather(tmp_path, []) == []


def home_made(migration: Migration) -> None:
    """A function that no other process can find by name."""
    migration.pause()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm": "precpy"}, "did you mean 'precopy'"),
        ({"algorithm": home_made}, "a sweep needs .*home_made.* by name"),
        ({"algorithm_args": {"max_rouns": 3}}, "did you mean 'max_rounds'"),
        ({"workload_args": {"working_set": "8MiB"}}, "does not fit into a memory of 4 MiB"),
        ({"link": "custom"}, "'rate' has no default"),
        ({"workload": "trace", "workload_args": {"file": "nowhere.mtrace"}}, "no such file"),
        ({"memory": -1}, "negative"),
    ],
)
def test_an_impossible_task_is_refused_before_any_other_runs(
    tmp_path: Path, mine: str, changes: dict[str, object], sentence: str
) -> None:
    log = tmp_path / "log"
    good = Task(
        algorithm=f"{mine}:plain", workload="idle", memory="1MiB", algorithm_args={"log": str(log)}
    )
    tasks = [good, *sweep(1, **changes)]
    with pytest.raises(InputError, match=sentence):
        check(tasks)
    with pytest.raises(InputError, match=sentence):
        gather(tmp_path / "results", tasks)
    assert log.read_text() == ""
    assert lines(tmp_path / "results") == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_algorithm_is_a_row_and_the_sweep_goes_on(
    tmp_path: Path, mine: str, workers: int
) -> None:
    bad = sweep(1, algorithm=f"{mine}:failing")
    rows = gather(tmp_path / "results", [*sweep(2), *bad, *sweep(4)[2:]], workers)
    assert [row.result["status"] for row in rows] == ["completed"] * 2 + ["failed"] + [
        "completed"
    ] * 2
    error = rows[2].result["error"]
    assert error.startswith("Traceback")
    assert error.rstrip().endswith("ValueError: out of [ideas]")
    assert "mine.py" in error
    assert len(lines(tmp_path / "results")) == 5
    assert gather(tmp_path / "results", bad) == [rows[2]]  # a failure is a result like any other


def test_a_worker_that_dies_is_told_and_what_was_done_is_kept(tmp_path: Path, mine: str) -> None:
    log = tmp_path / "log"
    tasks = [
        Task(
            algorithm=f"{mine}:plain",
            workload="idle",
            memory="1MiB",
            algorithm_args={"log": str(log), "name": f"task {i}"},
        )
        for i in range(12)
    ]
    killer = Task(
        algorithm=f"{mine}:dying",
        workload="idle",
        memory="1MiB",
        algorithm_args={"log": str(log)},
    )
    with pytest.raises(RuntimeError, match=r"a worker process died; \d+ of 13 results are kept"):
        gather(tmp_path / "results", [killer, *tasks], workers=2)
    kept = lines(tmp_path / "results")
    assert len(kept) >= 3
    rows = gather(tmp_path / "results", tasks, workers=2)
    assert [row.result["status"] for row in rows] == ["completed"] * 12
    assert set(lines(tmp_path / "results")) >= set(kept)
    assert len(lines(tmp_path / "results")) == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_edited_during_the_sweep_never_gets_under_the_old_key(
    tmp_path: Path, mine: str, workers: int
) -> None:
    tasks = sweep(4, algorithm=f"{mine}:plain")
    keys = check(tasks)
    Path(mine).write_text(USER_FILE + "# edited\n")
    with (
        Store(tmp_path / "results") as store,
        pytest.raises(InputError, match=r"mine\.py:plain' .* was changed during the sweep"),
    ):
        collect(tasks, store, keys=keys, workers=workers)
    assert lines(tmp_path / "results") == []
    assert len(gather(tmp_path / "results", tasks, workers)) == 4


def test_there_is_at_least_one_worker() -> None:
    assert 1 <= default_workers() <= (os.cpu_count() or 1)


# ---- whole sweeps that are ended from outside ------------------------------------------------

EXPERIMENT = '''
"""Is anything lost?"""
import time
from pathlib import Path

from matplotlib.figure import Figure
from migsim import Task
from migsim.experiment import Claim

HERE = Path(__file__).resolve()


def slow(migration):
    """Stops and copies, slowly."""
    time.sleep(0.02)
    migration.pause()
    migration.send(migration.everything)
    migration.resume()


def tasks(plan):
    return [
        Task(algorithm=f"{HERE}:slow", workload="uniform", memory="1MiB", seed=seed, label="x")
        for seed in range(60)
    ]


def claims(results):
    return [Claim("there are sixty", len(results) == 60, str(len(results)))]


def figure(results):
    return Figure()
'''


class Files(NamedTuple):
    """What a sweep leaves."""

    rows: bytes
    table: bytes


class Sweep:
    """``migsim run`` on two workers as a process group of its own."""

    started: ClassVar[list[Sweep]] = []

    def __init__(self, file: Path, results: Path) -> None:
        self.rows = results / file.stem / "rows.jsonl"
        self.table = results / file.stem / f"{file.stem}.csv"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "migsim", "run", str(file), "--workers", "2",
             "--results", str(results)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(self)

    def wait_for_rows(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while not self.rows.exists() or self.rows.read_bytes().count(b"\n") < count:
            assert time.monotonic() < deadline
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.002)

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors

    def members(self) -> list[str]:
        """Return the processes that are left of the group, as proc(5) describes them."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = path.read_text()
                state, _, group = text.rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state != "Z":
                    found.append(text)
        return found

    def wait_for_emptiness(self) -> None:
        deadline = time.monotonic() + 20
        while self.members():
            assert time.monotonic() < deadline, self.members()
            time.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    for sweep_ in Sweep.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(sweep_.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "lost.py"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="module")
def undisturbed(experiment: Path) -> Files:
    run = Sweep(experiment, experiment.parent / "undisturbed")
    assert run.end()[0] == 0
    return Files(run.rows.read_bytes(), run.table.read_bytes())


def assert_nothing_lost_nothing_repeated(
    experiment: Path, results: Path, before: bytes, undisturbed: Files
) -> None:
    whole = before[: before.rfind(b"\n") + 1]
    again = Sweep(experiment, results)
    status, errors = again.end()
    assert status == 0, errors
    assert f"{len(whole.splitlines())} of 60 results were there already" in errors
    after = again.rows.read_bytes()
    assert set(after.splitlines()) >= set(whole.splitlines())
    assert after == undisturbed.rows
    keys = [json.loads(line)["key"] for line in after.splitlines()]
    assert len(keys) == len(set(keys)) == 60
    assert again.table.read_bytes() == undisturbed.table


def test_kill_9_of_everything_loses_nothing_and_repeats_nothing(
    tmp_path: Path, experiment: Path, undisturbed: Files
) -> None:
    run = Sweep(experiment, tmp_path)
    run.wait_for_rows(10)
    os.killpg(run.process.pid, signal.SIGKILL)
    assert run.end()[0] == -signal.SIGKILL
    before = run.rows.read_bytes()
    assert 10 <= before.count(b"\n") < 60
    assert not run.table.exists()
    assert_nothing_lost_nothing_repeated(experiment, tmp_path, before, undisturbed)


def test_kill_9_of_the_parent_leaves_no_worker_behind(tmp_path: Path, experiment: Path) -> None:
    run = Sweep(experiment, tmp_path)
    run.wait_for_rows(4)
    assert len(run.members()) >= 3
    os.kill(run.process.pid, signal.SIGKILL)
    assert run.end()[0] == -signal.SIGKILL
    run.wait_for_emptiness()
    assert run.rows.read_bytes().count(b"\n") < 60


def test_ctrl_c_is_clean_and_loses_nothing(
    tmp_path: Path, experiment: Path, undisturbed: Files
) -> None:
    run = Sweep(experiment, tmp_path)
    run.wait_for_rows(10)
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does: to every process
    status, errors = run.end()
    assert status == 130
    assert errors.splitlines()[-1] == "migsim: interrupted"
    assert "Traceback" not in errors
    run.wait_for_emptiness()
    before = run.rows.read_bytes()
    assert 10 <= before.count(b"\n") < 60
    assert_nothing_lost_nothing_repeated(experiment, tmp_path, before, undisturbed)


def test_ctrl_c_while_workers_start_is_clean(tmp_path: Path, experiment: Path) -> None:
    run = Sweep(experiment, tmp_path)
    run.wait_for_rows(0)  # the store is open; workers are about to start
    time.sleep(0.15)
    os.killpg(run.process.pid, signal.SIGINT)
    status, errors = run.end()
    assert status == 130
    assert errors.splitlines()[-1] == "migsim: interrupted"
    assert "Traceback" not in errors
    run.wait_for_emptiness()


def test_ctrl_c_does_not_wait_for_long_migrations(tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    text = EXPERIMENT.replace("0.02", "0 if migration.vm.vcpus == 1 else 600")
    text = text.replace('memory="1MiB"', 'memory="1MiB", vm_args={"vcpus": 1 + (seed > 3)}')
    assert text.count("vcpus") == 2
    file.write_text(text)
    run = Sweep(file, tmp_path / "out")
    run.wait_for_rows(4)
    started = time.monotonic()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end()[0] == 130
    assert time.monotonic() - started < 30
    run.wait_for_emptiness()
    assert run.rows.read_bytes().count(b"\n") == 4
