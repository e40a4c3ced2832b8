"""What runs at once fits into memory; a task too large for it runs alone, and none is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from migsim import Task
from migsim.collect import collect
from migsim.footprint import Admission, available_bytes, growth_of, needed_bytes
from migsim.store import Store
from migsim.units import GIB, MIB
from migsim.work import Job
from migsim.workers import Crew


def guest(memory: str, seed: int = 0, **more: object) -> Task:
    return Task(algorithm="precopy", workload="idle", memory=memory, seed=seed, **more)  # type: ignore[arg-type]


def jobs(*memories: str) -> list[Job]:
    return [(str(number), guest(memory, number)) for number, memory in enumerate(memories)]


def play(wanted: Sequence[Job], workers: int, free: float, growth: int = 0) -> list[dict[str, int]]:
    """Return what was under way together, job -> estimate, after each that was handed out."""
    admission, seen = Admission(wanted, lambda: free), []
    under_way: dict[int, tuple[str, int]] = {}
    ended: list[str] = []
    while True:
        for worker in range(workers):
            if worker not in under_way and (job := admission.take(worker)) is not None:
                under_way[worker] = (job[0], needed_bytes(job[1]))
                seen.append(dict(under_way.values()))
        if not under_way:
            break
        worker = min(under_way)
        ended.append(under_way.pop(worker)[0])
        admission.ended(worker, growth)
    assert sorted(ended) == sorted(key for key, _ in wanted)  # each once
    return seen


def test_a_need_grows_with_the_guest_its_bytes_and_its_disk() -> None:
    one, two = needed_bytes(guest("1GiB")), needed_bytes(guest("1TiB"))
    assert one < 64 * MIB
    assert 2 * GIB < two < 8 * GIB
    assert needed_bytes(guest("1GiB", vm_args={"memory_model": "bytes"})) > one + 3 * GIB
    assert needed_bytes(guest("1GiB", disk_args={"size": "64TiB"})) > one + GIB
    assert needed_bytes(guest("1GiB", vm_args={"page_size": "1GiB"})) < one
    assert needed_bytes(guest("nonsense")) < one


def test_small_tasks_fill_all_workers() -> None:
    seen = play(jobs(*["64MiB"] * 6), workers=3, free=GIB)
    assert max(map(len, seen)) == 3
    assert [list(at_once)[-1] for at_once in seen] == list("012345")


def test_what_runs_at_once_fits() -> None:
    free = 10 * GIB  # one TiB needs 6 GiB by the estimate
    seen = play(jobs("1TiB", "1TiB", "64MiB", "64MiB", "1TiB"), workers=2, free=free)
    assert max(map(len, seen)) == 2
    for at_once in seen:
        assert sum(at_once.values()) <= 0.9 * free


def test_a_task_that_is_too_large_runs_alone() -> None:
    seen = play(jobs("64MiB", "24TiB", "64MiB", "24TiB"), workers=2, free=4 * GIB)
    large = {"1", "3"}
    assert any(large & at_once.keys() for at_once in seen)
    for at_once in seen:
        assert len(at_once) == 1 or not large & at_once.keys()


def test_what_tasks_of_a_kind_really_took_is_learned() -> None:
    wanted = jobs(*["1TiB"] * 5)
    assert max(map(len, play(wanted, workers=2, free=10 * GIB))) == 1
    assert max(map(len, play(wanted, workers=2, free=10 * GIB, growth=GIB))) == 2


def test_two_jobs_of_one_worker_count_once() -> None:
    admission = Admission(jobs("1TiB", "1TiB", "1TiB"), lambda: 10.0 * GIB)
    assert admission.take("a") is not None
    assert admission.take("a") is not None
    assert admission.under_way("a") == 2
    assert admission.take("b") is None
    admission.ended("a")
    admission.ended("a")
    assert not admission.busy
    assert admission.take("b") is not None


@pytest.mark.parametrize("room", [0.0, 1e18])
def test_rows_do_not_depend_on_the_memory(
    room: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "migsim.workers.Admission",
        lambda wanted: Admission(wanted, lambda: asked.append(room) or room),  # type: ignore[func-returns-value]
    )
    tasks = [guest("4MiB", seed) for seed in range(4)] + [guest("64MiB")]
    with Store(tmp_path / "a") as store, Crew(2) as crew:
        rows = collect(tasks, store, executor=crew)
    with Store(tmp_path / "b") as store:
        assert collect(tasks, store, workers=1) == rows
    assert asked
    assert (tmp_path / "a/rows.jsonl").read_bytes() == (tmp_path / "b/rows.jsonl").read_bytes()


def test_free_memory_is_the_least_of_what_machine_and_groups_leave(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    assert available_bytes(proc, groups) == float("inf")
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (proc / "self/cgroup").write_text("4:memory,cpu:/a\n3:cpu:/\n0::/job/step\n")
    assert available_bytes(proc, groups) == 8000 * 1024
    (groups / "job/step").mkdir(parents=True)
    (groups / "job/step/memory.max").write_text("max\n")
    (groups / "job/step/memory.current").write_text("1000\n")
    assert available_bytes(proc, groups) == 8000 * 1024
    (groups / "job/memory.max").write_text("5000000\n")
    (groups / "job/memory.current").write_text("3000000\n")
    assert available_bytes(proc, groups) == 2_000_000
    (groups / "job/memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    assert available_bytes(proc, groups) == 3_000_000
    (groups / "memory/a").mkdir(parents=True)
    (groups / "memory/a/memory.limit_in_bytes").write_text("100\n")
    (groups / "memory/a/memory.usage_in_bytes").write_text("300\n")
    assert available_bytes(proc, groups) == 0


def test_only_large_work_is_measured(tmp_path: Path) -> None:
    with growth_of(guest("64MiB"), tmp_path) as small:
        pass
    assert small.bytes == 0
    (tmp_path / "status").write_text("VmRSS: 100 kB\nVmHWM: 900 kB\n")
    with growth_of(guest("1TiB"), tmp_path) as large:
        pass
    assert large.bytes == 800 * 1024
    assert (tmp_path / "clear_refs").read_text() == "5"
    with growth_of(guest("1TiB"), tmp_path / "nowhere") as unknown:
        pass
    assert unknown.bytes == 0
