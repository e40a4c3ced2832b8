"""Tasks a second in a sweep: by one process, by all processors, and by Dask with as many."""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from migsim.bench.rows import Row, Target, Unit
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
_ALONE = "one process"
_NO_LOSS = Target(least=0.95)  # what is less than that is more than noise
_PARTS = 5
_WARM = 10 * len(ALGORITHMS)


def sweep(quick: bool) -> Iterator[Row]:
    """Measure a sweep of small migrations under many algorithms."""
    yield from rows(400 if quick else 2000, dask=not quick)


def migrations(count: int, first: int = 0) -> list[Task]:
    """Return guests of 64 MiB that write 50 MB/s, seeds from ``first`` on, under all algorithms."""
    seeds = range(first, first - (-count // len(ALGORITHMS)))
    grid = axis("seed", seeds) * axis("workload.rate", ["50MB/s"]) * axis("algorithm", ALGORITHMS)
    return grid.tasks(workload="hotcold", memory="64MiB")[:count]


def rows(count: int, *, workers: int | None = None, dask: bool, warm: int = _WARM) -> Iterator[Row]:
    """Measure a sweep of so many tasks by several executors.

    Workers are started, and have kernels and plug-ins by ``warm`` tasks for each, before the clock
    starts.
    """
    workers = default_workers() if workers is None else workers
    tasks = migrations(count)
    check(tasks[: len(ALGORITHMS)])
    started = time.perf_counter()
    keys = check(tasks)
    yield _row(f"{count} tasks", "checked", count / (time.perf_counter() - started), "1/s")
    executors: dict[str, AbstractContextManager[Executor]] = {_ALONE: Crew(1)}
    if workers > 1:
        executors[f"{workers} processes"] = Crew(workers)
    took, peak = _in_turns(tasks, keys, executors, warm * workers)
    yield _row(_ALONE, "tasks a second", count / sum(took[_ALONE]), "1/s")
    yield from told(took, count, workers, _NO_LOSS)
    if peak:
        yield _row(f"{workers} processes", "peak memory of a worker", peak, "bytes")
    if dask and importlib.util.find_spec("distributed") is None:
        yield _row("Dask", "not measured", None, "1/s", note="distributed is not installed")
    elif dask:
        executors = {_ALONE: Crew(1), f"Dask, {workers} workers": connected(f"local:{workers}")}
        took, _ = _in_turns(tasks, keys, executors, warm * workers)
        yield from told(took, count, workers, None)


def told(
    took: Mapping[str, Sequence[float]], count: int, workers: int, target: Target | None
) -> Iterator[Row]:
    """Say how fast executors were beside one process, from the seconds of each part."""
    for kind, parts in took.items():
        if kind == _ALONE:
            continue
        yield Row(section="sweep", case=kind, quantity="tasks a second", value=count / sum(parts),
                  unit="1/s", beside=_ALONE, reference=count / sum(took[_ALONE]))  # fmt: skip
        ratios = [one / other for one, other in zip(took[_ALONE], parts, strict=True)]
        yield Row(section="sweep", case=kind, quantity=f"efficiency, median of {len(parts)}",
                  value=statistics.median(ratios) / workers, unit="share",
                  target=target)  # fmt: skip


def _in_turns(
    tasks: Sequence[Task],
    keys: Sequence[str],
    executors: Mapping[str, AbstractContextManager[Executor]],
    warm: int,
) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of each part of the tasks, and the bytes that the largest worker had.

    Each part is run by all executors in turn, since a machine's speed drifts.
    """
    took: dict[str, list[float]] = {kind: [] for kind in executors}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        entered = {kind: stack.enter_context(executors[kind]) for kind in executors}
        for kind, executor in entered.items():
            with Store(Path(folder) / f"before {kind}") as store:
                collect(migrations(warm, -1000), store, executor=executor)
        for part in range(_PARTS):
            for kind, executor in entered.items():
                with Store(Path(folder) / f"{kind} {part}") as store:
                    started = time.perf_counter()
                    collect(tasks[part::_PARTS], store, keys=keys[part::_PARTS],
                            executor=executor)  # fmt: skip
                    took[kind].append(time.perf_counter() - started)
        return took, _peak_of_children()


def _peak_of_children() -> float:
    """Return the most resident memory that a worker of this process has had, in bytes."""
    peak = 0.0
    for child in multiprocessing.active_children():
        with suppress(OSError, StopIteration), Path(f"/proc/{child.pid}/status").open() as file:
            line = next(line for line in file if line.startswith("VmHWM:"))
            peak = max(peak, 1024.0 * int(line.split()[1]))
    return peak


def _row(case: str, quantity: str, value: float | None, unit: Unit, note: str = "") -> Row:
    return Row(
        section="sweep", case=case, quantity=quantity, value=value, unit=unit, note=note
    )  # fmt: skip
