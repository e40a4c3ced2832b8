"""Tasks a second in a sweep: by one process, by all processors, and by Dask with as many."""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from migsim.bench.rows import Row, Target
from migsim.cluster import connected
from migsim.collect import check, collect
from migsim.jobs import Executor
from migsim.store import Store
from migsim.sweep import axis
from migsim.task import Task
from migsim.workers import Crew, default_workers

__all__ = ["ALGORITHMS", "migrations", "rows", "sweep"]

ALGORITHMS = ("stop_and_copy", "precopy", "delta", "vmotion", "hybrid", "postcopy", "qemu",
              "clairvoyant")  # fmt: skip
_NO_LOSS = Target(least=0.95)  # what is less than that is more than noise
_PARTS = 5
_WARM = 10 * len(ALGORITHMS)


def sweep(quick: bool) -> Iterator[Row]:
    """Measure a sweep of small migrations under many algorithms."""
    yield from rows(640 if quick else 4000, dask=not quick)


def migrations(count: int, first: int = 0) -> list[Task]:
    """Return guests of 64 MiB that write 50 MB/s, seeds from ``first`` on, under all algorithms."""
    seeds = range(first, first - (-count // len(ALGORITHMS)))
    grid = axis("seed", seeds) * axis("workload.rate", ["50MB/s"]) * axis("algorithm", ALGORITHMS)
    return grid.tasks(workload="hotcold", memory="64MiB")[:count]


def rows(count: int, *, workers: int | None = None, dask: bool, warm: int = _WARM) -> Iterator[Row]:
    """Measure a sweep of so many tasks, in `_PARTS` parts that all executors run in turn.

    Workers are started, and have kernels and plug-ins by ``warm`` tasks for each, before the clock
    starts.
    """
    workers = default_workers() if workers is None else workers
    tasks = migrations(count)
    check(tasks[: len(ALGORITHMS)])
    started = time.perf_counter()
    keys = check(tasks)
    yield Row(section="sweep", case=f"{count} tasks", quantity="checked",
              value=count / (time.perf_counter() - started), unit="1/s")  # fmt: skip
    kinds = ["one process", *([_processes(workers)] if workers > 1 else [])]
    note = ""
    if dask and importlib.util.find_spec("distributed") is None:
        note = "distributed is not installed, so nothing is said of Dask"
    elif dask:
        kinds.append(f"Dask, {workers} workers")
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    peak = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for part in range(_PARTS):
            for kind in kinds:
                seconds, peak_bytes = _timed(
                    tasks[part::_PARTS], keys[part::_PARTS], kind, workers,
                    Path(folder) / f"{kind} {part}", warm,
                )  # fmt: skip
                took[kind].append(seconds)
                peak = max(peak, peak_bytes)
    yield from _told(took, count, workers, note)
    if peak:
        yield Row(section="sweep", case=f"{count} tasks", quantity="peak memory of a worker",
                  value=peak, unit="bytes")  # fmt: skip


def _processes(workers: int) -> str:
    return f"{workers} processes"


def _told(took: dict[str, list[float]], count: int, workers: int, note: str) -> Iterator[Row]:
    alone, *others = took
    one = count / sum(took[alone])
    yield Row(section="sweep", case=alone, quantity="tasks a second", value=one, unit="1/s",
              note=note)  # fmt: skip
    for kind in others:
        ratios = [a / b for a, b in zip(took[alone], took[kind], strict=True)]
        yield Row(section="sweep", case=kind, quantity="tasks a second",
                  value=count / sum(took[kind]), unit="1/s", beside=alone,
                  reference=one)  # fmt: skip
        yield Row(section="sweep", case=kind, quantity=f"efficiency, median of {_PARTS}",
                  value=statistics.median(ratios) / workers, unit="share",
                  target=_NO_LOSS if kind == _processes(workers) else None)  # fmt: skip


def _timed(
    tasks: Sequence[Task], keys: Sequence[str], kind: str, workers: int, folder: Path, warm: int
) -> tuple[float, float]:
    """Return the seconds that the tasks take, and the bytes that the largest worker had."""
    with _executor(kind, workers) as executor:
        with Store(folder / "before") as store:
            collect(migrations(warm * workers, -1000), store, executor=executor)
        with Store(folder / "rows") as store:
            started = time.perf_counter()
            collect(tasks, store, keys=keys, executor=executor)
            return time.perf_counter() - started, _peak_of_children()


@contextmanager
def _executor(kind: str, workers: int) -> Iterator[Executor]:
    place: AbstractContextManager[Executor]
    if kind.startswith("Dask"):
        place = connected(f"local:{workers}")
    else:
        place = Crew(workers if kind == _processes(workers) else 1)
    with place as executor:
        yield executor


def _peak_of_children() -> float:
    """Return the most resident memory that a worker of this process has had, in bytes."""
    peak = 0.0
    for child in multiprocessing.active_children():
        with suppress(OSError, StopIteration), Path(f"/proc/{child.pid}/status").open() as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
            peak = max(peak, 1024.0 * int(line.split()[1]))
    return peak
