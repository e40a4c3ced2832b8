"""A Dask cluster gives the file that this machine gives, whoever is killed in the middle."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from helpers import ROOT

from migsim import InputError, Task
from migsim.cluster import Cluster, connected
from migsim.collect import check, collect
from migsim.errors import SweepError
from migsim.jobs import Done, Job, Stopped, run_batch
from migsim.store import Store

EXPERIMENT = '''
"""Is anything lost?"""
import os, time
from pathlib import Path

from matplotlib.figure import Figure
from migsim import Task
from migsim.experiment import Claim

HERE = Path(__file__).resolve()


def slow(migration, *, nap: float = 0.03, log: str = ""):
    """Stops and copies, slowly; notes its process."""
    time.sleep(nap)
    if log:
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\\n")
    migration.pause()
    migration.send(migration.everything)
    migration.resume()


def deadly(migration):
    """Ends its process."""
    os._exit(3)


def tasks(plan):
    return [
        Task(algorithm=f"{HERE}:slow", workload="uniform", memory="1MiB", seed=seed, label="x")
        for seed in range(150)
    ]


def claims(results):
    return [Claim("there are 150", len(results) == 150, str(len(results)))]


def figure(results):
    return Figure()
'''


class Process:
    """A program in a process group of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), "DASK_LOGGING__DISTRIBUTED": "critical"},
            start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=30)

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=90)
        return self.process.returncode, errors


class Machines:
    """A scheduler and two workers without nannies: nobody starts them again."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self.scheduler = Process(
            "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--no-show",
            "--scheduler-file", str(self.file),
        )  # fmt: skip
        self.workers = [self.worker() for _ in range(2)]

    def worker(self) -> Process:
        return Process(
            "distributed.cli.dask_worker", "--scheduler-file", str(self.file), "--nthreads", "1",
            "--no-nanny", "--no-dashboard",
        )  # fmt: skip

    @property
    def address(self) -> str:
        deadline = time.monotonic() + 30
        while not (self.file.exists() and (found := re.search(r"tcp://[\d.:]+", self._text()))):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return found[0]

    def _text(self) -> str:
        return self.file.read_text()

    def kill(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    started = Machines(tmp_path)
    yield started
    started.kill()


@pytest.fixture(scope="module")
def local() -> Iterator[Cluster]:
    """Two workers on this machine, for the tests that kill nobody for good."""
    with connected("local:2") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("experiment") / "lost.py"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="module")
def undisturbed(experiment: Path) -> list[bytes]:
    """The files that a sweep on this machine leaves."""
    folder = experiment.parent / "undisturbed"
    run = Process("migsim", "run", str(experiment), "--workers", "2", "--results", str(folder))
    status, errors = run.end()
    assert status == 0, errors
    return files(folder)


def files(folder: Path) -> list[bytes]:
    return [(folder / "lost" / name).read_bytes() for name in ("rows.jsonl", "lost.csv")]


def on(machines: Machines, experiment: Path, folder: Path) -> Process:
    return Process(
        "migsim", "run", str(experiment), "--dask", machines.address, "--results", str(folder)
    )


def wait_for_rows(run: Process, folder: Path, count: int) -> None:
    rows = folder / "lost" / "rows.jsonl"
    deadline = time.monotonic() + 60
    while not rows.exists() or rows.read_bytes().count(b"\n") < count:
        assert time.monotonic() < deadline
        assert run.process.poll() is None, run.process.communicate()
        time.sleep(0.005)
    assert rows.read_bytes().count(b"\n") < 150


def naps(experiment: Path, count: int, **changes: object) -> list[Task]:
    return [
        Task(algorithm=f"{experiment}:slow", workload="idle", memory="1MiB", seed=seed,
             algorithm_args=changes)
        for seed in range(count)
    ]  # fmt: skip


# ---- killing ---------------------------------------------------------------------------------


def test_a_worker_that_is_killed_costs_a_retry_and_nothing_else(
    tmp_path: Path, machines: Machines, experiment: Path, undisturbed: list[bytes]
) -> None:
    run = on(machines, experiment, tmp_path / "out")
    wait_for_rows(run, tmp_path / "out", 20)
    machines.workers[0].kill()
    status, errors = run.end()
    assert status == 0, errors
    assert files(tmp_path / "out") == undisturbed
    assert "Traceback" not in errors
    assert "distributed" not in errors


def test_a_scheduler_that_is_killed_is_told_and_the_sweep_goes_on_elsewhere(
    tmp_path: Path, machines: Machines, experiment: Path, undisturbed: list[bytes]
) -> None:
    run = on(machines, experiment, tmp_path / "out")
    wait_for_rows(run, tmp_path / "out", 20)
    machines.scheduler.kill()
    status, errors = run.end()
    assert status == 1, errors
    told = re.fullmatch(
        r"migsim: the scheduler of the cluster is gone; (\d+) of 150 results are kept, run again "
        r"to go on",
        errors.splitlines()[-1],
    )
    assert told, errors
    assert "Traceback" not in errors
    rows = (tmp_path / "out" / "lost" / "rows.jsonl").read_bytes()
    assert rows.count(b"\n") == int(told[1])
    machines.kill()
    again = Process(
        "migsim", "run", str(experiment), "--dask", "local:2", "--results", str(tmp_path / "out")
    )
    status, errors = again.end()
    assert status == 0, errors
    assert f"{told[1]} of 150 results were there already" in errors
    assert files(tmp_path / "out") == undisturbed


def test_a_client_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, machines: Machines, experiment: Path, undisturbed: list[bytes]
) -> None:
    run = on(machines, experiment, tmp_path / "out")
    wait_for_rows(run, tmp_path / "out", 20)
    run.kill()
    kept = (tmp_path / "out" / "lost" / "rows.jsonl").read_bytes().count(b"\n")
    status, errors = (again := on(machines, experiment, tmp_path / "out")).end()
    assert status == 0, errors
    assert again.process.returncode == 0
    assert f"{kept} of 150 results were there already" in errors
    assert files(tmp_path / "out") == undisturbed


def test_ctrl_c_is_clean_and_leaves_no_worker(
    tmp_path: Path, experiment: Path, undisturbed: list[bytes]
) -> None:
    out = tmp_path / "out"
    run = Process("migsim", "run", str(experiment), "--dask", "local:2", "--results", str(out))
    wait_for_rows(run, out, 20)
    os.killpg(run.process.pid, signal.SIGINT)  # as a terminal does: to every process
    status, errors = run.end()
    assert (status, errors.splitlines()[-1]) == (130, "migsim: interrupted"), errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(run.process.pid, 0)
            time.sleep(0.05)
    assert 20 <= (out / "lost" / "rows.jsonl").read_bytes().count(b"\n") < 150


def test_a_task_that_kills_every_worker_ends_the_sweep_and_harms_no_other(
    tmp_path: Path, local: Cluster, experiment: Path
) -> None:
    tasks = naps(experiment, 8)
    killer = Task(algorithm=f"{experiment}:deadly", workload="idle", memory="1MiB", seed=7)
    with Store(tmp_path) as store:
        with pytest.raises(SweepError, match=r"every worker that tried .*:deadly on idle with "
                                             r"seed 7 died; \d of 9 results are kept"):  # fmt: skip
            collect([*tasks, killer], store, executor=local)
        rows = collect(tasks, store, executor=local)  # the nannies have started others
    assert [row.result["status"] for row in rows] == ["completed"] * 8


def test_what_ends_of_a_sweep_that_was_given_up_is_not_taken_for_the_next_one(
    tmp_path: Path, local: Cluster, experiment: Path
) -> None:
    late = local._submit([])
    late.cancel()
    local._ended.put(late)
    with Store(tmp_path) as store:
        rows = collect(naps(experiment, 3), store, executor=local)
    assert [row.result["status"] for row in rows] == ["completed"] * 3


# ---- working -----------------------------------------------------------------------------------


def test_the_cluster_gives_the_rows_that_this_process_gives(tmp_path: Path, local: Cluster) -> None:
    tasks = [
        Task(algorithm=algorithm, workload="hotcold", workload_args={"rate": "50MB/s"},
             memory="16MiB", seed=seed)
        for seed in range(10)
        for algorithm in ("precopy", "postcopy", "hybrid")
    ]  # fmt: skip
    with Store(tmp_path / "here") as here, Store(tmp_path / "there") as there:
        one = collect(tasks, here, workers=1)
        two = collect(tasks, there, executor=local)
        assert [row.text for row in one] == [row.text for row in two]
        assert here.path.read_bytes() == there.path.read_bytes()


def test_both_workers_work_and_each_task_runs_once(
    tmp_path: Path, local: Cluster, experiment: Path
) -> None:
    log = tmp_path / "log"
    seen: list[int] = []
    with Store(tmp_path) as store:
        collect(
            naps(experiment, 60, log=str(log)), store, executor=local,
            progress=lambda done, total, left: seen.append(done),
        )  # fmt: skip
    pids = log.read_text().splitlines()
    assert len(pids) == 60
    assert len(set(pids)) == 2
    assert os.getpid() not in map(int, pids)
    assert len(seen) < 60  # they came in batches
    assert (seen[0], seen[-1]) == (0, 60)


def test_a_batch_ends_when_its_time_is_over(experiment: Path) -> None:
    tasks = naps(experiment, 5)
    jobs = list(zip(check(tasks), tasks, strict=True))
    assert [done.row.key for done in run_batch(jobs, 60.0)] == [key for key, _ in jobs]
    assert [done.row.key for done in run_batch(jobs, 0.0)] == [jobs[0][0]]


def test_a_worker_with_another_source_is_told_and_stores_nothing(
    tmp_path: Path, local: Cluster
) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(EXPERIMENT)
    tasks = naps(mine, 4)
    keys = check(tasks)
    mine.write_text(EXPERIMENT + "# edited\n")
    with Store(tmp_path / "out") as store:
        with pytest.raises(InputError, match=r"a worker of the cluster has another source .*mine"):
            collect(tasks, store, keys=keys, executor=local)
        assert store.rows == {}


class FakeFuture:
    """The future of a batch, with the status that it has when it is looked at."""

    def __init__(self, batch: Sequence[Job], status: str) -> None:
        self.batch, self.status = batch, status

    def add_done_callback(self, call: Callable[[FakeFuture], None]) -> None:
        call(self)

    def result(self) -> list[Done]:
        return run_batch(self.batch, math.inf)


class FakeClient:
    """A client of one worker; the futures that it gives have ``statuses``, then are finished."""

    status = "running"

    def __init__(self, *statuses: str) -> None:
        self.statuses = list(statuses)
        self.sent: list[Sequence[Job]] = []

    def nthreads(self) -> dict[str, int]:
        return {"worker": 1}

    def submit(self, _: object, batch: Sequence[Job], __: float, *, pure: bool) -> FakeFuture:
        assert not pure
        self.sent.append(batch)
        return FakeFuture(batch, self.statuses.pop(0) if self.statuses else "finished")

    def cancel(self, futures: Sequence[FakeFuture], *, force: bool) -> None:
        assert force


def test_what_died_with_the_worker_that_had_finished_it_is_run_again(experiment: Path) -> None:
    tasks = naps(experiment, 4, nap=0.0)
    jobs = list(zip(check(tasks), tasks, strict=True))
    client = FakeClient("finished", "lost", "lost")
    done = [one for some in Cluster(client).run(jobs) for one in some]
    assert sorted(one.row.key for one in done) == sorted(key for key, _ in jobs)
    twice = {key for batch in client.sent[1:3] for key, _ in batch}
    again = [key for batch in client.sent[3:] for key, _ in batch]
    assert twice <= set(again)


def test_what_is_cancelled_tells_of_a_lost_scheduler(experiment: Path) -> None:
    tasks = naps(experiment, 1)
    jobs = list(zip(check(tasks), tasks, strict=True))
    with pytest.raises(Stopped, match="the scheduler of the cluster is gone"):
        list(Cluster(FakeClient("cancelled")).run(jobs))


# ---- no cluster --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("hello", "--dask hello: expected an address such as tcp://host:8786, local:4 or"),
        ("local:", "expected an address"),
        ("local:none", "expected a number of workers, such as local:4"),
        ("local:0", "expected a number of workers"),
        ("scheduler-file:/nowhere/s.json", "cannot be reached"),
    ],
)
def test_where_there_can_be_no_cluster_one_sentence_says_so(where: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence), connected(where):
        pytest.fail("connected")


def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migsim.cluster._CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(InputError, match=r"--dask tcp://127\.0\.0\.1:9: cannot be reached: .+"),
        connected("tcp://127.0.0.1:9"),
    ):
        pytest.fail("connected")


def test_a_cluster_without_workers_is_told(machines: Machines) -> None:
    for worker in machines.workers:
        worker.kill()
    with (
        pytest.raises(InputError, match=r"the cluster has no workers after 0\.5 s"),
        connected(machines.address, patience=0.5),
    ):
        pytest.fail("connected")


def test_workers_that_all_go_are_told(tmp_path: Path, machines: Machines, experiment: Path) -> None:
    tasks = naps(experiment, 2, nap=0.2) + naps(experiment, 2, nap=60.0)
    with connected(machines.address, patience=1.0) as cluster, Store(tmp_path / "out") as store:

        def kill_after_two(done: int, total: int, left: float) -> None:
            if done == 2:
                for worker in machines.workers:
                    worker.kill()

        with pytest.raises(
            SweepError, match=r"the cluster has had no workers for 1 s; 2 of 4 results are kept"
        ):
            collect(tasks, store, executor=cluster, progress=kill_after_two)


def test_without_distributed_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(InputError, match=r"--dask needs distributed .*pip install 'migsim\[dask\]'"),
        connected("local:1"),
    ):
        pytest.fail("connected")
